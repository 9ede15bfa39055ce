//! Long recordings: six cameras with small framesets, faster than in real time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use camrig::frame::{FrameHeader, Payload, StreamInfo};

use super::encode::{Encoded, WrittenCamera};
use super::memory::Memory;
use super::options::RecordOptions;
use super::part::{Next, PartOptions, RecordingPart};
use super::testing::{ORIGIN, PERIOD, TestFolder, encoded, encoded_with, info, source};
use super::writer;
use crate::compression::Compression;
use crate::opened::OpenRecording;
use crate::read::{Content, Parts};
use crate::write::{MAX_CHUNKS, numbered};

const CAMERAS: [&str; 6] = ["front", "rear", "left", "right", "top", "wrist"];

/// Framesets of six cameras at 30 Hz in an hour.
const HOUR: u64 = 6 * 30 * 3600;

/// Records framesets without frames, which the cameras publish in turn. Calls `wrote` with the number of each.
fn record(path: &Path, framesets: u64, mut wrote: impl FnMut(u64)) {
    let options: RecordOptions = toml::from_str(&format!("file = '{}'", path.display())).unwrap();
    let memory = Arc::new(Memory::new(options.memory_bytes));
    let writer = writer::start(options, Arc::clone(&memory), Arc::default(), 0).unwrap();
    let sources = CAMERAS.map(source);
    for number in 0..framesets {
        memory.wait_for_room(memory.limit_bytes() - (4 << 20));
        memory.push(small(&sources[number as usize % CAMERAS.len()], number / CAMERAS.len() as u64));
        wrote(number);
    }
    assert_eq!(memory.close(Duration::from_secs(60)), 0);
    writer.join().unwrap();
    assert_eq!(memory.failure(), None);
}

fn small(source: &Arc<WrittenCamera>, sequence: u64) -> Encoded {
    let mut encoded = encoded(source, 0);
    let messages = encoded.frameset.as_mut().unwrap();
    messages.images.clear();
    messages.sequence = sequence;
    messages.log_time += sequence * PERIOD;
    let arrival_nanos = sequence * PERIOD;
    let record = format!("{{\"sequence\":{sequence},\"arrival_nanos\":{arrival_nanos},\"frames\":[]}}");
    messages.record = record.into_bytes();
    encoded
}

/// Returns the resident memory of this process, in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[test]
fn a_long_recording_is_split_automatically_and_read_as_one() {
    const FRAMESETS: u64 = MAX_CHUNKS as u64 + 1000;
    let folder = TestFolder::new("long");
    let path = folder.path().join("rig.mcap");
    record(&path, FRAMESETS, |_| {});
    let parts = Parts::open(&path, &|_| {}).unwrap();
    assert_eq!((parts.files().len(), parts.problem().is_none()), (2, true));
    let kept: Vec<_> = parts.files().iter().map(|part| part.index().sections.iter().count()).collect();
    assert!(kept[0] <= 4096, "{kept:?} sections are kept");
    let mut next = [0; CAMERAS.len()];
    for recording in parts.files() {
        let mut contents = recording.contents(|_| true, 0..u64::MAX);
        while let Some((index, content)) = contents.next(recording) {
            let Content::FrameSet(frameset) = content else { panic!("{content:?}") };
            assert_eq!(frameset.record.sequence, next[index]);
            next[index] += 1;
        }
    }
    assert_eq!(next.iter().sum::<u64>(), FRAMESETS);
    list(&path, FRAMESETS);
}

/// Checks the list of framesets of a recording, and its memory.
fn list(path: &Path, framesets: u64) {
    let opened = OpenRecording::open(path).unwrap();
    assert_eq!(opened.count() as u64, framesets);
    let bytes = opened.places().size_bytes();
    assert!(bytes < framesets as usize / 2, "{bytes} bytes for {framesets} framesets");
    let time = |number: u64| ORIGIN + number / CAMERAS.len() as u64 * PERIOD;
    let camera = |number: u64| CAMERAS[number as usize % CAMERAS.len()];
    let numbers = [0, 1, 5000, 249_999, 250_000, framesets - 1];
    for number in numbers {
        let place = opened.place(number as usize).unwrap();
        let name = opened.cameras()[place.camera()].name.as_str();
        assert_eq!((place.arrived_nanos, name), (time(number), camera(number)));
    }
    let top = opened.cameras().iter().position(|camera| camera.name == "top").unwrap();
    let of_top = opened.of_cameras(&opened.sequence(), &[top]).unwrap();
    let expected = |at: u64| CAMERAS.len() as u64 * at + 4;
    assert_eq!(of_top.count() as u64, (0..framesets).filter(|number| number % 6 == 4).count() as u64);
    for at in [0, 1, 5000, of_top.count() as u64 - 1] {
        assert_eq!(opened.number(&of_top, at as usize).unwrap() as u64, expected(at));
    }
    let [from, to] = [time(expected(700)), time(expected(41_800))];
    let part = opened.between(&of_top, |nanos| nanos < from, |nanos| nanos < to).unwrap();
    let ends = [0, part.count() - 1].map(|at| opened.number(&part, at).unwrap() as u64);
    assert_eq!((part.count(), ends), (41_100, [expected(700), expected(41_799)]));
}

/// `just soak-record`: a day, each file of which is removed when the next one exists.
#[test]
#[ignore = "takes minutes"]
fn a_day_of_six_cameras_takes_no_more_memory_than_an_hour() {
    let folder = TestFolder::new("day");
    let path = folder.path().join("rig.mcap");
    let (mut removed, mut hours) = (0, Vec::new());
    record(&path, 24 * HOUR, |number| {
        if number % 100_000 == 0 && numbered(&path, removed + 2).exists() {
            removed += 1;
            std::fs::remove_file(numbered(&path, removed)).unwrap();
        }
        if number % HOUR == HOUR - 1 {
            hours.push(resident_mib());
            println!("hour {}: {} MiB, {removed} files removed", hours.len(), hours[hours.len() - 1]);
        }
    });
    let (first, most) = (hours[0], *hours.iter().max().unwrap());
    assert!(most <= first + 16, "{first} MiB grew to {most}");
}

/// Writes framesets for `tests/long/run`, which measures the commands that read them: 200,000 by default.
#[test]
#[ignore = "of a recipe"]
fn many_framesets() {
    let path = PathBuf::from(std::env::var_os("CAMRIG_LONG_FILE").unwrap());
    let framesets = std::env::var("CAMRIG_LONG_FRAMESETS").map_or(200_000, |count| count.parse().unwrap());
    record(&path, framesets, |_| {});
}

/// Writes framesets of black images for `tests/long/run`: large for those that read them, small in the file.
#[test]
#[ignore = "of a recipe"]
fn large_framesets() {
    let path = PathBuf::from(std::env::var_os("CAMRIG_LARGE_FILE").unwrap());
    let mut info = info("front");
    for stream in &mut info.streams {
        let format = stream.payload.pixel_format().unwrap();
        *stream = StreamInfo { payload: Payload::image(format, 640, 480), ..*stream };
    }
    let streams = info.streams.clone();
    let info = Arc::new(info);
    let source = WrittenCamera::given("front".to_owned(), "front", &info, &streams, false, ORIGIN as i64);
    let source = Arc::new(source);
    let mut part =
        RecordingPart::create(&path, PartOptions { number: 1, compression: Compression::Zstd }).unwrap();
    for sequence in 0..20_000 {
        let black = |header: &FrameHeader| vec![0; header.size_bytes() as usize];
        part.write(&encoded_with(&source, sequence, black), ORIGIN).unwrap();
    }
    part.finish(Next::End).unwrap();
}
