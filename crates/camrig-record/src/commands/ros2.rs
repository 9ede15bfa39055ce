//! `recording export --format ros2`: a recording as messages of ROS 2, in the topics and coordinate frames of
//! realsense-ros, in an MCAP file that `ros2 bag` and `rosbags` read.
//!
//! The node of a camera `front` is `/camera/front`. Images in JPEG are not decoded. Tensors and messages have no type of
//! ROS and are left out.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use camrig::files::NewFile;
use camrig::frame::{
    CameraInfo, Extrinsics, Frame, FrameHeader, MJPEG, MotionView, POINT_BYTES, Payload, PixelFormat, Stream,
};

use super::copy::keep_part;
use super::export::{self, Chosen, ExportArgs};
use super::problems::Problems;
use super::progress::FilesBar;
use super::{CommandError, counted, interrupt};
use crate::clock::WallClock;
use crate::compression::Compression;
use crate::depth::{DepthForm, METERS_NAME, to_meters};
use crate::format::{FrameRecord, JPEG};
use crate::images::{ROOT_FRAME, distortion_model, quaternion};
use crate::read::{
    Content, FrameSetError, Parts, ReadFrameSet, RecordedCamera, check_image, image_data, shown_header,
    write_pixels,
};
use crate::{ros, write};

/// The rotation from the axes of a body (x forward, y left, z up) to those of an optical frame (x right, y down, z
/// forward).
const TO_OPTICAL: [f64; 4] = [-0.5, 0.5, -0.5, 0.5];

/// Returns the quality of service of a topic for `ros2 bag play`: reliable; with the last message for late subscribers
/// or not.
fn quality_of_service(is_static: bool) -> String {
    let durability = if is_static { 1 } else { 2 };
    let forever = "\n    sec: 9223372036\n    nsec: 854775807\n";
    format!(
        "- history: 1\n  depth: 10\n  reliability: 1\n  durability: {durability}\n  deadline:{forever}  \
         lifespan:{forever}  liveliness: 1\n  liveliness_lease_duration:{forever}  \
         avoid_ros_namespace_conventions: false\n"
    )
}

pub(super) fn export(args: &ExportArgs) -> Result<String, CommandError> {
    if args.align {
        let text = "`--align` is of formats with images of depth: `png`, `npy`, `tum`, `open3d`";
        return Err(CommandError::Usage(text.to_owned()));
    }
    export::check_calibration(args)?;
    let (parts, mut chosen) = export::open(args)?;
    let stem = args.file.file_stem().unwrap_or_default();
    let path = args.output.join(format!("{}.mcap", stem.to_string_lossy()));
    let fail = |error: io::Error| CommandError::Create(format!("cannot write `{}`: {error}", path.display()));
    check_nodes(&parts, &chosen)?;
    export::make_output(&args.output).map_err(fail)?;
    let created = NewFile::creating(&path).map_err(fail)?;
    let mut output = created.try_clone().and_then(Ros2Output::new).map_err(fail)?;
    let mut cameras: BTreeMap<&str, RosNode> = BTreeMap::new();
    for camera in parts.cameras().into_iter().filter(|camera| chosen.has(&camera.name)) {
        cameras.insert(&camera.name, RosNode::new(camera, chosen.name_of(&camera.name)));
    }
    output.write_transforms(cameras.values(), parts.range().start).map_err(fail)?;
    interrupt::receive();
    let mut problems = Problems::default();
    let copied = copy(&parts, &mut chosen, &mut cameras, &mut output, &mut problems);
    let written = copied.and_then(|()| output.flush());
    if written.is_err() || interrupt::is_requested() {
        // After an error it is not known which of the last chunk are in the file.
        let framesets = written.is_ok().then(|| cameras.values().map(|camera| camera.written).sum());
        let kept = keep_part(&path, vec![created], framesets, output.finish().is_ok());
        return Err(match written {
            Ok(()) => CommandError::Interrupted(kept),
            Err(error) => CommandError::Create(format!("{}; {kept}", fail(error))),
        });
    }
    output.finish().and_then(|()| created.keep()).map_err(fail)?;
    let mut text = String::new();
    for (name, camera) in &cameras {
        // Writing to a string cannot fail.
        let written = counted(camera.written, "frameset");
        let name = chosen.name_of(name);
        let _ = writeln!(text, "{name}: {written} in {}, as /camera/{}", path.display(), camera.node);
    }
    let problems = problems.finish();
    if problems.is_empty() { Ok(text) } else { Err(CommandError::Damaged { text, problems }) }
}

/// Checks that no two cameras have the same node.
fn check_nodes(parts: &Parts, chosen: &Chosen) -> Result<(), CommandError> {
    let mut nodes: BTreeMap<String, &str> = BTreeMap::new();
    for camera in parts.cameras().into_iter().filter(|camera| chosen.has(&camera.name)) {
        let node = ros_name(chosen.name_of(&camera.name));
        if let Some(other) = nodes.insert(node.clone(), &camera.name) {
            let text = format!("`{other}` and `{}` would both be called `/camera/{node}`", camera.name);
            return Err(CommandError::Usage(text + "; `--rename` gives one of them another name"));
        }
    }
    Ok(())
}

/// Writes the framesets of all files, until Ctrl-C.
fn copy(
    parts: &Parts,
    chosen: &mut Chosen,
    cameras: &mut BTreeMap<&str, RosNode>,
    output: &mut Ros2Output,
    problems: &mut Problems,
) -> io::Result<()> {
    let mut bar = FilesBar::new(parts, "writing");
    for recording in parts.files() {
        let mut contents = recording.contents(|camera| cameras.contains_key(&*camera.name), 0..u64::MAX);
        while let Some((index, content)) = contents.next(recording).filter(|_| !interrupt::is_requested()) {
            bar.set_position(contents.position_bytes(recording));
            let name = recording.cameras()[index].name.as_str();
            let Some(camera) = cameras.get_mut(name) else { continue };
            let written = match content {
                Content::FrameSet(frameset) => {
                    let wanted = chosen.next(name, frameset.record.sequence).is_some();
                    camera.write(&frameset, wanted, output)
                }
                Content::Gap(_) => continue,
                Content::Unreadable { error, .. } => Err(NotWritten::Unreadable(error)),
            };
            match written {
                Ok(left_out) => problems.extend(left_out.map(|stream| {
                    format!("`{name}`: {stream} is left out, since ROS has no message for it")
                })),
                Err(NotWritten::Unreadable(error)) => problems.add(format!("`{name}`: {error}")),
                Err(NotWritten::Output(error)) => return Err(error),
            }
        }
        bar.finish_file(recording);
    }
    bar.finish();
    problems.extend(parts.problem().map(|problem| format!("the recording continues, but {problem}")));
    Ok(())
}

/// The reason why a frameset is not written.
enum NotWritten {
    Unreadable(FrameSetError),
    Output(io::Error),
}

impl From<io::Error> for NotWritten {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl<E: Into<FrameSetError>> From<E> for NotWritten {
    fn from(error: E) -> Self {
        Self::Unreadable(error.into())
    }
}

/// Size from which on messages become a chunk, before compression.
const CHUNK_BYTES: usize = 1 << 20;

/// Number of chunks after which chunks are twice as large.
const CHUNKS_OF_A_SIZE: u32 = 1 << 15;

/// The number of times that chunks become twice as large: up to 16 MiB.
const MAX_DOUBLINGS: u32 = 4;

/// Returns the size of a chunk behind this many others. The index of a file has an entry for each chunk, so chunks are larger in
/// a long file.
fn chunk_bytes(chunks: u32) -> usize {
    CHUNK_BYTES << (chunks / CHUNKS_OF_A_SIZE).min(MAX_DOUBLINGS)
}

/// The file that is written.
struct Ros2Output {
    file: write::Output,
    /// By topic.
    channels: BTreeMap<String, u16>,
    sequences: BTreeMap<u16, u32>,
    /// The messages of the next chunk, in their order, and their data.
    waiting: Vec<WaitingMessage>,
    data: Vec<u8>,
}

/// A message of the next chunk.
struct WaitingMessage {
    channel: u16,
    sequence: u32,
    times: Times,
    /// The place of its data among those of the chunk.
    data: Range<usize>,
}

impl Ros2Output {
    fn new(file: File) -> io::Result<Self> {
        Ok(Self {
            file: write::Output::of_profile("ros2", file, Compression::Zstd)?,
            channels: BTreeMap::new(),
            sequences: BTreeMap::new(),
            waiting: Vec::new(),
            data: Vec::new(),
        })
    }

    /// Writes a message of this type.
    fn write(&mut self, topic: &str, of: &str, times: Times, message: &[u8]) -> io::Result<()> {
        let channel = match self.channels.get(topic) {
            Some(&channel) => channel,
            None => self.define(topic, of)?,
        };
        let sequence = self.sequences.entry(channel).or_default();
        *sequence = sequence.wrapping_add(1);
        let begin = self.data.len();
        self.data.extend_from_slice(message);
        let data = begin..self.data.len();
        self.waiting.push(WaitingMessage { channel, sequence: *sequence, times, data });
        if self.data.len() >= chunk_bytes(self.file.chunks()) { self.flush() } else { Ok(()) }
    }

    fn define(&mut self, topic: &str, of: &str) -> io::Result<u16> {
        let schema = ros::schema(of);
        let schema = self.file.add_schema(&schema.name, &schema.encoding, &schema.data)?;
        let quality = quality_of_service(of == ros::TRANSFORMS);
        let metadata = BTreeMap::from([("offered_qos_profiles".to_owned(), quality)]);
        let channel = self.file.add_channel(schema, topic, ros::ENCODING, &metadata)?;
        self.channels.insert(topic.to_owned(), channel);
        Ok(channel)
    }

    /// Writes the positions of all streams, once.
    fn write_transforms<'a>(
        &mut self,
        cameras: impl Iterator<Item = &'a RosNode>,
        at: u64,
    ) -> io::Result<()> {
        let transforms: Vec<_> = cameras.flat_map(RosNode::transforms).collect();
        let mut message = Vec::new();
        ros::transforms(at, &transforms, &mut message);
        self.write("/tf_static", ros::TRANSFORMS, Times { log_time: at, stamp: at }, &message)
    }

    /// Writes the waiting messages as a chunk.
    fn flush(&mut self) -> io::Result<()> {
        let message = |waiting: &WaitingMessage| {
            let WaitingMessage { channel, sequence, times: Times { log_time, stamp }, .. } = *waiting;
            let data = &self.data[waiting.data.clone()];
            write::Message { channel, sequence, log_time, publish_time: stamp, data }
        };
        let chunk: Vec<_> = self.waiting.iter().map(message).collect();
        if !chunk.is_empty() {
            self.file.write_chunk(&chunk)?;
        }
        self.waiting.clear();
        self.data.clear();
        Ok(())
    }

    /// Writes the index. Messages that wait are not written.
    fn finish(self) -> io::Result<()> {
        self.file.finish().map(drop)
    }
}

/// The times of a message: of its arrival, and of its content.
#[derive(Clone, Copy)]
struct Times {
    log_time: u64,
    stamp: u64,
}

/// A camera of the recording as a node of ROS.
struct RosNode {
    /// Its name as one of ROS, which has no hyphens and slashes.
    node: String,
    info: CameraInfo,
    clock: WallClock,
    written: u64,
    /// The streams that are left out, each of which is reported once.
    left_out: HashSet<Stream>,
}

impl RosNode {
    fn new(camera: &RecordedCamera, name: &str) -> Self {
        Self {
            node: ros_name(name),
            info: camera.info.clone(),
            clock: WallClock::default(),
            written: 0,
            left_out: HashSet::new(),
        }
    }

    fn frame_id(&self, stream: Stream) -> String {
        format!("{}_{}_optical_frame", self.node, Names::of(stream).frame)
    }

    /// Returns the positions of the rig's root, the camera and its streams to each other.
    fn transforms(&self) -> Vec<ros::Transform> {
        let node = &self.node;
        let link = format!("{node}_link");
        let here = [0.0; 3];
        let (place, turn) = match &self.info.pose {
            Some(pose) => (pose.translation_meters, pose.quaternion_xyzw),
            None => (here, [0.0, 0.0, 0.0, 1.0]),
        };
        // The axes of a body point forward, left and up, those of optics right, down and forward.
        let in_body = |[x, y, z]: [f64; 3]| [z, -x, -y];
        let turned = |[x, y, z, w]: [f64; 4]| [z, -x, -y, w];
        let mut transforms = vec![ros::Transform {
            parent: ROOT_FRAME.to_owned(),
            child: link.clone(),
            translation: in_body(place),
            rotation: turned(turn),
        }];
        let known = self.info.streams.iter().filter_map(|stream| {
            let at_depth = (stream.stream == Stream::DEPTH).then_some(Extrinsics::IDENTITY);
            Some((stream.stream, at_depth.or(stream.to_depth)?))
        });
        // Points are in the frame of depth.
        for (stream, to_depth) in known.filter(|(stream, _)| *stream != Stream::POINTS) {
            let body = format!("{node}_{}_frame", Names::of(stream).frame);
            let turn = quaternion(to_depth.rotation.map(f64::from));
            transforms.push(ros::Transform {
                parent: link.clone(),
                child: body.clone(),
                translation: in_body(to_depth.translation_meters.map(f64::from)),
                rotation: turned([turn.x, turn.y, turn.z, turn.w]),
            });
            let child = self.frame_id(stream);
            transforms.push(ros::Transform { parent: body, child, translation: here, rotation: TO_OPTICAL });
        }
        transforms
    }

    /// Writes the frames of a frameset; of one that is not wanted, its motion. Returns the first stream that is left out.
    fn write(
        &mut self,
        frameset: &ReadFrameSet,
        wanted: bool,
        output: &mut Ros2Output,
    ) -> Result<Option<Stream>, NotWritten> {
        let headers: Vec<_> = frameset.record.frames.iter().map(shown_header).collect();
        // The sizes come from a file and are unverified.
        camrig::frame::Layout::of(&headers)?;
        let mut left_out = None;
        for ((record, message), header) in frameset.record.frames.iter().zip(&frameset.images).zip(&headers) {
            let is_motion = matches!(header.payload, Payload::Motion { .. });
            if !wanted && !is_motion {
                continue;
            }
            let data = image_data(record, message.clone())?;
            check_image(record, &data)?;
            let stamp = self.clock.time(record.clock, record.timestamp_nanos, frameset.log_time);
            let times = Times { log_time: frameset.log_time, stamp };
            let is_written = match header.payload {
                Payload::Image { .. } | Payload::Encoded { .. } => {
                    self.write_image(record, header, &data, times, output)?;
                    true
                }
                Payload::Points { .. } => {
                    self.write_points(&data, times, output)?;
                    true
                }
                Payload::Motion { .. } => self.write_motion(record, header, &data, times, output)?,
                Payload::Tensor { .. } | Payload::Message { .. } => false,
            };
            if !is_written && self.left_out.insert(header.stream) {
                left_out = Some(header.stream);
            }
        }
        self.written += u64::from(wanted);
        Ok(left_out)
    }

    fn topic(&self, topic: &str) -> String {
        format!("/camera/{}/{topic}", self.node)
    }

    fn write_image(
        &self,
        record: &FrameRecord,
        header: &FrameHeader,
        data: &Bytes,
        times: Times,
        output: &mut Ros2Output,
    ) -> Result<(), NotWritten> {
        let names = Names::of(header.stream);
        let frame_id = self.frame_id(header.stream);
        let of_ros = ros::Header { nanos: times.stamp, frame_id: &frame_id };
        let mut message = Vec::new();
        let topic = self.topic(&names.image);
        match header.payload {
            Payload::Image { format, width, height, stride_bytes } if record.coding != JPEG => {
                let mut pixels = vec![0; header.size_bytes() as usize];
                write_pixels(record, data, &mut pixels)?;
                let (encoding, step) = match DepthForm::of(format, self.info.depth_unit_meters) {
                    Some(DepthForm::Meters(unit_meters)) => {
                        pixels = to_meters(&header.payload, &pixels, unit_meters);
                        (METERS_NAME, width.saturating_mul(4))
                    }
                    _ => (encoding(format), stride_bytes),
                };
                ros::image(&of_ros, &ros::Rows { width, height, encoding, step }, &pixels, &mut message);
                output.write(&topic, ros::IMAGE, times, &message)?;
            }
            payload => {
                let codec = match payload {
                    Payload::Encoded { codec, .. } if codec != MJPEG => codec.as_str().to_owned(),
                    _ => "jpeg".to_owned(),
                };
                ros::compressed_image(&of_ros, &codec, data, &mut message);
                output.write(&format!("{topic}/compressed"), ros::COMPRESSED_IMAGE, times, &message)?;
            }
        }
        self.write_calibration(header, &of_ros, times, output)
    }

    /// Writes the calibration of an image, as realsense-ros does beside each.
    fn write_calibration(
        &self,
        header: &FrameHeader,
        of_ros: &ros::Header<'_>,
        times: Times,
        output: &mut Ros2Output,
    ) -> Result<(), NotWritten> {
        let lens = self.info.stream(header.stream).and_then(|info| info.intrinsics);
        let Some(lens) = lens.filter(|lens| header.payload.size() == Some((lens.width, lens.height))) else {
            return Ok(());
        };
        let (distortion_model, count) = distortion_model(lens.distortion, &lens.coefficients, "equidistant");
        let pinhole = ros::Pinhole {
            width: lens.width,
            height: lens.height,
            focal: [lens.fx, lens.fy].map(f64::from),
            center: [lens.ppx, lens.ppy].map(f64::from),
            distortion_model,
            coefficients: lens.coefficients[..count].iter().copied().map(f64::from).collect(),
        };
        let mut message = Vec::new();
        ros::camera_info(of_ros, &pinhole, &mut message);
        let topic = self.topic(&format!("{}/camera_info", Names::of(header.stream).frame));
        Ok(output.write(&topic, ros::CAMERA_INFO, times, &message)?)
    }

    fn write_points(&self, points: &[u8], times: Times, output: &mut Ros2Output) -> Result<(), NotWritten> {
        let mut data = Vec::with_capacity(points.len());
        for point in points.chunks_exact(POINT_BYTES as usize) {
            if let [xyz @ .., red, green, blue, _] = point
                && point.iter().any(|&byte| byte != 0)
            {
                data.extend_from_slice(xyz);
                data.extend([*blue, *green, *red, 0]);
            }
        }
        let frame_id = self.frame_id(Stream::DEPTH);
        let mut message = Vec::new();
        ros::point_cloud(&ros::Header { nanos: times.stamp, frame_id: &frame_id }, &data, &mut message);
        Ok(output.write(&self.topic("depth/color/points"), ros::POINT_CLOUD, times, &message)?)
    }

    /// Writes each sample of a frame of motion. Returns whether ROS has a message for the stream.
    fn write_motion(
        &mut self,
        record: &FrameRecord,
        header: &FrameHeader,
        data: &[u8],
        times: Times,
        output: &mut Ros2Output,
    ) -> Result<bool, NotWritten> {
        let is_gyro = header.stream == Stream::GYRO;
        if !is_gyro && header.stream != Stream::ACCEL {
            return Ok(false);
        }
        let topic = self.topic(&format!("{}/sample", Names::of(header.stream).frame));
        let frame_id = self.frame_id(header.stream);
        let motion = Frame::new(header, data).ok().and_then(MotionView::new);
        for sample in motion.iter().flat_map(MotionView::iter) {
            let stamp = self.clock.time(record.clock, sample.nanos, times.log_time);
            let mut message = Vec::new();
            let of_ros = ros::Header { nanos: stamp, frame_id: &frame_id };
            ros::imu(&of_ros, is_gyro, sample.xyz.map(f64::from), &mut message);
            output.write(&topic, ros::IMU, Times { stamp, ..times }, &message)?;
        }
        Ok(true)
    }
}

/// The names of a stream in realsense-ros.
struct Names {
    /// The part of coordinate frames and of `camera_info`.
    frame: String,
    /// The topic of its images.
    image: String,
}

impl Names {
    fn of(stream: Stream) -> Self {
        let (frame, is_rectified) = match stream {
            Stream::DEPTH => ("depth".to_owned(), true),
            Stream::INFRARED_1 => ("infra1".to_owned(), true),
            Stream::INFRARED_2 => ("infra2".to_owned(), true),
            Stream::CONFIDENCE => ("confidence".to_owned(), true),
            stream => (ros_name(stream.name()), false),
        };
        let image = format!("{frame}/{}", if is_rectified { "image_rect_raw" } else { "image_raw" });
        Self { frame, image }
    }
}

/// Returns a name with the characters that ROS allows.
fn ros_name(name: &str) -> String {
    let allowed = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let name: String = name.chars().map(allowed).collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("camera_{name}") } else { name }
}

/// Returns the name of a format of pixels in ROS.
fn encoding(format: PixelFormat) -> &'static str {
    match format {
        PixelFormat::Yuyv => "yuv422_yuy2",
        PixelFormat::Uyvy => "yuv422",
        format => format.ros_name(),
    }
}

#[cfg(test)]
mod tests {
    use camrig::frame::{CameraInfo, CameraPose};

    use super::export::Format;
    use super::*;
    use crate::record::testing::TestFolder;

    #[test]
    fn positions_are_in_the_axes_of_a_body() {
        let recorded = crate::record::testing::info("front-1");
        let camera = RosNode {
            node: ros_name("front-1"),
            info: recorded,
            clock: WallClock::default(),
            written: 0,
            left_out: HashSet::new(),
        };
        let found: Vec<_> = camera
            .transforms()
            .into_iter()
            .map(|it| (it.parent, it.child, it.translation.map(|part| part + 0.0), it.rotation[3]))
            .collect();
        // Color is 15 mm to the right of depth.
        let [color, depth] = ["color", "depth"]
            .map(|stream| (format!("front_1_{stream}_frame"), format!("front_1_{stream}_optical_frame")));
        let link = || "front_1_link".to_owned();
        let right = -f64::from(0.015_f32);
        let expected = [
            ("rig".to_owned(), link(), [0.0; 3], 1.0),
            (link(), color.0.clone(), [0.0, right, 0.0], 1.0),
            (color.0, color.1, [0.0; 3], 0.5),
            (link(), depth.0.clone(), [0.0; 3], 1.0),
            (depth.0, depth.1, [0.0; 3], 0.5),
        ];
        assert_eq!(found, expected);
        // 2 m in front of the root, half a metre to its right, and turned to the right by 90 degrees: about Y, downwards.
        let half = std::f64::consts::FRAC_1_SQRT_2;
        let pose = CameraPose {
            root: "rear".to_owned(),
            translation_meters: [0.5, 0.0, 2.0],
            quaternion_xyzw: [0.0, half, 0.0, half],
        };
        let info = CameraInfo { pose: Some(pose), ..camera.info.clone() };
        let posed = RosNode { info, ..camera }.transforms().remove(0);
        let found = (posed.translation.map(|part| part + 0.0), posed.rotation.map(|part| part + 0.0));
        assert_eq!((posed.parent.as_str(), posed.child.as_str()), ("rig", "front_1_link"));
        assert_eq!(found, ([2.0, -0.5, 0.0], [0.0, 0.0, -half, half]));
    }

    #[test]
    fn two_cameras_have_two_nodes() {
        let folder = TestFolder::new("nodes");
        let (path, output) = (folder.path().join("rig.v1.mcap"), folder.path().join("bag"));
        crate::record::testing::write(&path, &["left-1", "left_1"], 1, Compression::None, &[]);
        let args = ExportArgs::all(&path, &output, Format::Ros2);
        let error = export(&args).unwrap_err();
        let expected = "`left-1` and `left_1` would both be called `/camera/left_1`; `--rename` gives one of them another \
                        name";
        assert!(matches!(&error, CommandError::Usage(text) if text == expected), "{error}");
        let rename = vec!["left-1=other".parse().unwrap()];
        export(&ExportArgs { rename, ..args }).unwrap();
        assert!(output.join("rig.v1.mcap").exists());
    }

    /// The mcap crate kept several hundred bytes for each chunk of 768 KiB: some 10 GB for a day of six cameras.
    #[test]
    fn a_long_file_has_few_chunks() {
        // A day of six cameras of 848x480 with raw color and depth.
        let (mut left, mut chunks) = (18_000_u64 << 30, 0);
        while left > 0 {
            left = left.saturating_sub(chunk_bytes(chunks) as u64);
            chunks += 1;
        }
        assert!(chunks < 1_300_000, "{chunks}");
        assert_eq!((chunk_bytes(0), chunk_bytes(u32::MAX)), (1 << 20, 16 << 20));
    }

    #[test]
    fn messages_are_written_in_chunks() {
        let folder = TestFolder::new("chunks");
        let path = folder.path().join("bag.mcap");
        let mut output = Ros2Output::new(File::create_new(&path).unwrap()).unwrap();
        let data = vec![7; 300_000];
        for time in 0..10 {
            output.write("/topic", ros::IMAGE, Times { log_time: time, stamp: time + 1 }, &data).unwrap();
        }
        // Four messages make a chunk.
        assert_eq!((output.file.chunks(), output.waiting.len()), (2, 2));
        output.flush().unwrap();
        output.finish().unwrap();
        let file = std::fs::read(&path).unwrap();
        let found: Vec<_> = mcap::MessageStream::new(&file).unwrap().map(Result::unwrap).collect();
        let found: Vec<_> = found.iter().map(|it| (it.sequence, it.log_time, it.publish_time)).collect();
        assert_eq!(found, (0..10).map(|time| (time as u32 + 1, time, time + 1)).collect::<Vec<_>>());
        let summary = mcap::Summary::read(&file).unwrap().unwrap();
        assert_eq!(summary.chunk_indexes.len(), 3);
    }

    #[test]
    fn names_are_those_of_realsense_ros() {
        let topics = |stream| (Names::of(stream).frame, Names::of(stream).image);
        for (stream, frame, image) in [
            (Stream::DEPTH, "depth", "depth/image_rect_raw"),
            (Stream::COLOR, "color", "color/image_raw"),
            (Stream::INFRARED_2, "infra2", "infra2/image_rect_raw"),
        ] {
            assert_eq!(topics(stream), (frame.to_owned(), image.to_owned()));
        }
        assert_eq!(
            (ros_name("mask/front-1"), ros_name("1")),
            ("mask_front_1".to_owned(), "camera_1".to_owned())
        );
    }
}
