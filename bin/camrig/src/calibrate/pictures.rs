//! The pictures in which boards are searched for.

use std::collections::{BTreeMap, BTreeSet};

use camrig::LightImage;
use camrig::frame::{CameraInfo, DepthView, Extrinsics, Frame, Role, Stream, StreamInfo};
use camrig_calib::{Identity, Pose};
use camrig_record::{OpenRecording, ReadError, RecordedFrameSet};

/// A recording with at most this many pictures of each camera is short.
const SHORT_PICTURES: usize = 100;
/// Minimum time between two examined pictures of a camera in a longer recording, in nanoseconds.
const INTERVAL_NANOS: u64 = 200_000_000;
/// Maximum number of examined pictures of each camera.
const MOST_PICTURES: u64 = 1500;
/// Half the width of the square in a depth image whose median is used, in pixels.
const AROUND: i64 = 2;

/// A camera whose images can be used.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct UsableCamera {
    pub(super) identity: Identity,
    stream: Stream,
}

/// Returns the cameras of a recording that have images with known intrinsics. If a camera was recorded both directly and
/// through a processor, such as `match`, the framesets with numbers of matches are used. The result has the index in
/// [`OpenRecording::cameras`] of each.
pub(super) fn sources(recording: &OpenRecording) -> (Vec<usize>, Vec<UsableCamera>) {
    let mut named: BTreeMap<String, (usize, UsableCamera)> = BTreeMap::new();
    for (index, camera) in recording.cameras().iter().enumerate() {
        let name = camera.name.rsplit('/').next().unwrap_or(&camera.name);
        let Some(source) = UsableCamera::new(name, &camera.info) else { continue };
        if is_matched(recording, index) || !named.contains_key(name) {
            named.insert(name.to_owned(), (index, source));
        }
    }
    named.into_values().unzip()
}

/// Returns the stream in which boards are searched for: color, or the first other image stream with known intrinsics.
fn light(info: &CameraInfo) -> Option<&StreamInfo> {
    let usable = |stream: &&StreamInfo| stream.role == Role::Light && stream.intrinsics.is_some();
    let color = info.stream(Stream::COLOR).filter(usable);
    color.or_else(|| info.streams.iter().find(usable))
}

fn is_matched(recording: &OpenRecording, camera: usize) -> bool {
    let first = recording.first_of(&recording.sequence(), camera).ok().flatten();
    let first = first.and_then(|number| recording.read(number).ok());
    first.is_some_and(|frames| frames.header().matched.is_some())
}

/// Returns the numbers of the framesets to examine, in their order: all of a short recording, otherwise one of each camera in
/// each interval.
///
/// # Errors
/// If the index of the recording cannot be read.
pub(super) fn looked_at(
    recording: &OpenRecording,
    sources: &[usize],
) -> Result<Vec<(usize, usize)>, ReadError> {
    let range = recording.range();
    let interval = INTERVAL_NANOS.max(range.end.saturating_sub(range.start) / MOST_PICTURES);
    let usable = recording.of_cameras(&recording.sequence(), sources)?;
    let is_short = usable.count() <= SHORT_PICTURES * sources.len();
    let (mut taken, mut found) = (BTreeSet::new(), Vec::new());
    for at in 0..usable.count() {
        let number = recording.number(&usable, at)?;
        let place = recording.place(number)?;
        let Some(source) = sources.iter().position(|source| *source == place.camera()) else { continue };
        let interval = place.arrived_nanos.saturating_sub(range.start) / interval;
        if is_short || taken.insert((source, interval)) {
            found.push((number, source));
        }
    }
    Ok(found)
}

impl UsableCamera {
    /// Describes a camera; `None` if it has no images with known intrinsics.
    pub(super) fn new(name: &str, info: &CameraInfo) -> Option<Self> {
        let stream = light(info)?;
        let identity = Identity {
            name: name.to_owned(),
            serial: info.serial.clone(),
            model: info.model.clone(),
            stream: stream.stream.to_string(),
            intrinsics: stream.intrinsics?,
            stream_to_camera: Pose::from(&stream.to_depth.unwrap_or(Extrinsics::IDENTITY)),
            depth_ratio: None,
        };
        Some(Self { identity, stream: stream.stream })
    }

    /// Returns the stream in which boards are searched for.
    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    /// Returns the image of a recorded frameset in gray, and its width; `None` if it has none.
    pub(super) fn recorded_gray(&self, frames: &RecordedFrameSet) -> Option<(Vec<u8>, usize)> {
        let index = frames.header().frames.iter().position(|frame| frame.stream == self.stream)?;
        let pixels = frames.decode(index).ok()?;
        gray(Frame::new(&frames.header().frames[index], &pixels[..]).ok()?)
    }
}

/// Returns an image in gray, and its width; `None` if it cannot be decoded.
pub(super) fn gray(frame: Frame<'_>) -> Option<(Vec<u8>, usize)> {
    let image = LightImage::new(frame).ok()??;
    let view = image.view()?;
    // Luma, as JPEG has it.
    let luma = |rgb: &[u8; 3]| {
        ((u32::from(rgb[0]) * 77 + u32::from(rgb[1]) * 150 + u32::from(rgb[2]) * 29 + 128) >> 8) as u8
    };
    let rgb = view.to_rgb8();
    Some((rgb.as_chunks().0.iter().map(luma).collect(), view.frame().width() as usize))
}

/// Pixels of a depth image, each with the distance that is expected there, in metres.
pub(super) type Expected = Vec<([u32; 2], f64)>;

/// Returns the distances that the depth of a recorded frameset has, in metres, beside those that are expected.
pub(super) fn recorded_depth(
    frames: &RecordedFrameSet,
    expected: impl Fn(&StreamInfo) -> Expected,
) -> Vec<(f64, f64)> {
    let pairs = || {
        let info = depth_stream(frames.info())?;
        let index = frames.header().frames.iter().position(|frame| frame.stream == info.stream)?;
        let pixels = frames.decode(index).ok()?;
        let frame = Frame::new(&frames.header().frames[index], &pixels[..]).ok()?;
        Some(measured(frame, frames.info().depth_unit_meters, info, expected(info)))
    };
    pairs().unwrap_or_default()
}

/// Returns the depth stream, if its intrinsics are known.
pub(super) fn depth_stream(info: &CameraInfo) -> Option<&StreamInfo> {
    info.stream_of(Role::Depth).filter(|info| info.intrinsics.is_some())
}

/// Returns the distances that a depth image with this unit has, in metres, beside those that are expected.
pub(super) fn measured(
    frame: Frame<'_>,
    unit_meters: f32,
    info: &StreamInfo,
    expected: Expected,
) -> Vec<(f64, f64)> {
    let Some(view) = DepthView::new(frame, unit_meters, info.intrinsics.as_ref()) else { return Vec::new() };
    let pair = |(pixel, meters)| Some((meters, median_around(&view, pixel)?));
    expected.into_iter().filter_map(pair).collect()
}

/// Returns the median distance around a pixel, in metres; `None` if most pixels have none.
fn median_around(depth: &DepthView<'_>, [x, y]: [u32; 2]) -> Option<f64> {
    let steps = || -AROUND..=AROUND;
    let near = steps().flat_map(|dy| steps().map(move |dx| (i64::from(x) + dx, i64::from(y) + dy)));
    let mut found: Vec<f32> =
        near.filter_map(|(x, y)| depth.meters(u32::try_from(x).ok()?, u32::try_from(y).ok()?)).collect();
    let enough = found.len() as i64 > (2 * AROUND + 1).pow(2) / 2;
    found.sort_by(f32::total_cmp);
    enough.then(|| f64::from(found[found.len() / 2]))
}
