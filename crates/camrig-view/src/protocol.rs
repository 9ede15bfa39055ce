//! The messages between a page and the server.
//!
//! The server sends only answers. Its answer to a [`FramesetRequest`] is one binary message: the length of a JSON text in 4 bytes,
//! little endian, that text (a [`MessageHead`]), and the parts that the text lists, one after another.

use std::ops::Range;

use camrig::frame::{
    CameraInfo, CameraPose, Extrinsics, Format, FrameHeader, Intrinsics, JSON, Payload, PixelFormat, Role,
    Stream, StreamInfo,
};
use camrig_image::LightImage;
use camrig_status::{ActorState, MatchingStatus, Warning};
use serde::{Deserialize, Serialize};

use crate::recordings::RecordingStatus;

/// A request of a page.
#[derive(Debug, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(crate) enum Question {
    /// The status of the rig and its cameras.
    Status,
    /// The next frameset of a camera, when there is one.
    Frames(FramesetRequest),
}

/// The frameset that a page requests, and its form.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FramesetRequest {
    /// The camera's index in the status.
    pub(crate) camera: usize,
    /// Only a frameset with a greater count.
    pub(crate) after: u64,
    /// The streams to send: pictures, masks, points and messages.
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
pub(crate) struct MessageHead<'a> {
    pub(crate) camera: usize,
    pub(crate) count: u64,
    pub(crate) sequence: u64,
    pub(crate) depth_unit_meters: f32,
    /// The intrinsics of depth and color, and the pose of color.
    pub(crate) depth_lens: Option<&'a Intrinsics>,
    pub(crate) color_lens: Option<&'a Intrinsics>,
    pub(crate) color_to_depth: Option<&'a Extrinsics>,
    /// The names of the cameras whose points it has, by their numbers; empty for a frameset of a single camera.
    pub(crate) origins: Vec<String>,
    /// All frames of the frameset, whether they were requested or not.
    pub(crate) frames: Vec<ShownFrame>,
    /// Whether it has the files that were requested, if there are some.
    pub(crate) files: bool,
    /// The requested messages that are too large to send.
    pub(crate) too_large: Vec<Stream>,
    pub(crate) parts: Vec<MessagePart>,
}

impl<'a> MessageHead<'a> {
    /// Creates a message without parts.
    pub(crate) fn new(camera: usize, count: u64, sequence: u64, info: &'a CameraInfo) -> Self {
        let (depth, color) = (info.stream_of(Role::Depth), info.stream(Stream::COLOR));
        Self {
            camera,
            count,
            sequence,
            depth_unit_meters: info.depth_unit_meters,
            depth_lens: depth.and_then(|depth| depth.intrinsics.as_ref()),
            color_lens: color.and_then(|color| color.intrinsics.as_ref()),
            color_to_depth: color.and_then(|color| color.to_depth.as_ref()),
            origins: Vec::new(),
            frames: Vec::new(),
            files: false,
            too_large: Vec::new(),
            parts: Vec::new(),
        }
    }
}

/// Number and capture time of one frame.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct ShownFrame {
    pub(crate) stream: Stream,
    /// The device's number of the frame; for motion, of the last sample.
    pub(crate) number: u64,
    /// Milliseconds since the zero of `clock`.
    pub(crate) timestamp_ms: f64,
    /// `hardware`, `global` or `system`.
    pub(crate) clock: &'static str,
}

impl ShownFrame {
    pub(crate) fn of(header: &FrameHeader) -> Self {
        Self {
            stream: header.stream,
            number: header.number,
            timestamp_ms: header.timestamp.nanos as f64 / 1e6,
            clock: header.timestamp.clock.name(),
        }
    }
}

/// One part of a message.
#[derive(Debug, Serialize)]
pub(crate) struct MessagePart {
    pub(crate) kind: PartKind,
    pub(crate) stream: Stream,
    /// The size of the frame, not of the picture, in pixels; 0 for a message.
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: usize,
    /// For a picture of depth: the depths at the ends of the color scale, in metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) range_meters: Option<(f32, f32)>,
}

/// The kind of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PartKind {
    /// A JPEG: of a camera that sends them, its own.
    Picture,
    /// A gray JPEG, white where the mask applies.
    Mask,
    /// A gray PNG whose values are numbers of classes.
    Classes,
    /// Points: x, y and z in metres, each an `f32` in little endian; red, green, blue; a byte whose lowest bit is 0 if the
    /// color is unknown, and whose other bits are the number of the point's camera.
    Points,
    /// The bytes of a message in JSON.
    Message,
    /// Depth units, 16 bits a pixel, little endian.
    Units,
    /// Samples of motion: time in milliseconds as an `f64`, then x, y and z as `f32`, in little endian.
    Samples,
    /// A PNG file.
    File,
}

/// A message under construction: the parts are known before the text in front of them.
#[derive(Default)]
pub(crate) struct PageMessage {
    parts: Vec<MessagePart>,
    bytes: Vec<u8>,
}

impl PageMessage {
    /// Adds a part, unless nothing is written.
    pub(crate) fn add(
        &mut self,
        kind: PartKind,
        (stream, width, height): (Stream, u32, u32),
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let bytes = self.bytes.len() - start;
        if bytes > 0 {
            self.parts.push(MessagePart { kind, stream, width, height, bytes, range_meters: None });
        }
    }

    /// Sets the range of the part that was added last.
    pub(crate) fn set_range(&mut self, range_meters: (f32, f32)) {
        if let Some(part) = self.parts.last_mut() {
            part.range_meters = Some(range_meters);
        }
    }

    /// Returns the whole message.
    pub(crate) fn finish(self, mut shown: MessageHead<'_>) -> Result<Vec<u8>, serde_json::Error> {
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
    /// The newest warnings of processors, in order of time.
    pub(crate) warnings: Vec<ActorWarning>,
    /// What processors say that they are doing.
    pub(crate) progress: Vec<ActorProgress>,
    pub(crate) cameras: Vec<CameraStatus>,
    /// Whether pages may change the rig.
    pub(crate) control: bool,
    /// The recordings since the server started; empty where pages may not change the rig.
    pub(crate) recordings: Vec<RecordingStatus>,
}

/// What a processor says that it is doing.
#[derive(Debug, Serialize)]
pub(crate) struct ActorProgress {
    pub(crate) actor: String,
    pub(crate) text: String,
}

/// A warning of a processor.
#[derive(Debug, Serialize)]
pub(crate) struct ActorWarning {
    pub(crate) actor: String,
    #[serde(flatten)]
    pub(crate) warning: Warning,
}

/// The status of one camera. The fields of the supervisor are `None` while it does not answer.
#[derive(Debug, Serialize)]
pub(crate) struct CameraStatus {
    pub(crate) label: String,
    /// The actor that `view` reads.
    pub(crate) input: String,
    /// The camera of the rig that took the framesets, if it is one of its actors.
    pub(crate) actor: Option<String>,
    pub(crate) model: String,
    pub(crate) serial: String,
    /// Its pose and the intrinsics of its depth, if it is a camera of a calibrated rig.
    pub(crate) pose: Option<CameraPose>,
    pub(crate) lens: Option<Intrinsics>,
    pub(crate) streams: Vec<StreamStatus>,
    /// Whether framesets arrive.
    pub(crate) live: bool,
    pub(crate) silent_millis: u64,
    /// `None` while no framesets arrive.
    pub(crate) latency_millis: Option<f64>,
    pub(crate) state: Option<ActorState>,
    pub(crate) error: Option<String>,
    pub(crate) rate_hz: Option<f64>,
    pub(crate) dropped: Option<u64>,
    pub(crate) lost: Option<u64>,
    pub(crate) restarts: Option<u64>,
}

/// A stream of a camera, and how the page shows it.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct StreamStatus {
    pub(crate) stream: Stream,
    pub(crate) form: Form,
    pub(crate) role: Role,
    /// The format, such as `tensor-f32`.
    pub(crate) format: String,
    /// Width and height in pixels, of an image or of rows of points; `None` for other payloads.
    pub(crate) size: Option<(u32, u32)>,
    /// Frames, or samples of motion, in the last second; `None` if the supervisor counts none of this stream.
    pub(crate) rate_hz: Option<f64>,
    /// Time since the last frame; `None` before the first one, and if the supervisor counts none of this stream.
    pub(crate) age_ms: Option<f64>,
}

impl StreamStatus {
    /// Describes the streams of one camera. `counted` has those that the supervisor counts.
    pub(crate) fn of(streams: &[StreamInfo], counted: &[camrig_status::StreamStatus]) -> Vec<Self> {
        let color = streams.iter().find(|info| info.stream == Stream::COLOR).map(|info| info.payload);
        let describe = |info: &StreamInfo| {
            let counts = counted.iter().find(|counts| counts.stream == info.stream.name());
            Self {
                stream: info.stream,
                form: Form::of(info.role, &info.payload, color.as_ref()),
                role: info.role,
                format: info.format().to_string(),
                size: info.payload.size().filter(|_| info.role != Role::Motion),
                rate_hz: counts.map(|counts| counts.rate_hz),
                age_ms: counts.and_then(|counts| counts.age_ms),
            }
        };
        streams.iter().map(describe).collect()
    }
}

/// The presentation of a stream on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    /// A picture of its own.
    Picture,
    /// Over the color image.
    Mask,
    /// Points in space.
    Points,
    /// Over the color image, if it is an array of boxes.
    Message,
    /// A plot of its samples.
    Plot,
    /// Only listed.
    Listed,
}

impl Form {
    /// Returns the form of a frame with this role and payload, beside a color frame. A mask has the size of the
    /// color image.
    pub(crate) fn of(role: Role, payload: &Payload, color: Option<&Payload>) -> Self {
        let covers_color = color.is_some_and(|color| color.size() == payload.size());
        match (role, payload.format()) {
            (Role::Other, Format::Image(PixelFormat::Y8)) if covers_color => Self::Mask,
            (Role::Depth, Format::Image(_)) => Self::Picture,
            (_, format) if LightImage::is_in(format) => Self::Picture,
            (_, Format::Points) => Self::Points,
            (_, Format::Motion) => Self::Plot,
            (_, Format::Message(_)) if color.is_some() && is_json(payload) => Self::Message,
            _ => Self::Listed,
        }
    }
}

fn is_json(payload: &Payload) -> bool {
    matches!(payload, Payload::Message { encoding, .. } if *encoding == JSON)
}

/// Returns the range, if depths can be colored by it.
pub(crate) fn checked(range_meters: (f32, f32)) -> Option<Range<f32>> {
    let (near, far) = range_meters;
    // The comparisons refuse NaN too.
    (0.0 <= near && near < far && far.is_finite()).then_some(near..far)
}

#[cfg(test)]
mod tests {
    use camrig::frame::{DType, MJPEG, Name, Shape};

    use super::*;

    #[test]
    fn role_and_payload_decide_how_a_stream_is_shown() {
        let color = Payload::image(PixelFormat::Rgb8, 424, 240);
        let message = |encoding: &str| Payload::Message {
            schema: Name::constant("camrig.Boxes"),
            encoding: Name::new(encoding).unwrap(),
            size_bytes: 99,
        };
        let tensor = Payload::Tensor { dtype: DType::F32, shape: Shape::new(&[30, 53]).unwrap() };
        let mjpeg = Format::Encoded(MJPEG).payload(424, 240).unwrap();
        let gray = |width| Payload::image(PixelFormat::Y8, width, 240);
        for (role, payload, form, without_color) in [
            (Role::Light, color, Form::Picture, Form::Picture),
            (Role::Light, gray(424), Form::Picture, Form::Picture),
            (Role::Light, mjpeg, Form::Picture, Form::Picture),
            (Role::Depth, Payload::image(PixelFormat::Z16, 424, 240), Form::Picture, Form::Picture),
            (Role::Other, gray(424), Form::Mask, Form::Picture),
            (Role::Other, gray(848), Form::Picture, Form::Picture),
            (Role::Other, Payload::image(PixelFormat::Z16, 424, 240), Form::Listed, Form::Listed),
            (Role::Other, message("json"), Form::Message, Form::Listed),
            (Role::Other, message("cdr"), Form::Listed, Form::Listed),
            (Role::Other, tensor, Form::Listed, Form::Listed),
            (Role::Points, Payload::Points { width: 424, height: 240 }, Form::Points, Form::Points),
            (Role::Motion, Payload::Motion { samples: 9 }, Form::Plot, Form::Plot),
        ] {
            assert_eq!(Form::of(role, &payload, Some(&color)), form, "{role} {payload:?}");
            assert_eq!(Form::of(role, &payload, None), without_color, "{role} {payload:?}");
        }
    }

    #[test]
    fn a_page_reads_streams_with_form_role_format_size_and_rate() {
        let stream = |name: &str, role, payload| StreamInfo {
            role,
            ..StreamInfo::new(Stream::new(name).unwrap(), payload, 30)
        };
        let streams = [
            stream(
                "heat",
                Role::Other,
                Payload::Tensor { dtype: DType::F32, shape: Shape::new(&[30, 53]).unwrap() },
            ),
            stream("mask", Role::Other, Payload::image(PixelFormat::Y8, 424, 240)),
            stream("color", Role::Light, Payload::image(PixelFormat::Rgb8, 424, 240)),
        ];
        let counted = camrig_status::StreamStatus {
            stream: "color".to_owned(),
            frames: 99,
            rate_hz: 29.5,
            age_ms: Some(12.0),
            silences: 0,
        };
        let unknown = r#""rate_hz":null,"age_ms":null}"#;
        assert_eq!(
            serde_json::to_string(&StreamStatus::of(&streams, &[counted])).unwrap(),
            format!(
                r#"[{{"stream":"heat","form":"listed","role":"other","format":"tensor-f32","size":null,{unknown},"#
            ) + &format!(
                r#"{{"stream":"mask","form":"mask","role":"other","format":"y8","size":[424,240],{unknown},"#
            ) + r#"{"stream":"color","form":"picture","role":"light","format":"rgb8","size":[424,240],"#
                + r#""rate_hz":29.5,"age_ms":12.0}]"#
        );
    }
}
