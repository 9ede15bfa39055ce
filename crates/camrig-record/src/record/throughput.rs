//! Speed and cost of a recorder, compared with a plain write of the same bytes: in wall-clock time, which requires a
//! quiet machine, and in processor time, which depends little on other load. Rounds are short and alternate; the
//! result is the median of their ratios.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use camrig::frame::{Clock, FrameHeader, Payload, PixelFormat, Stream, StreamInfo, Timestamp};

use super::encode::{Encoded, Messages, WrittenCamera};
use super::memory::Memory;
use super::options::RecordOptions;
use super::testing::TestFolder;
use super::writer;
use crate::format::FrameSetRecord;

/// 0.2 GB, which must be available in /dev/shm.
const FRAMESETS: u64 = 100;
const ROUNDS: usize = 41;

/// Upper bound for the size of a message without its pixels.
const MESSAGE_BYTES: usize = 10_000;

/// Required fraction of the speed of a plain write.
const BAR: f64 = 0.70;

/// `just bench-record`
#[test]
#[ignore = "a measurement, worth something in release only"]
fn throughput() {
    let folder = TestFolder::in_memory("throughput");
    let pixels: [Bytes; 2] =
        [848 * 480 * 3, 848 * 480 * 2].map(|size: u32| (0..size).map(|i| (i >> 3) as u8).collect());
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let recorded = [Load::KeepsUp, Load::Behind].map(|load| recorded(folder.path(), &pixels, load));
        rounds.push((plain(folder.path(), &pixels), recorded));
    }
    for (how, time) in [("by the clock", 0), ("in processor time", 1)] {
        let plain = sorted(rounds.iter().map(|(plain, _)| plain[time] / FRAMESETS as f64 * 1e6));
        println!("{how} a raw frameset of 848x480 takes {:.0} us to write", plain[ROUNDS / 2]);
        for (which, what) in ["one waits at most", "the memory is always full"].into_iter().enumerate() {
            let ratios = sorted(rounds.iter().map(|(plain, recorded)| plain[time] / recorded[which][time]));
            let [low, ratio, high] = [ROUNDS / 10, ROUNDS / 2, ROUNDS - 1 - ROUNDS / 10].map(|at| ratios[at]);
            let met = if ratio >= BAR { "reaches" } else { "misses" };
            println!("  recorded, while {what}: {ratio:.2} of a plain write, which {met} {BAR:.2}");
            println!("    {low:.2} to {high:.2} in eight of ten rounds");
        }
    }
}

/// Load of the recorder.
#[derive(Clone, Copy)]
enum Load {
    /// Each frameset arrives after the previous one has been written.
    KeepsUp,
    /// The recorder's buffer is always full.
    Behind,
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Seconds of wall-clock time, and of processor time of this process.
type Times = [f64; 2];

fn timed(run: impl FnOnce()) -> Times {
    let processor = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let (clock, before) = (Instant::now(), processor());
    run();
    [clock.elapsed().as_secs_f64(), processor() - before]
}

fn plain(folder: &Path, pixels: &[Bytes]) -> Times {
    let path = folder.join("plain");
    let time = timed(|| {
        let mut file = File::create(&path).unwrap();
        for _ in 0..FRAMESETS {
            for pixels in pixels {
                file.write_all(pixels).unwrap();
            }
        }
    });
    std::fs::remove_file(&path).unwrap();
    time
}

/// Like a recorder: encodes on one thread, writes on another.
fn recorded(folder: &Path, pixels: &[Bytes], load: Load) -> Times {
    let path = folder.join("recorded.mcap");
    let time = timed(|| {
        let options: RecordOptions = toml::from_str(&format!("file = '{}'", path.display())).unwrap();
        let memory = Arc::new(Memory::new(options.memory_bytes));
        let writer = writer::start(options, Arc::clone(&memory), Arc::default(), 0).unwrap();
        let source = camera();
        for sequence in 0..FRAMESETS {
            let bytes = pixels.iter().map(|pixels| pixels.len() + MESSAGE_BYTES).sum::<usize>();
            memory.wait_for_room(match load {
                Load::KeepsUp => memory.limit_bytes(),
                Load::Behind => bytes,
            });
            memory.push(encoded(&source, sequence, pixels, &memory));
        }
        assert_eq!(memory.close(Duration::from_secs(60)), 0);
        writer.join().unwrap();
        assert_eq!(memory.failure(), None);
    });
    std::fs::remove_file(&path).unwrap();
    time
}

fn camera() -> Arc<WrittenCamera> {
    let mut info = super::testing::info("front");
    for stream in &mut info.streams {
        let Payload::Image { format, .. } = stream.payload else { continue };
        *stream = StreamInfo { payload: Payload::image(format, 848, 480), ..*stream };
    }
    let streams = info.streams.clone();
    Arc::new(WrittenCamera::given("front".to_owned(), "front", &Arc::new(info), &streams, false, 0))
}

fn encoded(
    source: &Arc<WrittenCamera>,
    sequence: u64,
    pixels: &[Bytes],
    memory: &Memory<Encoded>,
) -> Encoded {
    let timestamp = Timestamp { clock: Clock::Hardware, nanos: sequence };
    let headers: Vec<FrameHeader> =
        source.info.streams.iter().map(|s| s.header(sequence, timestamp)).collect();
    let formats: Vec<_> = headers.iter().filter_map(|h| h.payload.pixel_format()).collect();
    assert_eq!(formats, [PixelFormat::Rgb8, PixelFormat::Z16]);
    let (mut frames, mut images): (Vec<_>, Vec<(Stream, Vec<u8>)>) = Default::default();
    for (header, pixels) in headers.iter().zip(pixels) {
        let mut message = memory.buffer();
        let coding = source.image(header, pixels.clone(), &mut message);
        frames.push(source.record(header, coding));
        images.push((header.stream, message));
    }
    let record =
        FrameSetRecord { sequence, arrival_nanos: sequence, matched: None, origins: Vec::new(), frames };
    let record = serde_json::to_vec(&record).unwrap();
    let (log_time, publish_time, imu) = (sequence + 1, sequence, Vec::new());
    let messages = Messages { sequence, log_time, publish_time, record, images, imu };
    Encoded { source: Arc::clone(source), gaps: Vec::new(), continues: None, frameset: Some(messages) }
}
