//! The pictures of a recording in which boards are looked for.

use std::collections::{BTreeMap, BTreeSet};

use camrig::LightImage;
use camrig::frame::{CameraInfo, DepthView, Extrinsics, Frame, Role, Stream, StreamInfo};
use camrig_calib::{Identity, Pose};
use camrig_record::{OpenRecording, RecordedFrameSet};

/// A recording with at most this many pictures of each camera is short.
const SHORT_PICTURES: usize = 100;
/// The least time between two pictures of a camera that are looked at in a longer one, in nanoseconds.
const INTERVAL_NANOS: u64 = 200_000_000;
/// Maximum number of pictures of each camera that are looked at.
const MOST_PICTURES: u64 = 1500;
/// Half of the width of the square in a depth image whose median counts, in pixels.
const AROUND: i64 = 2;

/// A camera of a recording whose images can be used.
pub(super) struct UsableCamera {
    /// The index in [`OpenRecording::cameras`].
    pub(super) index: usize,
    pub(super) identity: Identity,
    stream: Stream,
}

/// Returns the cameras of a recording with images whose optics are known. Of one that was recorded both by itself and by a
/// processor, such as `match`, the framesets with numbers of matches count.
pub(super) fn sources(recording: &OpenRecording) -> Vec<UsableCamera> {
    let mut named: BTreeMap<String, (bool, UsableCamera)> = BTreeMap::new();
    for (index, camera) in recording.cameras().iter().enumerate() {
        let Some(stream) = light(&camera.info) else { continue };
        let Some(intrinsics) = stream.intrinsics else { continue };
        let name = camera.name.rsplit('/').next().unwrap_or(&camera.name).to_owned();
        let identity = Identity {
            name: name.clone(),
            serial: camera.info.serial.clone(),
            model: camera.info.model.clone(),
            stream: stream.stream.to_string(),
            intrinsics,
            stream_to_camera: Pose::from(&stream.to_depth.unwrap_or(Extrinsics::IDENTITY)),
            depth_ratio: None,
        };
        let source = UsableCamera { index, identity, stream: stream.stream };
        let is_matched = is_matched(recording, index);
        if is_matched || !named.contains_key(&name) {
            named.insert(name, (is_matched, source));
        }
    }
    named.into_values().map(|(_, source)| source).collect()
}

/// Returns the stream in which boards are looked for: color, or the first other one of light with known optics.
fn light(info: &CameraInfo) -> Option<&StreamInfo> {
    let usable = |stream: &&StreamInfo| stream.role == Role::Light && stream.intrinsics.is_some();
    let color = info.stream(Stream::COLOR).filter(usable);
    color.or_else(|| info.streams.iter().find(usable))
}

fn is_matched(recording: &OpenRecording, camera: usize) -> bool {
    let first = recording.places().iter().position(|place| place.camera == camera);
    let first = first.and_then(|number| recording.read(number).ok());
    first.is_some_and(|frames| frames.header().matched.is_some())
}

/// Returns the numbers of the framesets that are looked at, in their order: all of a short recording, otherwise of each
/// camera one in each interval.
pub(super) fn looked_at(recording: &OpenRecording, sources: &[UsableCamera]) -> Vec<(usize, usize)> {
    let range = recording.range();
    let interval = INTERVAL_NANOS.max(range.end.saturating_sub(range.start) / MOST_PICTURES);
    let mut taken = BTreeSet::new();
    let places = recording.places().iter().enumerate();
    let all: Vec<_> = places
        .filter_map(|(number, place)| {
            let source = sources.iter().position(|source| source.index == place.camera)?;
            Some((number, source, place.arrived_nanos))
        })
        .collect();
    let is_short = all.len() <= SHORT_PICTURES * sources.len();
    let of_interval = |&(_, source, nanos): &(usize, usize, u64)| {
        is_short || taken.insert((source, nanos.saturating_sub(range.start) / interval))
    };
    all.into_iter().filter(of_interval).map(|(number, source, _)| (number, source)).collect()
}

impl UsableCamera {
    /// Returns the image of a frameset in gray, and its width; `None` if it has none.
    pub(super) fn gray(&self, frames: &RecordedFrameSet) -> Option<(Vec<u8>, usize)> {
        let index = frames.header().frames.iter().position(|frame| frame.stream == self.stream)?;
        let header = &frames.header().frames[index];
        let pixels = frames.decode(index).ok()?;
        let image = LightImage::new(Frame::new(header, &pixels[..]).ok()?).ok()??;
        let view = image.view()?;
        // Luma, as JPEG has it.
        let luma = |rgb: &[u8; 3]| {
            ((u32::from(rgb[0]) * 77 + u32::from(rgb[1]) * 150 + u32::from(rgb[2]) * 29 + 128) >> 8) as u8
        };
        let rgb = view.to_rgb8();
        Some((rgb.as_chunks().0.iter().map(luma).collect(), view.frame().width() as usize))
    }
}

/// Returns the distances that the depth of a frameset has at these pixels, in metres, beside those that are expected.
pub(super) fn depth(
    frames: &RecordedFrameSet,
    expected: impl Fn(&StreamInfo) -> Vec<([u32; 2], f64)>,
) -> Vec<(f64, f64)> {
    let pairs = || {
        let info = frames.info().stream_of(Role::Depth).filter(|info| info.intrinsics.is_some())?;
        let index = frames.header().frames.iter().position(|frame| frame.stream == info.stream)?;
        let pixels = frames.decode(index).ok()?;
        let frame = Frame::new(&frames.header().frames[index], &pixels[..]).ok()?;
        let view = DepthView::new(frame, frames.info().depth_unit_meters, info.intrinsics.as_ref())?;
        let measured = expected(info).into_iter();
        Some(measured.filter_map(|(pixel, meters)| Some((meters, median_around(&view, pixel)?))).collect())
    };
    pairs().unwrap_or_default()
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
