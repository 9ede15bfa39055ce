//! `recording import`: a bag of ROS 2 that realsense-ros has recorded, as a recording.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use camrig::frame::{Clock, FrameHeader, MotionSample, Payload, Stream, StreamInfo, Timestamp};

use super::{CommandError, bar, counted, size_bytes};
use crate::bag::{BagCamera, Frame, Gather, Survey, TopicRole, frame_of};
use crate::compression::Compression;
use crate::read::{ReadError, Recording, Walk, messages};
use crate::record::{Encoded, Next, Part, PartOptions, Source};
use crate::ros;
use crate::write::with_suffix;

/// Maximum number of problems that are printed.
const MAX_PROBLEMS: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// A bag of ROS 2 in MCAP
    file: PathBuf,
    /// The new recording; by default FILE with `-imported` before its extension
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn import(args: &ImportArgs) -> Result<String, CommandError> {
    let ImportArgs { file, output } = args;
    let looking = bar(size_bytes(file), "reading");
    let bag = Recording::open_other(file, &|at| looking.set_position(at))?;
    looking.finish_and_clear();
    if !bag.cameras().is_empty() {
        return Err(ReadError::new(file, "is a recording of camrig already").into());
    }
    let mut problems = Problems::default();
    let survey = survey(&bag);
    let times = times(&bag);
    let seconds = times.end.saturating_sub(times.start) as f64 / 1e9;
    let (cameras, left_out) = survey.cameras(seconds);
    let mut text = String::new();
    let mapping = cameras
        .iter()
        .flat_map(|camera| camera.mapping.iter().map(|line| format!("{}: {line}", camera.info.name)));
    for line in mapping.chain(left_out) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    if cameras.is_empty() {
        return Err(CommandError::Damaged {
            text,
            problems: vec![format!("`{}` has no images in the topics of realsense-ros", file.display())],
        });
    }
    let output = output.clone().unwrap_or_else(|| with_suffix(file, "imported"));
    let options = PartOptions { number: 1, compression: Compression::Zstd };
    let part = Part::create(&output, options).map_err(|error| CommandError::Create(error.to_string()))?;
    let mut importing = Importing { part, origin: times.start, cameras: Vec::new() };
    importing.cameras = cameras.into_iter().map(Camera::new).collect();
    importing.run(&bag, &mut problems)?;
    let path = importing.part.path().display().to_string();
    for camera in &importing.cameras {
        if let count @ 1.. = camera.late_samples {
            let (name, what) = (&camera.of.info.name, counted(count, "sample"));
            let _ = writeln!(text, "{name}: left out: {what} of motion after the last image");
        }
    }
    let framesets: u64 = importing.cameras.iter().map(|camera| camera.framesets).sum();
    let count = importing.cameras.len();
    importing.part.finish(Next::End).map_err(|error| CommandError::Create(error.to_string()))?;
    let _ = writeln!(text, "{path}: {}, {}", counted(count as u64, "camera"), counted(framesets, "frameset"));
    match problems.finish() {
        problems if problems.is_empty() => Ok(text),
        problems => Err(CommandError::Damaged { text, problems }),
    }
}

/// Returns the times of the messages, by `log_time`.
fn times(bag: &Recording) -> std::ops::Range<u64> {
    let sections = || bag.index().sections.extents();
    let start = sections().map(|(_, extent)| extent.start_time).filter(|&time| time > 0).min();
    start.unwrap_or(0)..sections().map(|(_, extent)| extent.end_time).max().unwrap_or(0)
}

/// The problems of a bag: the first ones, and the number of others.
#[derive(Default)]
struct Problems {
    first: Vec<String>,
    more: u64,
}

impl Problems {
    fn add(&mut self, problem: String) {
        if self.first.len() < MAX_PROBLEMS {
            self.first.push(problem);
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.first.push(counted(self.more, "more problem"));
        }
        self.first
    }
}

/// Calls `found` with the channel, the `log_time` and the data of each message, until it breaks.
fn each_message(
    bag: &Recording,
    problems: &mut Problems,
    mut found: impl FnMut(u16, u64, Bytes, &mut Problems) -> ControlFlow<()>,
) {
    let mut walk = Walk::default();
    while let Some(section) = walk.next(bag, |_| true) {
        let read =
            section.and_then(|section| bag.read_section(&section).map_err(|error| (section.offset, error)));
        let records = match read {
            Ok(records) => records,
            Err((at, error)) => {
                problems.add(format!("at byte {at}: {error}"));
                continue;
            }
        };
        for message in messages(&records) {
            let fields = message.fields;
            if found(fields.channel, fields.log_time, message.data, problems).is_break() {
                return;
            }
        }
    }
}

/// Reads the first message of each topic.
fn survey(bag: &Recording) -> Survey {
    let index = bag.index();
    let mut survey = Survey::new(index.channels.iter().map(|(&id, channel)| {
        let messages = index.messages.get(&id).copied().unwrap_or(0);
        // Other encodings of messages than ROS's have no types of ROS.
        let of = if channel.message_encoding == ros::ENCODING { channel.schema_name() } else { "" };
        (id, channel.topic.as_str(), of, messages)
    }));
    // They are reported when the messages are read again.
    let mut ignored = Problems::default();
    each_message(bag, &mut ignored, |channel, _, data, _| {
        survey.add(channel, &data);
        if survey.is_complete() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    survey
}

/// A recording that is made of a bag.
struct Importing {
    part: Part,
    origin: u64,
    cameras: Vec<Camera>,
}

impl Importing {
    fn run(&mut self, bag: &Recording, problems: &mut Problems) -> Result<(), CommandError> {
        let bar = bar(size_bytes(bag.path()), "writing");
        let mut failed = None;
        let Self { part, origin, cameras } = self;
        each_message(bag, problems, |channel, log_time, data, problems| {
            bar.inc(data.len() as u64);
            let found = cameras
                .iter_mut()
                .find_map(|camera| Some((camera.of.topics.get(&channel).copied()?, camera)));
            let Some((role, camera)) = found else { return ControlFlow::Continue(()) };
            let written = match camera.add(role, &data, log_time) {
                Ok(framesets) => camera.write(framesets, part, *origin),
                Err(problem) => {
                    problems.add(format!("`{}`: {problem}", camera.of.info.name));
                    Ok(())
                }
            };
            match written {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        bar.finish_and_clear();
        if let Some(error) = failed {
            return Err(error);
        }
        for camera in cameras {
            let mut framesets = Vec::new();
            camera.gather.finish(&mut |frameset| framesets.push(frameset));
            camera.write(framesets, part, *origin)?;
            let late = camera.gather.take_samples(u64::MAX);
            camera.late_samples = late.iter().map(|(_, samples)| samples.len() as u64).sum();
        }
        Ok(())
    }
}

/// A camera of a recording that is made of a bag.
struct Camera {
    of: BagCamera,
    gather: Gather,
    /// By the streams of images of a frameset.
    sources: BTreeMap<Vec<Stream>, Arc<Source>>,
    framesets: u64,
    /// Number of samples of motion that are in no frameset.
    late_samples: u64,
    /// The number of frames of each stream.
    numbers: BTreeMap<Stream, u64>,
}

impl Camera {
    fn new(of: BagCamera) -> Self {
        let gather = Gather::new(&of.images, &of.motions);
        Self { of, gather, sources: BTreeMap::new(), framesets: 0, late_samples: 0, numbers: BTreeMap::new() }
    }

    /// Adds a message, and returns the framesets that are then complete.
    fn add(&mut self, role: TopicRole, data: &Bytes, log_time: u64) -> Result<Vec<Vec<Frame>>, String> {
        let mut framesets = Vec::new();
        match role {
            TopicRole::Image(stream) | TopicRole::Compressed(stream) => {
                let (mut frame, _) = frame_of(role, stream, data, log_time)?;
                let declared = self.of.info.stream(stream).map(|info| info.payload);
                let is_same = declared.is_some_and(|declared| {
                    declared.format() == frame.payload.format() && declared.size() == frame.payload.size()
                });
                if !is_same {
                    return Err(format!("a frame of {stream} is {}, unlike the first one", frame.payload));
                }
                // A frame that waits does not keep the memory of its chunk.
                frame.data = Bytes::copy_from_slice(&frame.data);
                self.gather.add(frame, &mut |frameset| framesets.push(frameset));
            }
            TopicRole::Motion(_) | TopicRole::BothMotions => {
                let read = ros::read_imu(data).ok_or("a sample of motion cannot be read")?;
                let nanos = read.header.nanos;
                for (stream, xyz) in
                    [(Stream::GYRO, read.angular_velocity), (Stream::ACCEL, read.linear_acceleration)]
                {
                    let is_wanted =
                        matches!(role, TopicRole::BothMotions) || role == TopicRole::Motion(stream);
                    if let Some(xyz) = xyz.filter(|_| is_wanted) {
                        self.gather
                            .add_sample(stream, MotionSample { nanos, xyz: xyz.map(|part| part as f32) });
                    }
                }
            }
            TopicRole::Calibration(_) | TopicRole::Transforms => {}
        }
        Ok(framesets)
    }

    fn write(
        &mut self,
        framesets: Vec<Vec<Frame>>,
        part: &mut Part,
        origin: u64,
    ) -> Result<(), CommandError> {
        for frameset in framesets {
            let Some(first) = frameset.first() else { continue };
            let log_time = first.log_time;
            let samples = self.gather.take_samples(first.nanos);
            let streams: Vec<_> = frameset.iter().map(|frame| frame.stream).collect();
            let mut frames = Vec::new();
            for Frame { stream, nanos, payload, data, .. } in frameset {
                frames.push((self.header(stream, payload, nanos, 1), data));
            }
            for (stream, samples) in samples {
                let payload = Payload::Motion { samples: samples.len() as u32 };
                let last = samples.last().map_or(0, |sample| sample.nanos);
                let data = samples.iter().flat_map(|sample| sample.to_bytes()).collect();
                frames.push((self.header(stream, payload, last, samples.len() as u64), data));
            }
            let source = self.source(streams);
            let encoded = Encoded::of_frames(source, self.framesets, log_time, &frames);
            let encoded = encoded.map_err(|error| CommandError::Create(error.to_string()))?;
            part.write(&encoded, origin).map_err(|error| CommandError::Create(error.to_string()))?;
            self.framesets += 1;
        }
        Ok(())
    }

    fn header(&mut self, stream: Stream, payload: Payload, nanos: u64, frames: u64) -> FrameHeader {
        let next = self.numbers.entry(stream).or_default();
        *next += frames;
        let timestamp = Timestamp { clock: Clock::System, nanos };
        FrameHeader { number: *next - 1, timestamp, ..FrameHeader::new(stream, payload) }
    }

    /// Returns the camera with these streams of images, and all of motion.
    fn source(&mut self, images: Vec<Stream>) -> Arc<Source> {
        let info = &self.of.info;
        let make = |images: &Vec<Stream>| {
            let is_in =
                |it: &&StreamInfo| images.contains(&it.stream) || self.of.motions.contains(&it.stream);
            let streams: Vec<_> = info.streams.iter().filter(is_in).copied().collect();
            Arc::new(Source::given(info.name.clone(), &info.name, info, &streams, false, 0))
        };
        let source = self.sources.get(&images).cloned();
        let source = source.unwrap_or_else(|| make(&images));
        self.sources.insert(images, Arc::clone(&source));
        source
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::commands::export::{ExportArgs, Format};
    use crate::commands::ros2;
    use crate::read::{Content, image_data, write_pixels};
    use crate::record::testing::{TestFolder, headers, info, pixels, write};

    fn framesets(path: &Path) -> Vec<Vec<(Stream, Vec<u8>)>> {
        let recording = Recording::open(path, &|_| {}).unwrap();
        let mut contents = recording.contents(|_| true, 0..u64::MAX);
        let mut found = Vec::new();
        while let Some((_, content)) = contents.next(&recording) {
            let Content::FrameSet(frameset) = content else { panic!("{content:?}") };
            let frames = frameset.record.frames.iter().zip(&frameset.images).map(|(frame, message)| {
                let mut shown = vec![0; frame.payload.size_bytes() as usize];
                write_pixels(frame, &image_data(frame, message.clone()).unwrap(), &mut shown).unwrap();
                (frame.stream, shown)
            });
            found.push(frames.collect());
        }
        found
    }

    #[test]
    fn a_bag_that_was_exported_comes_back() {
        const FRAMESETS: u64 = 40;
        let folder = TestFolder::new("import");
        let path = folder.path().join("rig.mcap");
        write(&path, &["front", "rear"], FRAMESETS, Compression::None, &[]);
        let output = folder.path().join("bag");
        let (camera, format) = (vec!["front".to_owned()], Format::Ros2);
        ros2::export(&ExportArgs { camera, ..ExportArgs::all(&path, &output, format) }).unwrap();
        let bag = output.join("rig.mcap");
        let error = Recording::open(&bag, &|_| {}).err().unwrap().to_string();
        assert!(
            error.ends_with("is a bag of ROS 2; `camrig recording import` makes a recording of it"),
            "{error}"
        );

        let imported = folder.path().join("imported.mcap");
        let text = import(&ImportArgs { file: bag, output: Some(imported.clone()) }).unwrap();
        let name = imported.display();
        let expected = format!(
            "front: /camera/front/depth/image_rect_raw is depth, z16 20x10\n\
             front: /camera/front/color/image_raw is color, rgb8 16x12\n\
             {name}: 1 camera, 40 framesets\n"
        );
        assert_eq!(text, expected);
        let original = info("front");
        let recording = Recording::open(&imported, &|_| {}).unwrap();
        let camera = &recording.cameras()[0];
        assert_eq!((camera.name.as_str(), camera.info.driver.as_str()), ("front", "realsense-ros"));
        for stream in &camera.info.streams {
            let expected = original.stream(stream.stream).unwrap();
            assert_eq!((stream.payload, stream.intrinsics), (expected.payload, expected.intrinsics));
            assert_eq!(stream.frames_per_second, 30);
        }
        let [of_depth, of_color] = [Stream::DEPTH, Stream::COLOR]
            .map(|stream| camera.info.stream(stream).unwrap().to_depth.unwrap().translation_meters);
        assert_eq!(of_depth.to_vec(), [0.0; 3]);
        assert!((of_color[0] - 0.015).abs() < 1e-6, "{of_color:?}");
        let found = framesets(&imported);
        assert_eq!(found.len() as u64, FRAMESETS);
        for (number, frameset) in found.into_iter().enumerate() {
            let mut expected: Vec<_> = headers(&original, number as u64)
                .iter()
                .map(|header| (header.stream, pixels("front", header)))
                .collect();
            expected.reverse();
            assert_eq!(frameset, expected);
        }
    }
}
