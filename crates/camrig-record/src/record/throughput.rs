//! How fast a recorder writes, against a plain write of the same bytes, in one run.
//!
//! Seen on two shared cores: 0.65 s of processor time against 0.40 s for 1.2 GB, so 0.62 of what a plain write
//! reaches. What it costs more is a copy out of the slot, which is not kept, a copy into a chunk, which is
//! written when it is whole, and its checksum, which mcap computes twice (a tenth of the writer's time).
//! Writing chunks in place, by seeking back to their header, spares a copy and was no faster.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use camrig::frame::{Clock, FrameHeader, PixelFormat, Stream, StreamInfo, StreamProfile, Timestamp};

use super::encode::{Encoded, Messages, Source};
use super::memory::Memory;
use super::options::RecordOptions;
use super::testing::TestFolder;
use super::writer;
use crate::format::{FrameRecord, FrameSetRecord, RAW};
use crate::images;

/// 1.2 GB, which /dev/shm has to have twice.
const FRAMESETS: u64 = 600;

/// `cargo test --release -p camrig-record --lib throughput -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, worth something in release only"]
fn throughput() {
    let folder = TestFolder::in_memory("throughput");
    let pixels: [Bytes; 2] =
        [848 * 480 * 3, 848 * 480 * 2].map(|size: u32| (0..size).map(|i| (i >> 3) as u8).collect());
    let mut ratios = Vec::new();
    for round in 0..5 {
        let plain = plain(folder.path(), &pixels);
        let recorded = recorded(folder.path(), &pixels);
        let bytes = FRAMESETS * pixels.iter().map(|pixels| pixels.len() as u64).sum::<u64>();
        let rate = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
        let ratio = plain.as_secs_f64() / recorded.as_secs_f64();
        println!(
            "round {round}: plain {:.0} MB/s, recorded {:.0} MB/s, {ratio:.2}",
            rate(plain),
            rate(recorded)
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median of what a plain write reaches: {:.2}", ratios[ratios.len() / 2]);
}

fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn plain(folder: &Path, pixels: &[Bytes]) -> Duration {
    let path = folder.join("plain");
    let (start, before) = (Instant::now(), processor_seconds());
    let mut file = File::create(&path).unwrap();
    for _ in 0..FRAMESETS {
        for pixels in pixels {
            file.write_all(pixels).unwrap();
        }
    }
    drop(file);
    let time = start.elapsed();
    println!("  plain: {:.2} s of processor time", processor_seconds() - before);
    std::fs::remove_file(&path).unwrap();
    time
}

/// As a recorder does it: coded on one thread, written on another.
fn recorded(folder: &Path, pixels: &[Bytes]) -> Duration {
    let path = folder.join("recorded.mcap");
    let (start, before) = (Instant::now(), processor_seconds());
    let options: RecordOptions = toml::from_str(&format!("file = '{}'", path.display())).unwrap();
    let memory = Arc::new(Memory::new(options.memory_bytes));
    let writer = writer::start(options, Arc::clone(&memory)).unwrap();
    let source = camera();
    for sequence in 0..FRAMESETS {
        // A recorder would leave it out.
        while !memory.has_room(pixels.iter().map(Bytes::len).sum::<usize>() + 10_000) {
            std::thread::sleep(Duration::from_micros(200));
        }
        memory.push(encoded(&source, sequence, pixels, &memory));
    }
    assert_eq!(memory.close(Duration::from_secs(60)), 0);
    writer.join().unwrap();
    let time = start.elapsed();
    println!("  recorded: {:.2} s of processor time", processor_seconds() - before);
    assert_eq!(memory.failure(), None);
    std::fs::remove_file(&path).unwrap();
    time
}

fn camera() -> Arc<Source> {
    let mut info = super::testing::info("front");
    let profile = StreamProfile::new(848, 480, 30).unwrap();
    for stream in &mut info.streams {
        *stream = StreamInfo { profile, ..*stream };
    }
    let frames = info.streams.iter().map(|stream| (stream.stream, stream.format)).collect();
    Arc::new(Source::given("front".to_owned(), "front", &Arc::new(info), frames, false, 0))
}

fn encoded(source: &Arc<Source>, sequence: u64, pixels: &[Bytes], memory: &Memory<Encoded>) -> Encoded {
    let timestamp = Timestamp { clock: Clock::Hardware, nanos: sequence };
    let headers: Vec<FrameHeader> =
        source.info.streams.iter().map(|s| s.header(sequence, timestamp)).collect();
    assert_eq!(headers.iter().map(|h| h.format).collect::<Vec<_>>(), [PixelFormat::Rgb8, PixelFormat::Z16]);
    let (mut frames, mut images): (Vec<_>, Vec<(Stream, Vec<u8>)>) = Default::default();
    for (header, pixels) in headers.iter().zip(pixels) {
        let mut message = memory.buffer();
        images::raw_image(&source.name, header, pixels.clone(), &mut message);
        frames.push(FrameRecord::new(header, RAW));
        images.push((header.stream, message));
    }
    let record = FrameSetRecord { sequence, arrival_nanos: sequence, matched: None, frames };
    let record = serde_json::to_vec(&record).unwrap();
    let messages = Messages { sequence, log_time: sequence + 1, publish_time: sequence, record, images };
    Encoded { source: Arc::clone(source), gaps: Vec::new(), frameset: Some(messages) }
}
