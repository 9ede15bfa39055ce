//! The streams that a device can deliver, and the choice among them.
//!
//! It converts librealsense's numbers to camrig's names, and does not depend on devices.

use camrig::DriverError;
use camrig::frame::{Format, Payload, PixelFormat, Stream, StreamInfo, StreamProfile};
use realsense_sys as rs2;

use crate::names::list;
use crate::request::{StreamRequest, is_motion};
use crate::subject::Subject;
use crate::sys::{OpenSensor, ProfileData, format_name};

/// Maximum number of profiles in an error. A camera may have dozens.
const NEAREST: usize = 5;

/// A stream that a device can deliver, and its sensor and profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) stream: Stream,
    pub(crate) format: Format,
    pub(crate) profile: StreamProfile,
    pub(crate) sensor: usize,
    pub(crate) index: usize,
}

impl Candidate {
    /// The declaration of the stream, without calibration.
    pub(crate) fn info(&self) -> StreamInfo {
        let (width, height) = (self.profile.width(), self.profile.height());
        let info = StreamInfo::with_profile(self.stream, self.format, self.profile);
        // Only formats that follow from their size are candidates.
        info.unwrap_or_else(|| {
            let payload = Payload::image(PixelFormat::Y8, width, height);
            StreamInfo::new(self.stream, payload, self.profile.frames_per_second())
        })
    }
}

/// Returns the streams of a device that camrig knows, and descriptions of those in an unknown format or size.
pub(crate) fn candidates(sensors: &[OpenSensor]) -> (Vec<Candidate>, Vec<String>) {
    let (mut candidates, mut left_out) = (Vec::new(), Vec::new());
    for (sensor, open) in sensors.iter().enumerate() {
        for (index, data) in open.profiles().enumerate() {
            let Some(stream) = stream_of(&data) else { continue };
            let side = |pixels: i32| u32::try_from(pixels).unwrap_or(0);
            let profile = if is_motion(stream) {
                StreamProfile::of_motion(side(data.frames_per_second))
            } else {
                StreamProfile::new(side(data.width), side(data.height), side(data.frames_per_second))
            };
            if let (Some(format), Ok(profile)) = (format_of(data.format), profile) {
                candidates.push(Candidate { stream, format, profile, sensor, index });
            } else {
                let ProfileData { width, height, frames_per_second, format, .. } = data;
                let format = format_name(format);
                left_out.push(format!("{stream} {width}x{height}@{frames_per_second} {format}"));
            }
        }
    }
    (candidates, left_out)
}

pub(crate) fn choose_live(
    subject: &Subject,
    candidates: &[Candidate],
    requests: &[StreamRequest],
) -> Result<Vec<Candidate>, DriverError> {
    let choose = |request: &StreamRequest| {
        let same = |it: &&Candidate| it.stream == request.stream && Some(it.format) == request.format;
        candidates.iter().filter(same).find(|it| it.profile == request.profile).copied().ok_or_else(|| {
            let StreamRequest { stream, profile, .. } = request;
            if is_motion(*stream) && !candidates.iter().any(|it| it.stream == *stream) {
                return DriverError::new(format!(
                    "{subject} has no {stream} stream: its model has no such motion sensor"
                ));
            }
            let there_are = nearest(request, candidates.iter().filter(same).map(|it| it.profile));
            let format = request.format.filter(|_| !is_motion(*stream));
            let format = format.map(|format| format!(" in {format}")).unwrap_or_default();
            let wanted = shown(*stream, *profile);
            DriverError::new(format!("{subject} has no {stream} stream {wanted}{format}; {there_are}"))
        })
    };
    requests.iter().map(choose).collect()
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

/// Chooses all recorded streams, or the requested ones.
pub(crate) fn choose_recorded(
    subject: &Subject,
    candidates: &[Candidate],
    left_out: &[String],
    requests: &[StreamRequest],
) -> Result<Vec<Candidate>, DriverError> {
    let mut recorded: Vec<_> = candidates.to_vec();
    // Of several formats of a stream the first counts: the sort keeps their order.
    recorded.sort_by_key(|it| it.stream);
    recorded.dedup_by_key(|it| it.stream);
    if recorded.iter().all(|it| is_motion(it.stream)) {
        // A recorder adds a stream with its first frame.
        if left_out.is_empty() {
            return Err(DriverError::new(format!("{subject} holds no color, depth or infrared frames")));
        }
        let (known, it_has) =
            (PixelFormat::ALL.iter().map(|format| format!("`{format}`")), left_out.iter().cloned());
        return Err(DriverError::new(format!(
            "{subject} has no stream in a known format; it has: {}; known: {}",
            list(it_has),
            list(known),
        )));
    }
    if requests.is_empty() {
        return Ok(recorded);
    }
    let choose = |request: &StreamRequest| {
        let same = |it: &&Candidate| it.stream == request.stream && it.profile == request.profile;
        recorded.iter().find(same).copied().ok_or_else(|| {
            let it_has = list(
                recorded
                    .iter()
                    .map(|it| format!("{} {} {}", it.stream, shown(it.stream, it.profile), it.format)),
            );
            let StreamRequest { stream, profile, .. } = request;
            let wanted = shown(*stream, *profile);
            DriverError::new(format!("{subject} has no {stream} stream {wanted}; it has: {it_has}"))
        })
    };
    requests.iter().map(choose).collect()
}

pub(crate) fn stream_of(data: &ProfileData) -> Option<Stream> {
    stream_numbered(data.stream, data.index)
}

/// Returns the stream with librealsense's number and `index`.
pub(crate) fn stream_numbered(stream: rs2::rs2_stream, index: i32) -> Option<Stream> {
    match (stream, index) {
        (rs2::rs2_stream_RS2_STREAM_COLOR, _) => Some(Stream::COLOR),
        (rs2::rs2_stream_RS2_STREAM_DEPTH, _) => Some(Stream::DEPTH),
        (rs2::rs2_stream_RS2_STREAM_INFRARED, 2) => Some(Stream::INFRARED_2),
        // Cameras with a single infrared imager do not number it.
        (rs2::rs2_stream_RS2_STREAM_INFRARED, _) => Some(Stream::INFRARED_1),
        (rs2::rs2_stream_RS2_STREAM_CONFIDENCE, _) => Some(Stream::CONFIDENCE),
        (rs2::rs2_stream_RS2_STREAM_ACCEL, _) => Some(Stream::ACCEL),
        (rs2::rs2_stream_RS2_STREAM_GYRO, _) => Some(Stream::GYRO),
        _ => None,
    }
}

/// The format with librealsense's number: formats of images have librealsense's names.
pub(crate) fn format_of(number: rs2::rs2_format) -> Option<Format> {
    if number == rs2::rs2_format_RS2_FORMAT_MOTION_XYZ32F {
        return Some(Format::Motion);
    }
    PixelFormat::named(&format_name(number)).map(Format::Image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_known_format_says_what_it_has() {
        let subject = Subject::File("x.bag".into());
        let left_out = ["infrared-1 640x480@30 y10bpack".to_owned(), "color 640x480@30 mjpeg".to_owned()];
        assert_eq!(
            choose_recorded(&subject, &[], &left_out, &[]).unwrap_err().to_string(),
            "file `x.bag` has no stream in a known format; it has: infrared-1 640x480@30 y10bpack, \
             color 640x480@30 mjpeg; known: `rgb8`, `bgr8`, `rgba8`, `bgra8`, `yuyv`, `uyvy`, `y8`, `y16`, `z16`, \
             `distance`, `disparity32`",
        );
    }
}
