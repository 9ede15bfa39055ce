//! The messages between a page and the server.
//!
//! The server sends nothing but answers. Its answer to a [`Wanted`] frameset is one binary message: the length of
//! a JSON text in 4 bytes, little endian, that text (a [`Shown`]), and the parts that the text lists, one after
//! another.

use std::ops::Range;

use camrig::frame::{CameraInfo, Extrinsics, Intrinsics, Role, Stream};
use camrig_status::{ActorState, MatchingStatus};
use serde::{Deserialize, Serialize};

/// A request of a page.
#[derive(Debug, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(crate) enum Question {
    /// The status of the rig and its cameras.
    Status,
    /// The next frameset of a camera, when there is one.
    Frames(Wanted),
}

/// The frameset that a page requests, and its form.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Wanted {
    /// The camera's index in the status.
    pub(crate) camera: usize,
    /// Only a frameset with a greater count.
    pub(crate) after: u64,
    /// The streams to send as pictures.
    pub(crate) streams: Vec<Stream>,
    /// The width of a picture on the page, in pixels.
    pub(crate) width: u32,
    /// The depths at the ends of the color scale, in metres; `None` lets the server choose.
    pub(crate) range_meters: Option<(f32, f32)>,
    /// Whether to send depth units as well: 16 bits per pixel, little endian.
    pub(crate) depth: bool,
    /// Whether to send color and depth as PNG files as well.
    pub(crate) files: bool,
}

/// The text in front of a message's parts.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    pub(crate) camera: usize,
    pub(crate) count: u64,
    pub(crate) sequence: u64,
    pub(crate) range_meters: Option<(f32, f32)>,
    pub(crate) depth_unit_meters: f32,
    /// The intrinsics of depth and color, and the pose of color.
    pub(crate) depth_lens: Option<&'a Intrinsics>,
    pub(crate) color_lens: Option<&'a Intrinsics>,
    pub(crate) color_to_depth: Option<&'a Extrinsics>,
    pub(crate) parts: Vec<Part>,
}

impl<'a> Shown<'a> {
    /// Without parts.
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
    /// The size of the frame, not of the picture, in pixels.
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: usize,
}

/// The kind of a part.
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

/// A message under construction: the parts are known before the text in front of them.
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

/// The status that a page shows.
#[derive(Debug, Serialize)]
pub(crate) struct ViewStatus {
    pub(crate) topology: String,
    pub(crate) matching: Vec<MatchingStatus>,
    pub(crate) cameras: Vec<CameraStatus>,
}

/// The status of one camera. The fields of the supervisor are `None` while it does not answer.
#[derive(Debug, Serialize)]
pub(crate) struct CameraStatus {
    pub(crate) label: String,
    pub(crate) model: String,
    pub(crate) serial: String,
    pub(crate) streams: Vec<Stream>,
    /// Whether framesets arrive.
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

/// Returns the range, if depths can be colored by it.
pub(crate) fn checked(range_meters: (f32, f32)) -> Option<Range<f32>> {
    let (near, far) = range_meters;
    // The comparisons refuse NaN too.
    (0.0 <= near && near < far && far.is_finite()).then_some(near..far)
}
