//! What a page and the server say to each other.
//!
//! A page asks, the server answers: nothing comes unasked. A [`Wanted`] frameset is answered by one binary
//! message: the length of a JSON text in 4 bytes, little endian, that text (a [`Shown`]), and one behind the
//! other the parts that it lists.

use std::ops::Range;

use camrig::frame::{CameraInfo, Extrinsics, Intrinsics, Role, Stream};
use camrig_status::{ActorState, MatchingStatus};
use serde::{Deserialize, Serialize};

/// What a page asks for.
#[derive(Debug, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(crate) enum Question {
    /// How everything is.
    Status,
    /// A frameset, when there is a new one.
    Frames(Wanted),
}

/// Which frameset a page wants, and how.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Wanted {
    /// The camera's place in the status.
    pub(crate) camera: usize,
    /// Only a frameset after this count.
    pub(crate) after: u64,
    /// The streams of which it wants pictures.
    pub(crate) streams: Vec<Stream>,
    /// The width in pixels at which a picture is shown.
    pub(crate) width: u32,
    /// The depths in metres at the ends of the colors; none leaves it to the server.
    pub(crate) range_meters: Option<(f32, f32)>,
    /// Whether it wants depth as it is as well: 16 bits a pixel, little endian.
    pub(crate) depth: bool,
    /// Whether it wants color and depth as PNG files as well.
    pub(crate) files: bool,
}

/// What one message shows.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    pub(crate) camera: usize,
    pub(crate) count: u64,
    pub(crate) sequence: u64,
    pub(crate) range_meters: Option<(f32, f32)>,
    pub(crate) depth_unit_meters: f32,
    /// The pinhole models of depth and color, and where color was taken from.
    pub(crate) depth_lens: Option<&'a Intrinsics>,
    pub(crate) color_lens: Option<&'a Intrinsics>,
    pub(crate) color_to_depth: Option<&'a Extrinsics>,
    pub(crate) parts: Vec<Part>,
}

impl<'a> Shown<'a> {
    /// Without parts yet.
    pub(crate) fn new(camera: usize, count: u64, sequence: u64, info: &'a CameraInfo) -> Self {
        let (depth, color) = (info.stream_of(Role::Depth), info.stream(Stream::COLOR));
        Self {
            camera,
            count,
            sequence,
            range_meters: None,
            depth_unit_meters: info.depth_unit_meters,
            depth_lens: depth.and_then(|depth| depth.intrinsics.as_ref()),
            color_lens: color.and_then(|color| color.intrinsics.as_ref()),
            color_to_depth: color.and_then(|color| color.to_depth.as_ref()),
            parts: Vec::new(),
        }
    }
}

/// One part of a message.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    pub(crate) stream: Stream,
    /// The size of the frame, not of the picture.
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: usize,
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A JPEG.
    Picture,
    /// Depth units, 16 bits a pixel, little endian.
    Units,
    /// A PNG file.
    File,
}

/// A message that grows: the parts first, whose lengths the text in front of them says.
#[derive(Default)]
pub(crate) struct Message {
    parts: Vec<Part>,
    bytes: Vec<u8>,
}

impl Message {
    /// Adds a part, unless nothing is written: points, for one, have no picture.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        (stream, width, height): (Stream, u32, u32),
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let bytes = self.bytes.len() - start;
        if bytes > 0 {
            self.parts.push(Part { kind, stream, width, height, bytes });
        }
    }

    /// The whole message.
    pub(crate) fn finish(self, mut shown: Shown<'_>) -> Result<Vec<u8>, serde_json::Error> {
        shown.parts = self.parts;
        let text = serde_json::to_vec(&shown)?;
        let length = (text.len() as u32).to_le_bytes();
        Ok([length.as_slice(), &text, &self.bytes].concat())
    }
}

/// How everything is, as a page shows it.
#[derive(Debug, Serialize)]
pub(crate) struct ViewStatus {
    pub(crate) topology: String,
    pub(crate) matching: Vec<MatchingStatus>,
    pub(crate) cameras: Vec<CameraStatus>,
}

/// How one camera is. What the supervisor knows is missing while it does not answer.
#[derive(Debug, Serialize)]
pub(crate) struct CameraStatus {
    pub(crate) label: String,
    pub(crate) model: String,
    pub(crate) serial: String,
    pub(crate) streams: Vec<Stream>,
    /// Whether its framesets come.
    pub(crate) live: bool,
    pub(crate) silent_millis: u64,
    pub(crate) latency_millis: f64,
    pub(crate) state: Option<ActorState>,
    pub(crate) error: Option<String>,
    pub(crate) rate_hz: Option<f64>,
    pub(crate) dropped: Option<u64>,
    pub(crate) lost: Option<u64>,
    pub(crate) restarts: Option<u64>,
}

/// A range of depths that can be shown.
pub(crate) fn checked(range_meters: (f32, f32)) -> Option<Range<f32>> {
    let (near, far) = range_meters;
    // Written so that NaN is refused too.
    (0.0 <= near && near < far && far.is_finite()).then_some(near..far)
}
