//! Recordings with defined content, as written by a recorder, for tests of readers.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use camrig::frame::{
    CameraInfo, CameraPose, Clock, Extrinsics, FrameHeader, Intrinsics, Metadata, MetadataKey, Origin,
    Payload, PixelFormat, Stream, StreamInfo, Timestamp,
};
use tempfile::TempDir;

use super::encode::{Encoded, ImuMessage, Messages, WrittenCamera, text_of};
pub(crate) use super::part::Next;
use super::part::{PartOptions, RecordingPart};
use crate::compression::Compression;
use crate::format::{FrameSetRecord, GapRecord};

/// Start time of each test's recording by the wall clock: a day in 2026.
pub(crate) const ORIGIN: u64 = 1_790_000_000_000_000_000;
/// Time between two framesets of a camera.
pub(crate) const PERIOD: u64 = 33_333_333;

/// A folder for one test, removed at its end.
pub(crate) struct TestFolder(TempDir);

impl TestFolder {
    pub(crate) fn new(test: &str) -> Self {
        Self(tempfile::Builder::new().prefix(test).tempdir().unwrap())
    }

    /// Creates the folder on a file system in memory.
    pub(crate) fn in_memory(test: &str) -> Self {
        Self(tempfile::Builder::new().prefix(test).tempdir_in("/dev/shm").unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Returns a camera with color and depth.
pub(crate) fn info(name: &str) -> CameraInfo {
    let stream = |stream, format, profile: &str| {
        let profile: camrig::frame::StreamProfile = profile.parse().unwrap();
        StreamInfo {
            intrinsics: Some(Intrinsics {
                width: profile.width(),
                height: profile.height(),
                ppx: 8.5,
                ppy: 6.25,
                fx: 12.5,
                fy: 12.75,
                distortion: camrig::frame::Distortion::BrownConrady,
                coefficients: [0.1, -0.2, 0.001, 0.002, 0.03],
            }),
            to_depth: Some(Extrinsics { translation_meters: [0.015, 0.0, 0.0], ..Extrinsics::IDENTITY }),
            ..StreamInfo::image(stream, format, profile)
        }
    };
    CameraInfo {
        name: name.to_owned(),
        driver: "test".to_owned(),
        serial: format!("serial of {name}"),
        streams: vec![
            stream(Stream::COLOR, PixelFormat::Rgb8, "16x12@30"),
            stream(Stream::DEPTH, PixelFormat::Z16, "20x10@30"),
        ],
        ..CameraInfo::default()
    }
}

/// Returns arbitrary but deterministic pixels.
pub(crate) fn pixels(camera: &str, header: &FrameHeader) -> Vec<u8> {
    let seed = crc32fast::hash(camera.as_bytes())
        ^ header.number as u32
        ^ (u32::from(header.stream == Stream::DEPTH) << 16);
    let noise =
        |index: u64| (u64::from(seed) + 1).wrapping_mul(index * 2 + 1).wrapping_mul(0x9e37_79b9) >> 11;
    (0..header.size_bytes()).map(|index| noise(index) as u8).collect()
}

/// Returns the headers of the frames of a camera's frameset.
pub(crate) fn headers(info: &CameraInfo, sequence: u64) -> Vec<FrameHeader> {
    let timestamp = Timestamp { clock: Clock::Hardware, nanos: 1_000_000 + sequence * PERIOD };
    let mut metadata = Metadata::EMPTY;
    metadata.set(MetadataKey::GAIN_LEVEL, -7);
    let header = |stream: &StreamInfo| FrameHeader { metadata, ..stream.header(sequence, timestamp) };
    info.streams.iter().map(header).collect()
}

/// Writes this many framesets of each run of a camera's rig, whose numbers start again each time.
pub(crate) fn write_restarted(path: &Path, camera: &str, runs: &[u64]) {
    let mut part =
        RecordingPart::create(path, PartOptions { number: 1, compression: Compression::None }).unwrap();
    let source = source(camera);
    for (run, &framesets) in (0..).zip(runs) {
        for sequence in 0..framesets {
            let mut encoded = encoded(&source, sequence);
            encoded.frameset.as_mut().unwrap().log_time += run * 1_000_000_000;
            part.write(&encoded, ORIGIN).unwrap();
        }
    }
    part.finish(Next::End).unwrap();
}

/// Writes one frameset of a camera into a file, which is then still open.
pub(crate) fn begin(path: &Path, camera: &str) -> RecordingPart {
    let mut part =
        RecordingPart::create(path, PartOptions { number: 1, compression: Compression::None }).unwrap();
    part.write(&encoded(&source(camera), 0), ORIGIN).unwrap();
    part
}

/// Writes the framesets `0..framesets` of each camera, in turn, without the numbers in `missing`.
pub(crate) fn write(
    path: &Path,
    cameras: &[&str],
    framesets: u64,
    compression: Compression,
    missing: &[GapRecord],
) {
    let mut part = RecordingPart::create(path, PartOptions { number: 1, compression }).unwrap();
    let sources: Vec<_> = cameras.iter().map(|name| source(name)).collect();
    for sequence in 0..framesets {
        if missing.iter().any(|gap| (gap.first_sequence..=gap.last_sequence).contains(&sequence)) {
            continue;
        }
        let gaps = missing.iter().filter(|gap| gap.last_sequence + 1 == sequence).cloned();
        let gaps: Vec<_> = gaps.collect();
        for source in &sources {
            let encoded = encoded(source, sequence);
            part.write(&Encoded { gaps: gaps.clone(), ..encoded }, ORIGIN).unwrap();
        }
    }
    part.finish(Next::End).unwrap();
}

/// Writes two framesets of each camera, each with its pose in the rig.
pub(crate) fn write_posed(path: &Path, cameras: &[(&str, Option<CameraPose>)]) {
    // It replaces a file.
    let _ = std::fs::remove_file(path);
    let mut part =
        RecordingPart::create(path, PartOptions { number: 1, compression: Compression::None }).unwrap();
    for sequence in 0..2 {
        for (camera, pose) in cameras {
            let info = Arc::new(CameraInfo { pose: pose.clone(), ..info(camera) });
            let (name, streams) = ((*camera).to_owned(), &info.streams);
            let source = WrittenCamera::given(name, camera, &info, streams, false, ORIGIN as i64);
            part.write(&encoded(&Arc::new(source), sequence), ORIGIN).unwrap();
        }
    }
    part.finish(Next::End).unwrap();
}

/// Writes one frameset of a camera, and the topology of its rig.
pub(crate) fn write_with_topology(path: &Path, camera: &str, topology: &str, compression: Compression) {
    let mut part = RecordingPart::create(path, PartOptions { number: 1, compression }).unwrap();
    let info = Arc::new(info(camera));
    let mut source =
        WrittenCamera::given(camera.to_owned(), camera, &info, &info.streams, false, ORIGIN as i64);
    source.topology = topology.into();
    let source = Arc::new(source);
    part.write(&encoded(&source, 0), ORIGIN).unwrap();
    part.finish(Next::End).unwrap();
}

/// Writes the framesets `0..framesets` of a camera; those of odd numbers have no color.
pub(crate) fn write_without_color(path: &Path, camera: &str, framesets: u64) {
    let mut part =
        RecordingPart::create(path, PartOptions { number: 1, compression: Compression::None }).unwrap();
    let source = source(camera);
    for sequence in 0..framesets {
        let mut encoded = encoded(&source, sequence);
        let messages = encoded.frameset.as_mut().unwrap();
        if sequence % 2 == 1 {
            let mut record: FrameSetRecord = serde_json::from_slice(&messages.record).unwrap();
            record.frames.retain(|frame| frame.stream != Stream::COLOR);
            messages.images.retain(|(stream, _)| *stream != Stream::COLOR);
            messages.record = serde_json::to_vec(&record).unwrap();
        }
        part.write(&encoded, ORIGIN).unwrap();
    }
    part.finish(Next::End).unwrap();
}

/// Writes the framesets `0..framesets` of each camera, each camera's delayed by this time relative to the previous
/// camera's.
pub(crate) fn write_apart(path: &Path, cameras: &[&str], framesets: u64, apart_nanos: u64) {
    let mut part =
        RecordingPart::create(path, PartOptions { number: 1, compression: Compression::None }).unwrap();
    let sources: Vec<_> = cameras.iter().map(|name| source(name)).collect();
    for sequence in 0..framesets {
        for (source, index) in sources.iter().zip(0..) {
            let mut encoded = encoded(source, sequence);
            encoded.frameset.as_mut().unwrap().log_time += index * apart_nanos;
            part.write(&encoded, ORIGIN).unwrap();
        }
    }
    part.finish(Next::End).unwrap();
}

/// Writes the framesets `0..framesets` of one camera, each with the number of its match and its origins.
pub(crate) fn write_made(
    path: &Path,
    camera: &str,
    framesets: u64,
    made: impl Fn(u64) -> (Option<u64>, Vec<Origin>),
) {
    let mut part =
        RecordingPart::create(path, PartOptions { number: 1, compression: Compression::None }).unwrap();
    let source = source(camera);
    for sequence in 0..framesets {
        let mut encoded = encoded(&source, sequence);
        let messages = encoded.frameset.as_mut().unwrap();
        let record: FrameSetRecord = serde_json::from_slice(&messages.record).unwrap();
        let (matched, origins) = made(sequence);
        messages.record = serde_json::to_vec(&FrameSetRecord { matched, origins, ..record }).unwrap();
        part.write(&encoded, ORIGIN).unwrap();
    }
    part.finish(Next::End).unwrap();
}

/// Writes the framesets `0..framesets` of one camera, each with a clock.
pub(crate) fn write_stamped(path: &Path, camera: &str, framesets: u64, clock: impl Fn(u64) -> Clock) {
    let mut part =
        RecordingPart::create(path, PartOptions { number: 1, compression: Compression::None }).unwrap();
    let source = source(camera);
    for sequence in 0..framesets {
        let mut encoded = encoded(&source, sequence);
        let messages = encoded.frameset.as_mut().unwrap();
        let mut record: FrameSetRecord = serde_json::from_slice(&messages.record).unwrap();
        record.frames.iter_mut().for_each(|frame| frame.clock = clock(sequence));
        messages.record = serde_json::to_vec(&record).unwrap();
        part.write(&encoded, ORIGIN).unwrap();
    }
    part.finish(Next::End).unwrap();
}

/// Writes one file per list of cameras, with one frameset of each camera. Names that are taken are left out.
pub(crate) fn write_parts(path: &Path, parts: &[&[&str]]) {
    let mut before: Option<RecordingPart> = None;
    for (number, cameras) in (1..).zip(parts) {
        let mut part =
            RecordingPart::create(path, PartOptions { number, compression: Compression::None }).unwrap();
        for name in *cameras {
            part.write(&encoded(&source(name), u64::from(number)), ORIGIN).unwrap();
        }
        if let Some(before) = before.take() {
            before.finish(Next::File(part.path())).unwrap();
        }
        before = Some(part);
    }
    before.unwrap().finish(Next::End).unwrap();
}

/// Writes a frameset of `right`, and then one of `left` that arrived before it, with a sample of motion.
pub(crate) fn write_late_samples(path: &Path) {
    let mut info = info("left");
    info.streams.push(StreamInfo::new(Stream::ACCEL, Payload::Motion { samples: 1 }, 100));
    let info = Arc::new(info);
    let left = WrittenCamera::given("left".to_owned(), "left", &info, &info.streams, false, ORIGIN as i64);
    let mut late = encoded(&source("left"), 1);
    late.source = Arc::new(left);
    let sample =
        ImuMessage { stream: Stream::ACCEL, nanos: 0, before_nanos: PERIOD / 2, message: Vec::new() };
    late.frameset.as_mut().unwrap().imu = vec![sample];
    let mut part =
        RecordingPart::create(path, PartOptions { number: 1, compression: Compression::None }).unwrap();
    part.write(&encoded(&source("right"), 2), ORIGIN).unwrap();
    part.write(&late, ORIGIN).unwrap();
    part.finish(Next::End).unwrap();
}

pub(super) fn source(name: &str) -> Arc<WrittenCamera> {
    let info = Arc::new(info(name));
    Arc::new(WrittenCamera::given(name.to_owned(), name, &info, &info.streams, false, ORIGIN as i64))
}

/// Writes framesets of each camera, in turn, with these contents of their frames.
pub(crate) fn write_contents(path: &Path, cameras: &[(CameraInfo, Vec<Vec<Vec<u8>>>)]) {
    let mut part =
        RecordingPart::create(path, PartOptions { number: 1, compression: Compression::None }).unwrap();
    let source = |info: &CameraInfo| {
        let (name, info) = (info.name.clone(), Arc::new(info.clone()));
        Arc::new(WrittenCamera::given(name.clone(), &name, &info, &info.streams, false, ORIGIN as i64))
    };
    let sources: Vec<_> = cameras.iter().map(|(info, _)| source(info)).collect();
    for sequence in 0..cameras[0].1.len() {
        for (source, (_, contents)) in sources.iter().zip(cameras) {
            let mut contents = contents[sequence].iter();
            let next = |_: &FrameHeader| contents.next().unwrap().clone();
            part.write(&encoded_with(source, sequence as u64, next), ORIGIN).unwrap();
        }
    }
    part.finish(Next::End).unwrap();
}

pub(super) fn encoded(source: &Arc<WrittenCamera>, sequence: u64) -> Encoded {
    encoded_with(source, sequence, |header| pixels(&source.name, header))
}

pub(super) fn encoded_with(
    source: &Arc<WrittenCamera>,
    sequence: u64,
    mut content: impl FnMut(&FrameHeader) -> Vec<u8>,
) -> Encoded {
    let headers = headers(&source.info, sequence);
    let image = |header: &FrameHeader| {
        let data = Bytes::from(content(header));
        let mut message = Vec::new();
        let coding = source.image(header, data, &mut message);
        (source.record(header, coding), (header.stream, message))
    };
    let (frames, images): (Vec<_>, Vec<_>) = headers.iter().map(image).unzip();
    let arrival_nanos = sequence * PERIOD;
    let record = FrameSetRecord { sequence, arrival_nanos, matched: None, origins: Vec::new(), frames };
    let messages = Messages {
        sequence,
        log_time: ORIGIN + arrival_nanos,
        publish_time: headers[0].timestamp.nanos,
        record: text_of(&record, &images).unwrap(),
        images,
        imu: Vec::new(),
    };
    Encoded { source: Arc::clone(source), gaps: Vec::new(), continues: None, frameset: Some(messages) }
}
