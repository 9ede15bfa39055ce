//! The streams that a device can deliver, and the choice among them.
//!
//! It converts librealsense's numbers to camrig's names, and does not depend on devices.

use std::collections::{BTreeMap, BTreeSet};

use camrig::DriverError;
use camrig::frame::{Format, MJPEG, Payload, PixelFormat, Role, Stream, StreamInfo, StreamProfile};
use realsense_sys as rs2;

use crate::names::list;
use crate::request::StreamRequest;
use crate::streams::{is_another, is_motion};
use crate::subject::Subject;
use crate::sys::{OpenSensor, ProfileData, StreamKey, format_name, stream_kind_name};

/// Maximum number of profiles in an error. A camera may have dozens.
const NEAREST: usize = 5;

/// A stream that a device can deliver, and its sensor and profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) stream: Stream,
    /// librealsense's number and index of the stream.
    pub(crate) key: StreamKey,
    pub(crate) format: Format,
    pub(crate) profile: StreamProfile,
    pub(crate) sensor: usize,
    pub(crate) index: usize,
}

impl Candidate {
    /// Returns the declaration of the stream, without calibration.
    pub(crate) fn info(&self) -> StreamInfo {
        let (width, height) = (self.profile.width(), self.profile.height());
        let info = StreamInfo::with_profile(self.stream, self.format, self.profile);
        // Only formats that follow from their size are candidates.
        let info = info.unwrap_or_else(|| {
            let payload = Payload::image(PixelFormat::Y8, width, height);
            StreamInfo::new(self.stream, payload, self.profile.frames_per_second())
        });
        StreamInfo { role: self.role(), ..info }
    }

    /// Returns the role of the stream.
    pub(crate) fn role(&self) -> Role {
        role(self.stream, self.format)
    }
}

/// Returns the streams of a device that camrig can deliver, and descriptions of the others.
pub(crate) fn candidates(sensors: &[OpenSensor]) -> (Vec<Candidate>, Vec<String>) {
    let all = || {
        let of = |(sensor, open): (usize, &OpenSensor)| {
            let profiles: Vec<_> = open.profiles().enumerate().collect();
            profiles.into_iter().map(move |(index, data)| (sensor, index, data))
        };
        sensors.iter().enumerate().flat_map(of)
    };
    let names = names(&all().map(|(.., data)| data.key()).collect());
    let (mut candidates, mut left_out) = (Vec::new(), Vec::new());
    for (sensor, index, data) in all() {
        let key = data.key();
        let Some(&stream) = names.get(&key) else { continue };
        match (format_of(key.0, data.format), profile_of(stream, &data)) {
            (Some(format), Some(profile)) if is_known(&data) => {
                candidates.push(Candidate { stream, key, format, profile, sensor, index });
            }
            _ => left_out.push(description(stream, &data)),
        }
    }
    (candidates, left_out)
}

/// Returns whether the bindings have kind and format: their views panic on others.
fn is_known(data: &ProfileData) -> bool {
    data.stream < rs2::rs2_stream_RS2_STREAM_COUNT && data.format < rs2::rs2_format_RS2_FORMAT_COUNT
}

fn profile_of(stream: Stream, data: &ProfileData) -> Option<StreamProfile> {
    let side = |pixels: i32| u32::try_from(pixels).unwrap_or(0);
    let rate = side(data.frames_per_second);
    let profile = if is_motion(stream) {
        StreamProfile::of_motion(rate)
    } else {
        StreamProfile::new(side(data.width), side(data.height), rate)
    };
    profile.ok()
}

/// Describes a stream that is left out: `infrared-1 640x480@30 y10bpack`, `pose 200 6dof`.
fn description(stream: Stream, data: &ProfileData) -> String {
    let ProfileData { width, height, frames_per_second, format, .. } = *data;
    let size = if width > 0 { format!("{width}x{height}@") } else { String::new() };
    format!("{stream} {size}{frames_per_second} {}", format_name(format))
}

/// Names the streams of a device.
///
/// The first stream of a kind has the name of the kind, and each further one its index in addition: `color`, `color-2`.
/// Infrared and fisheye streams are numbered as librealsense does: `infrared-1`, and `infrared` for index 0, which is the
/// left imager in color of a D415. A camera with a single infrared imager does not number it: that is `infrared-1`.
fn names(keys: &BTreeSet<StreamKey>) -> BTreeMap<StreamKey, Stream> {
    let name = |&(kind, index): &StreamKey| {
        let base = stream_kind_name(kind);
        let of_kind = || keys.iter().filter(|key| key.0 == kind).map(|key| key.1);
        let is_numbered =
            matches!(kind, rs2::rs2_stream_RS2_STREAM_INFRARED | rs2::rs2_stream_RS2_STREAM_FISHEYE);
        let single = kind == rs2::rs2_stream_RS2_STREAM_INFRARED && of_kind().all(|index| index != 1);
        let name = match index {
            0 if single => format!("{base}-1"),
            0 => base,
            _ if !is_numbered && of_kind().min() == Some(index) => base,
            _ => format!("{base}-{index}"),
        };
        Some(((kind, index), Stream::new(&name).ok()?))
    };
    keys.iter().filter_map(name).collect()
}

/// Chooses the requested streams of a live camera.
pub(crate) fn choose_live(
    subject: &Subject,
    candidates: &[Candidate],
    left_out: &[String],
    requests: &[StreamRequest],
) -> Result<Vec<Candidate>, DriverError> {
    let choose = |request: &StreamRequest| {
        let same = |it: &&Candidate| Some(it.format) == request.format && it.profile == request.profile;
        let named = |name: &str| candidates.iter().filter(move |it| it.stream.name() == name).find(same);
        if let Some(own) = named(request.stream.name()) {
            return Ok(*own);
        }
        // A D415 sends the image of its left imager in color under another index.
        let taken = requests.iter().any(|it| it.stream.name() == INFRARED);
        match named(INFRARED).filter(|_| request.stream == Stream::INFRARED_1 && !taken) {
            Some(in_color) => Ok(Candidate { stream: request.stream, ..*in_color }),
            None => Err(refused(subject, candidates, left_out, request).at(key_of(request.stream))),
        }
    };
    requests.iter().map(choose).collect()
}

/// The name of the infrared stream with index 0 of a camera that also has the one with index 1.
const INFRARED: &str = "infrared";

/// Describes the streams of a live camera that lacks the requested one.
fn refused(
    subject: &Subject,
    candidates: &[Candidate],
    left_out: &[String],
    request: &StreamRequest,
) -> DriverError {
    let StreamRequest { stream, profile, format } = request;
    let own = || candidates.iter().filter(|it| it.stream == *stream);
    if own().next().is_none() {
        if is_motion(*stream) {
            let reason = "its model has no such motion sensor";
            return DriverError::new(format!("{subject} has no {stream} stream: {reason}"));
        }
        let streams: BTreeSet<_> = candidates.iter().map(|it| it.stream).collect();
        let it_has = list(streams.into_iter().map(|stream| stream.to_string()));
        let unknown = left_out.iter().filter(|it| it.split(' ').next() == Some(stream.name()));
        let unknown = list(unknown.cloned());
        let formats = if unknown == "none" { String::new() } else { format!("; unknown formats: {unknown}") };
        return DriverError::new(format!("{subject} has no {stream} stream; it has: {it_has}{formats}"));
    }
    let of_format = || own().filter(|it| Some(it.format) == *format);
    let wanted = shown(*stream, *profile);
    let in_format = format.filter(|_| !is_motion(*stream));
    let in_format = in_format.map(|format| format!(" in {format}")).unwrap_or_default();
    let there_are = if of_format().next().is_some() {
        nearest(request, of_format().map(|it| it.profile))
    } else {
        let mut formats: Vec<_> = own().map(|it| it.format.to_string()).collect();
        formats.sort_unstable();
        formats.dedup();
        format!("expected one of: {}", list(formats.into_iter()))
    };
    DriverError::new(format!("{subject} has no {stream} stream {wanted}{in_format}; {there_are}"))
}

/// The streams with an option of their own.
const WITH_OPTION: [Stream; 7] = [
    Stream::COLOR,
    Stream::DEPTH,
    Stream::INFRARED_1,
    Stream::INFRARED_2,
    Stream::CONFIDENCE,
    Stream::ACCEL,
    Stream::GYRO,
];

/// Returns the option that requests a stream.
fn key_of(stream: Stream) -> String {
    if WITH_OPTION.contains(&stream) { stream.name().replace('-', "_") } else { format!("streams.{stream}") }
}

/// Returns the profiles nearest to the requested one: in size first, then in rate.
fn nearest(request: &StreamRequest, profiles: impl Iterator<Item = StreamProfile>) -> String {
    let wanted = request.profile;
    let pixels = |profile: StreamProfile| profile.width() * profile.height();
    let mut profiles: Vec<_> = profiles.collect();
    profiles.sort_by_key(|it| {
        let distance = pixels(*it).abs_diff(pixels(wanted));
        let rate_distance = it.frames_per_second().abs_diff(wanted.frames_per_second());
        // The rest only makes the order deterministic, and equal ones adjacent.
        (distance, rate_distance, it.width(), it.frames_per_second())
    });
    profiles.dedup();
    let which = if profiles.len() > NEAREST { "the nearest are" } else { "expected one of" };
    format!("{which}: {}", list(profiles.iter().take(NEAREST).map(|it| shown(request.stream, *it))))
}

/// Formats a profile as in topologies: of motion only the rate.
fn shown(stream: Stream, profile: StreamProfile) -> String {
    if is_motion(stream) { profile.frames_per_second().to_string() } else { profile.to_string() }
}

/// Chooses the first profile of each recorded stream, or the requested ones.
pub(crate) fn choose_recorded(
    subject: &Subject,
    candidates: &[Candidate],
    left_out: &[String],
    requests: &[StreamRequest],
) -> Result<Vec<Candidate>, DriverError> {
    if candidates.iter().all(|it| is_motion(it.stream)) {
        // A recorder adds a stream with its first frame.
        if left_out.is_empty() {
            let error = format!("{subject} holds no color, depth or infrared frames");
            return Err(DriverError::new(error).at("file"));
        }
        let images = PixelFormat::ALL.iter().map(|format| format!("`{format}`"));
        let (known, it_has) = (images.chain([format!("`{MJPEG}`")]), left_out.iter().cloned());
        return Err(DriverError::new(format!(
            "{subject} has no stream in a known format; it has: {}; known: {}",
            list(it_has),
            list(known),
        ))
        .at("file"));
    }
    if requests.is_empty() {
        let mut recorded: Vec<_> = candidates.to_vec();
        // The sort keeps the order of the profiles of a stream.
        recorded.sort_by_key(|it| it.stream);
        recorded.dedup_by_key(|it| it.stream);
        return Ok(recorded);
    }
    let choose = |request: &StreamRequest| {
        let same = |it: &&Candidate| {
            it.stream == request.stream
                && it.profile == request.profile
                && request.format.is_none_or(|format| format == it.format)
        };
        candidates.iter().find(same).copied().ok_or_else(|| {
            let mut it_has: Vec<_> = candidates.iter().collect();
            it_has.sort_by_key(|it| it.stream);
            let it_has = list(it_has.into_iter().map(brief));
            let StreamRequest { stream, profile, format } = request;
            let wanted = shown(*stream, *profile);
            let in_format = format.map(|format| format!(" in {format}")).unwrap_or_default();
            DriverError::new(format!(
                "{subject} has no {stream} stream {wanted}{in_format}; it has: {it_has}"
            ))
            .at(key_of(*stream))
        })
    };
    requests.iter().map(choose).collect()
}

/// Returns the recorded profiles of the chosen streams that are not chosen: a second profile of a stream does not play.
pub(crate) fn other_profiles(candidates: &[Candidate], chosen: &[Candidate]) -> Vec<String> {
    let is_other = |it: &&Candidate| chosen.iter().any(|own| own.stream == it.stream) && !chosen.contains(it);
    candidates.iter().filter(is_other).map(brief).collect()
}

/// Describes a stream in a list: `color 640x480@30 rgb8`.
fn brief(it: &Candidate) -> String {
    format!("{} {} {}", it.stream, shown(it.stream, it.profile), it.format)
}

/// Returns the format with librealsense's number: formats of images have librealsense's names. Luminance of a sensor
/// that is not of color comes as `raw8` from some models.
fn format_of(kind: rs2::rs2_stream, number: rs2::rs2_format) -> Option<Format> {
    match number {
        rs2::rs2_format_RS2_FORMAT_MOTION_XYZ32F => Some(Format::Motion),
        rs2::rs2_format_RS2_FORMAT_RAW8 if kind != rs2::rs2_stream_RS2_STREAM_COLOR => {
            Some(PixelFormat::Y8.into())
        }
        _ => image_format(number),
    }
}

/// Returns the role of a stream in this format: confidence is not an image of light.
pub(crate) fn role(stream: Stream, format: Format) -> Role {
    let confidence = stream == Stream::CONFIDENCE || is_another(Stream::CONFIDENCE, stream);
    if confidence { Role::Other } else { format.role() }
}

/// Returns the format of an image with librealsense's number.
pub(crate) fn image_format(number: rs2::rs2_format) -> Option<Format> {
    match number {
        rs2::rs2_format_RS2_FORMAT_MJPEG => Some(Format::Encoded(MJPEG)),
        rs2::rs2_format_RS2_FORMAT_RAW8 => Some(PixelFormat::Y8.into()),
        _ => PixelFormat::named(&format_name(number)).map(Format::Image),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_known_format_names_its_formats() {
        let subject = Subject::File("x.bag".into());
        let left_out = ["infrared-1 640x480@30 y10bpack".to_owned(), "color 640x480@30 mjpeg".to_owned()];
        let known = list(
            PixelFormat::ALL.map(PixelFormat::name).iter().chain(&["mjpeg"]).map(|it| format!("`{it}`")),
        );
        assert_eq!(
            choose_recorded(&subject, &[], &left_out, &[]).unwrap_err().to_string(),
            format!(
                "file `x.bag` has no stream in a known format; it has: infrared-1 640x480@30 y10bpack, \
                 color 640x480@30 mjpeg; known: {known}"
            ),
        );
    }

    #[test]
    fn streams_of_a_kind_are_distinguished() {
        let (color, infrared, fisheye) = (
            rs2::rs2_stream_RS2_STREAM_COLOR,
            rs2::rs2_stream_RS2_STREAM_INFRARED,
            rs2::rs2_stream_RS2_STREAM_FISHEYE,
        );
        let named = |keys: &[StreamKey]| {
            names(&keys.iter().copied().collect()).into_values().map(|it| it.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(named(&[(color, 0), (color, 1)]), ["color", "color-1"]);
        assert_eq!(named(&[(color, 1), (color, 2)]), ["color", "color-2"]);
        assert_eq!(named(&[(infrared, 0)]), ["infrared-1"]);
        assert_eq!(
            named(&[(infrared, 0), (infrared, 1), (infrared, 2)]),
            ["infrared", "infrared-1", "infrared-2"]
        );
        assert_eq!(named(&[(fisheye, 1), (fisheye, 2)]), ["fisheye-1", "fisheye-2"]);
        assert_eq!(named(&[(rs2::rs2_stream_RS2_STREAM_POSE, 0)]), ["pose"]);
    }
}
