//! The format of recordings, as names and plain data: the contract between `record`, `replay` and other programs.
//!
//! A recording is an MCAP file. For each camera of it, called `front` here:
//!
//! | topic | schema | content |
//! |---|---|---|
//! | `/front/frameset` | `camrig.FrameSet`, JSON | one message for each frameset: [`FrameSetRecord`] |
//! | `/front/color/image` and so on | `foxglove.RawImage` or `foxglove.CompressedImage` | one message for each frame |
//! | `/front/depth/image` | `sensor_msgs/msg/Image`, CDR | instead, for depth: [`DEPTH`] or [`DEPTH_METERS`] |
//! | `/front/points/points` and so on | `foxglove.PointCloud` | instead, for frames that are points, without empty ones |
//! | `/front/heat/tensor` and so on | `camrig.Tensor`, a file of `NumPy` | one message for each frame that is a tensor |
//! | `/front/boxes/message` and so on | that of the message | one message for each frame that is a message: its bytes |
//! | `/front/gyro/samples` and so on | `camrig.Motion`, JSON | one message for each frame of motion: its samples |
//! | `/front/gyro/imu` and so on | `sensor_msgs/msg/Imu`, CDR | one message for each sample, for viewers |
//! | `/front/color/calibration` | `foxglove.CameraCalibration` | once a file, if the camera has a calibration |
//! | `/front/color/transform` | `foxglove.FrameTransform` | once a file: from `front/depth` to `front/color` |
//! | `/front/transform` | `foxglove.FrameTransform` | once a file: from `rig`, the root of all cameras, to the camera |
//! | `/front/gaps` | `camrig.Gap`, JSON | one message for each run of framesets that are missing: [`GapRecord`] |
//!
//! A camera whose framesets are forwarded by a processor is called `mask/front`: the processor, then the camera.
//!
//! All messages of a frameset have its arrival time as `log_time`, in nanoseconds of the wall clock; the capture time
//! of its first frame as `publish_time`, by the camera's own clock; and its sequence number as `sequence`. They form
//! one chunk, which starts with the frameset, followed by its frames: a truncated file therefore contains all
//! framesets except the last one in full, and a reader of one camera reads nothing else. Static properties are
//! metadata of the channels: [`CAMERA_KEY`] and the other keys below.
//!
//! [`RECORDER_METADATA`] holds the version and the options of the recorder, [`TOPOLOGY_ATTACHMENT`] the topology.
//!
//! This module has no knowledge of files and pixels.

use std::collections::BTreeMap;

use camrig::frame::{Clock, FrameHeader, Metadata, MetadataKey, Origin, Payload, Role, Stream, Timestamp};
use camrig::status::ChangeReport;
use serde::{Deserialize, Serialize};

use crate::counted::counted;

/// Version of this format; readers reject others.
pub(crate) const VERSION: &str = "1";

/// Schema of [`FrameSetRecord`]: a channel with this schema identifies a camrig recording.
pub(crate) const FRAMESET_SCHEMA: &str = "camrig.FrameSet";
/// Schema of [`GapRecord`].
pub(crate) const GAP_SCHEMA: &str = "camrig.Gap";
/// Name of the metadata record that describes the recorder: its version, options and rig.
pub(crate) const RECORDER_METADATA: &str = "camrig.recorder";

/// Name of the attachment with the topology of the rig, without its secrets.
pub(crate) const TOPOLOGY_ATTACHMENT: &str = "topology.toml";

/// Foxglove's schema of raw pixels.
pub(crate) const RAW_SCHEMA: &str = "foxglove.RawImage";
/// Schema of tensors, each a `NumPy` file.
pub(crate) const TENSOR_SCHEMA: &str = "camrig.Tensor";
/// Encoding of tensors.
pub(crate) const TENSOR_ENCODING: &str = "npy";
/// Foxglove's schema of points.
pub(crate) const POINTS_SCHEMA: &str = "foxglove.PointCloud";
/// Schema of motion samples.
pub(crate) const MOTION_SCHEMA: &str = "camrig.Motion";
/// Foxglove's schema of JPEG images.
pub(crate) const COMPRESSED_SCHEMA: &str = "foxglove.CompressedImage";

/// Metadata of a frameset's channel: the [`VERSION`].
pub(crate) const VERSION_KEY: &str = "camrig_recording";
/// Metadata of a frameset's channel: the camera as JSON, [`camrig::frame::CameraInfo`].
pub(crate) const CAMERA_KEY: &str = "camera_info";
/// Metadata of every channel: the name of the camera.
pub(crate) const NAME_KEY: &str = "camera";
/// Metadata of the channels of a stream: the name of the stream.
pub(crate) const STREAM_KEY: &str = "stream";
/// Metadata of a frameset's channel: the `log_time` of the start of the recording, the same in all its files.
pub(crate) const ORIGIN_KEY: &str = "origin_nanos";
/// Metadata of a frameset's channel: 1 for the first file of a recording, 2 for the next, ...
pub(crate) const PART_KEY: &str = "part";
/// Metadata of a frameset's channel: identifies the run of the rig, so that a restarted recorder continues its own recording.
/// Omitted if the run is not known.
pub(crate) const RUN_KEY: &str = "run";
/// Metadata of a frameset's channel: the difference between `log_time` and the host's monotonic clock.
pub(crate) const OFFSET_KEY: &str = "wall_minus_monotonic_nanos";

/// Name of the metadata record that ends each file that was closed: [`NEXT_KEY`] names the file that continues the
/// recording, in the same folder; without that key, the recording ends with this file. A recorder that failed leaves a file
/// without this record; then its next instance continues in the next file, with the same [`ORIGIN_KEY`].
pub(crate) const PART_METADATA: &str = "camrig.part";
/// Key in [`PART_METADATA`]: the name of the next file.
pub(crate) const NEXT_KEY: &str = "next";

/// Name of the metadata record of a change of the rig during the recording: see [`Changed`].
pub(crate) const CHANGE_METADATA: &str = "camrig.change";

/// Entries of a [`Changed`].
const TIME_KEY: &str = "unix_nanos";
const BY_KEY: &str = "by";
const CHANGES_KEY: &str = "changes";

/// Name of the metadata record of a camera that was recorded from an incomplete source: see [`Incomplete`].
pub(crate) const INCOMPLETE_METADATA: &str = "camrig.incomplete";
/// Key in [`INCOMPLETE_METADATA`]: the number of framesets that the source lacks.
const UNREADABLE_KEY: &str = "unreadable";
/// Key in [`INCOMPLETE_METADATA`]: why the camera failed for good.
const FAILURE_KEY: &str = "failure";

/// Name of the coding for raw pixels.
pub(crate) const RAW: &str = "raw";
/// Name of the coding for JPEG.
pub(crate) const JPEG: &str = "jpeg";
/// Name of the coding for depth as it is, in an image of ROS: millimetres with 16 bits, or metres in floating point.
pub(crate) const DEPTH: &str = "depth";
/// Name of the coding for 16-bit depth that was converted to metres, in an image of ROS.
pub(crate) const DEPTH_METERS: &str = "depth-meters";

/// One frameset without its pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FrameSetRecord {
    /// The producer's sequence number.
    pub(crate) sequence: u64,
    /// Arrival time by the monotonic clock of the host at that time.
    pub(crate) arrival_nanos: u64,
    /// Number of the match with which it was published; omitted from the JSON before any matching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) matched: Option<u64>,
    /// The framesets from which it was made; omitted from the JSON unless there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) origins: Vec<Origin>,
    /// The frames, in the order of their messages.
    pub(crate) frames: Vec<FrameRecord>,
}

/// One frame of a frameset without its pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "FrameText", try_from = "FrameText")]
pub(crate) struct FrameRecord {
    pub(crate) stream: Stream,
    pub(crate) role: Role,
    pub(crate) payload: Payload,
    /// The device's frame number.
    pub(crate) number: u64,
    pub(crate) clock: Clock,
    pub(crate) timestamp_nanos: u64,
    /// By librealsense's names.
    pub(crate) metadata: BTreeMap<String, i64>,
    /// `raw`, `jpeg`, `depth` or `depth-meters`.
    pub(crate) coding: String,
    /// The unit of depth that was converted to metres.
    pub(crate) unit_meters: Option<f32>,
}

impl FrameRecord {
    pub(crate) fn new(header: &FrameHeader, coding: &str) -> Self {
        Self {
            stream: header.stream,
            role: header.role,
            payload: header.payload,
            number: header.number,
            clock: header.timestamp.clock,
            timestamp_nanos: header.timestamp.nanos,
            metadata: header.metadata.iter().map(|(key, value)| (key.name().to_owned(), value)).collect(),
            coding: coding.to_owned(),
            unit_meters: None,
        }
    }

    /// Restores the header of the frame. Metadata unknown to this build is omitted.
    pub(crate) fn header(&self) -> FrameHeader {
        let mut metadata = Metadata::EMPTY;
        for key in MetadataKey::all() {
            if let Some(&value) = self.metadata.get(key.name()) {
                metadata.set(key, value);
            }
        }
        FrameHeader {
            stream: self.stream,
            role: self.role,
            payload: self.payload,
            number: self.number,
            timestamp: Timestamp { clock: self.clock, nanos: self.timestamp_nanos },
            metadata,
        }
    }
}

/// A frame in JSON: images, points and motion by format and size, everything else by its payload.
#[derive(Clone, Serialize, Deserialize)]
struct FrameText {
    stream: Stream,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    format: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stride_bytes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
    number: u64,
    clock: Clock,
    timestamp_nanos: u64,
    metadata: BTreeMap<String, i64>,
    coding: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit_meters: Option<f32>,
}

impl From<FrameRecord> for FrameText {
    fn from(frame: FrameRecord) -> Self {
        let FrameRecord {
            stream,
            role,
            payload,
            number,
            clock,
            timestamp_nanos,
            metadata,
            coding,
            unit_meters,
        } = frame;
        let format = payload.format();
        let stride_bytes = payload.stride_bytes();
        let size = payload.size().filter(|_| stride_bytes.is_some());
        Self {
            stream,
            role: (role != format.role()).then_some(role),
            format: format.to_string(),
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            stride_bytes,
            payload: stride_bytes.is_none().then_some(payload),
            number,
            clock,
            timestamp_nanos,
            metadata,
            coding,
            unit_meters,
        }
    }
}

impl TryFrom<FrameText> for FrameRecord {
    type Error = String;

    fn try_from(frame: FrameText) -> Result<Self, String> {
        let FrameText {
            stream, format, number, clock, timestamp_nanos, metadata, coding, unit_meters, ..
        } = frame;
        let [width, height, stride_bytes] =
            [frame.width, frame.height, frame.stride_bytes].map(Option::unwrap_or_default);
        let payload = frame.payload.or_else(|| Payload::of_rows(&format, width, height, stride_bytes));
        let payload = payload.ok_or_else(|| format!("unknown format `{format}`"))?;
        let role = frame.role.unwrap_or(payload.format().role());
        Ok(Self { stream, role, payload, number, clock, timestamp_nanos, metadata, coding, unit_meters })
    }
}

/// Consecutive framesets of one producer that are not in the recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GapRecord {
    /// Sequence number of the first missing frameset.
    pub(crate) first_sequence: u64,
    /// Sequence number of the last missing frameset.
    pub(crate) last_sequence: u64,
    pub(crate) reason: GapReason,
}

impl GapRecord {
    /// Returns the number of missing framesets. The sequence numbers come from a file and are unverified.
    pub(crate) fn framesets(&self) -> u64 {
        self.last_sequence.saturating_sub(self.first_sequence).saturating_add(1)
    }
}

/// The part that a recording lacks because its source did: a damaged recording, or a camera that failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incomplete {
    /// The name of the camera in the recording.
    pub(crate) camera: String,
    /// Number of framesets that the source lacks.
    pub(crate) unreadable: u64,
    /// The reason why the camera failed for good.
    pub(crate) failure: Option<String>,
}

impl Incomplete {
    /// Returns the entries of its metadata record.
    pub(crate) fn entries(&self) -> BTreeMap<String, String> {
        let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let unreadable = (self.unreadable > 0).then(|| entry(UNREADABLE_KEY, &self.unreadable.to_string()));
        let failure = self.failure.as_ref().map(|failure| entry(FAILURE_KEY, failure));
        [entry(NAME_KEY, &self.camera)].into_iter().chain(unreadable).chain(failure).collect()
    }

    /// Reads the entries of its metadata record, which come from a file and are unverified. Returns `None` without a
    /// camera.
    pub(crate) fn from_entries(entries: &BTreeMap<String, String>) -> Option<Self> {
        let text = |key: &str| entries.get(key).map(|value| value.escape_debug().to_string());
        let unreadable = entries.get(UNREADABLE_KEY).and_then(|count| count.parse().ok()).unwrap_or(0);
        Some(Self { camera: text(NAME_KEY)?, unreadable, failure: text(FAILURE_KEY) })
    }
}

/// A change of the rig during the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    /// The time, in nanoseconds since 1970.
    pub(crate) unix_nanos: u64,
    /// The program that requested it.
    pub(crate) by: String,
    /// The differences.
    pub(crate) changes: Vec<String>,
}

impl Changed {
    /// Returns the entries of its metadata record.
    pub(crate) fn entries(&self) -> BTreeMap<String, String> {
        let entry = |key: &str, value: String| (key.to_owned(), value);
        [
            entry(TIME_KEY, self.unix_nanos.to_string()),
            entry(BY_KEY, self.by.clone()),
            entry(CHANGES_KEY, self.changes.join("\n")),
        ]
        .into()
    }

    /// Reads the entries of its metadata record, which come from a file and are unverified.
    pub(crate) fn from_entries(entries: &BTreeMap<String, String>) -> Option<Self> {
        let plain = |text: &str| text.escape_debug().to_string();
        Some(Self {
            unix_nanos: entries.get(TIME_KEY)?.parse().ok()?,
            by: plain(entries.get(BY_KEY)?),
            changes: entries.get(CHANGES_KEY)?.lines().map(plain).collect(),
        })
    }

    /// Returns it with seconds since the start of a recording that began at this time.
    pub(crate) fn report(&self, began_nanos: u64) -> ChangeReport {
        let Self { unix_nanos, by, changes } = self.clone();
        ChangeReport { seconds: unix_nanos.saturating_sub(began_nanos) as f64 / 1e9, unix_nanos, by, changes }
    }

    /// Returns a line about it, for a recording that began at this time.
    pub(crate) fn line(&self, began_nanos: u64) -> String {
        let ChangeReport { seconds, by, changes, .. } = self.report(began_nanos);
        format!("changed at {seconds:.2} s by {by}: {}", changes.join("; "))
    }
}

impl std::fmt::Display for Incomplete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unreadable = (self.unreadable > 0).then(|| {
            format!("its source lacked {}, which could not be read", counted(self.unreadable, "frameset"))
        });
        let failure = self.failure.as_ref().map(|failure| format!("its camera failed: {failure}"));
        let facts: Vec<_> = unreadable.into_iter().chain(failure).collect();
        write!(f, "`{}` is incomplete: {}", self.camera, facts.join("; "))
    }
}

/// Reason for missing framesets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GapReason {
    /// They never reached the recorder: the link dropped them, or the producer had no free slot.
    Link,
    /// The disk was too slow, and the recorder's buffer was full.
    Memory,
    /// The recorder was restarted: its instance before had not written them, or they were dropped until it was ready again.
    Restart,
    /// A copy left them out, since they could not be read.
    Damaged,
    /// A copy left them out, as of the time between two recordings that were merged.
    LeftOut,
}

impl GapReason {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Memory => "memory",
            Self::Restart => "restart",
            Self::Damaged => "damaged",
            Self::LeftOut => "left-out",
        }
    }
}

/// JSON schema of [`FrameSetRecord`], for viewers.
pub(crate) const FRAMESET_JSON_SCHEMA: &str = r#"{
  "type": "object",
  "title": "camrig.FrameSet",
  "properties": {
    "sequence": {"type": "integer"},
    "arrival_nanos": {"type": "integer"},
    "matched": {"type": "integer"},
    "origins": {"type": "array", "items": {"type": "object", "properties": {
      "camera": {"type": "string"},
      "sequence": {"type": "integer"}
    }}},
    "frames": {"type": "array", "items": {"type": "object", "properties": {
      "stream": {"type": "string"},
      "format": {"type": "string"},
      "width": {"type": "integer"},
      "height": {"type": "integer"},
      "stride_bytes": {"type": "integer"},
      "role": {"type": "string"},
      "payload": {"type": "object"},
      "number": {"type": "integer"},
      "clock": {"type": "string"},
      "timestamp_nanos": {"type": "integer"},
      "metadata": {"type": "object", "additionalProperties": {"type": "integer"}},
      "coding": {"type": "string"},
      "unit_meters": {"type": "number"}
    }}}
  }
}
"#;

/// JSON schema of motion samples, for viewers: nanoseconds of the camera's clock, and metres per second squared or
/// radians per second.
pub(crate) const MOTION_JSON_SCHEMA: &str = r#"{
  "type": "object",
  "title": "camrig.Motion",
  "properties": {
    "samples": {"type": "array", "items": {"type": "object", "properties": {
      "nanos": {"type": "integer"},
      "x": {"type": "number"},
      "y": {"type": "number"},
      "z": {"type": "number"}
    }}}
  }
}
"#;

/// JSON schema of [`GapRecord`], for viewers.
pub(crate) const GAP_JSON_SCHEMA: &str = r#"{
  "type": "object",
  "title": "camrig.Gap",
  "properties": {
    "first_sequence": {"type": "integer"},
    "last_sequence": {"type": "integer"},
    "reason": {"type": "string"}
  }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_as_it_was_written_without_control_characters() {
        let changes =
            vec!["set camera `left`: option `gain` 16 -> 32".to_owned(), "end process `a`".to_owned()];
        let change = Changed { unix_nanos: 3_500_000_000, by: "`camrig set`".to_owned(), changes };
        assert_eq!(Changed::from_entries(&change.entries()).as_ref(), Some(&change));
        assert_eq!(
            change.line(1_000_000_000),
            "changed at 2.50 s by `camrig set`: set camera `left`: option `gain` 16 -> 32; end process `a`"
        );
        let mut entries = change.entries();
        entries.insert("by".to_owned(), "\u{1b}[31mme".to_owned());
        assert_eq!(Changed::from_entries(&entries).unwrap().by, "\\u{1b}[31mme");
        entries.insert("unix_nanos".to_owned(), "now".to_owned());
        assert_eq!(Changed::from_entries(&entries), None);
    }
}
