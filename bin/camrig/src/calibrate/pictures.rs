//! The pictures in which boards are searched for.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use camrig::LightImage;
use camrig::frame::{CameraInfo, DepthView, Extrinsics, Frame, Role, Stream, StreamInfo};
use camrig_calib::{Identity, Pose};
use camrig_record::{OpenRecording, ReadError, RecordedFrameSet};

use super::{CommandError, index_of};

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
}

/// The framesets of a camera that were recorded from one producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    /// The index in [`OpenRecording::cameras`].
    recorded: usize,
    /// The index of the camera.
    pub(super) camera: usize,
    /// The index of the processor that matched them, if one did.
    pub(super) matcher: Option<usize>,
}

/// Returns the cameras of a recording that have images with known intrinsics, or the `wanted` ones of them, and their sources:
/// all that relate cameras by numbers of matches, otherwise the first one.
///
/// # Errors
/// If a wanted camera is unknown.
pub(super) fn sources(
    recording: &OpenRecording,
    wanted: &[String],
) -> Result<(Vec<Source>, Vec<UsableCamera>), CommandError> {
    let mut names = BTreeSet::new();
    let mut producers: BTreeMap<Option<&str>, BTreeMap<&str, (usize, UsableCamera)>> = BTreeMap::new();
    for (index, camera) in recording.cameras().iter().enumerate() {
        let (producer, name) = camera.name.rsplit_once('/').unwrap_or(("", &camera.name));
        let Some(usable) = UsableCamera::new(name, &camera.info) else { continue };
        names.insert(name);
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            let matcher = is_matched(recording, index).then_some(producer);
            producers.entry(matcher).or_default().entry(name).or_insert((index, usable));
        }
    }
    wanted.iter().try_for_each(|wanted| index_of(names.iter().copied(), wanted).map(drop))?;
    let unmatched = producers.remove(&None).unwrap_or_default();
    let mut matchers: Vec<_> = producers.into_values().collect();
    matchers.sort_by_key(|of| Reverse(of.len()));
    let (mut cameras, mut found) = (BTreeMap::new(), Vec::new());
    let mut related: Vec<BTreeSet<&str>> = Vec::new();
    for (matcher, of) in matchers.into_iter().enumerate() {
        let names: BTreeSet<_> = of.keys().copied().collect();
        // Another one relates the same cameras.
        if related.iter().any(|known| names.is_subset(known)) {
            continue;
        }
        related.push(names);
        for (name, (recorded, usable)) in of {
            // A processor may have changed the images.
            if *cameras.entry(name).or_insert_with(|| usable.clone()) == usable {
                found.push((name, recorded, Some(matcher)));
            }
        }
    }
    for (name, (recorded, usable)) in unmatched {
        if !cameras.contains_key(name) {
            cameras.insert(name, usable);
            found.push((name, recorded, None));
        }
    }
    let number = |name: &str| cameras.keys().take_while(|known| **known != name).count();
    let source = |(name, recorded, matcher)| Source { recorded, camera: number(name), matcher };
    Ok((found.into_iter().map(source).collect(), cameras.into_values().collect()))
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

/// A frameset that can be examined.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its number in the recording.
    number: usize,
    /// The index of its source.
    source: usize,
    /// The number of the interval in which it arrived.
    interval: u64,
}

/// Returns the numbers of the framesets to examine, in their order, each with the index of its source: all of a short recording,
/// otherwise one of each source in each interval.
///
/// # Errors
/// If the index of the recording cannot be read.
pub(super) fn looked_at(
    recording: &OpenRecording,
    sources: &[Source],
) -> Result<Vec<(usize, usize)>, ReadError> {
    let range = recording.range();
    let interval = INTERVAL_NANOS.max(range.end.saturating_sub(range.start) / MOST_PICTURES);
    let recorded: Vec<_> = sources.iter().map(|source| source.recorded).collect();
    let usable = recording.of_cameras(&recording.sequence(), &recorded)?;
    let is_short = usable.count() <= SHORT_PICTURES * sources.len();
    let matched = |number: usize| recording.read(number).ok()?.header().matched;
    // Of one interval.
    let mut places: Vec<Place> = Vec::new();
    let mut found = Vec::new();
    for at in 0..usable.count() {
        let number = recording.number(&usable, at)?;
        let place = recording.place(number)?;
        let Some(source) = recorded.iter().position(|recorded| *recorded == place.camera()) else { continue };
        let interval = place.arrived_nanos.saturating_sub(range.start) / interval;
        if is_short {
            found.push((number, source));
            continue;
        }
        if places.last().is_some_and(|last| last.interval != interval) {
            found.extend(one_of_each(&places, sources, &matched));
            places.clear();
        }
        places.push(Place { number, source, interval });
    }
    found.extend(one_of_each(&places, sources, &matched));
    Ok(found)
}

/// Returns one frameset of each source in each interval: the first, or those of one match.
fn one_of_each(
    places: &[Place],
    sources: &[Source],
    matched: &impl Fn(usize) -> Option<u64>,
) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for places in places.chunk_by(|a, b| a.interval == b.interval) {
        let mut of_matchers: BTreeMap<usize, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for place in places {
            if let Some(matcher) = sources[place.source].matcher {
                let of_sources = of_matchers.entry(matcher).or_default();
                of_sources.entry(place.source).or_default().push(place.number);
            } else if taken.insert(place.source) {
                found.push((place.number, place.source));
            }
        }
        found.extend(of_matchers.into_values().flat_map(|of_sources| first_match(of_sources, matched)));
    }
    found.sort_unstable();
    found
}

/// Returns the numbers of the framesets of the first match that all sources have, each with its source. A source whose framesets
/// are all earlier is left out.
fn first_match(
    of_sources: BTreeMap<usize, Vec<usize>>,
    matched: &impl Fn(usize) -> Option<u64>,
) -> Vec<(usize, usize)> {
    // A match and its frameset of each source, and those after it.
    let lanes = of_sources.into_iter().filter_map(|(source, numbers)| {
        let mut of_source =
            numbers.into_iter().filter_map(move |number| Some((matched(number)?, (number, source))));
        Some((of_source.next()?, of_source))
    });
    let mut lanes: Vec<_> = lanes.collect();
    loop {
        let latest = lanes.iter().map(|((of, _), _)| *of).max();
        let Some(behind) = lanes.iter().position(|((of, _), _)| Some(*of) < latest) else {
            return lanes.into_iter().map(|((_, frameset), _)| frameset).collect();
        };
        match lanes[behind].1.next() {
            Some(next) => lanes[behind].0 = next,
            None => drop(lanes.remove(behind)),
        }
    }
}

impl UsableCamera {
    /// Describes a camera; `None` if it has no images with known intrinsics.
    pub(super) fn new(name: &str, info: &CameraInfo) -> Option<Self> {
        let stream = light(info)?;
        let identity = Identity {
            name: name.to_owned(),
            serial: info.serial.clone(),
            model: info.model.clone(),
            stream: stream.stream,
            intrinsics: stream.intrinsics?,
            stream_to_camera: Pose::from(&stream.to_depth.unwrap_or(Extrinsics::IDENTITY)),
            depth_ratio: None,
        };
        Some(Self { identity })
    }

    /// Returns the image of a recorded frameset in gray, and its width; `None` if it has none.
    pub(super) fn recorded_gray(&self, frames: &RecordedFrameSet) -> Option<(Vec<u8>, usize)> {
        let index = frames.header().frames.iter().position(|frame| frame.stream == self.identity.stream)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examined_framesets_of_an_interval_are_of_one_match() {
        let source = |camera, matcher| Source { recorded: camera, camera, matcher };
        let sources = [source(0, Some(0)), source(1, Some(0)), source(2, None)];
        // Each interval begins between the framesets of a match.
        let period = INTERVAL_NANOS / 6 - 1000;
        let late = [0, 14_000_000, 5_000_000];
        let arrivals =
            (0..600).flat_map(|of| (0..3).map(move |source| (of * period + late[source], source, of)));
        let mut arrivals: Vec<_> = arrivals.collect();
        arrivals.sort_unstable();
        let places = arrivals.iter().enumerate().map(|(number, (nanos, source, _))| Place {
            number,
            source: *source,
            interval: nanos / INTERVAL_NANOS,
        });
        let places: Vec<_> = places.collect();
        let found = one_of_each(&places, &sources, &|number| Some(arrivals[number].2));
        assert!(found.is_sorted(), "{found:?}");
        let mut matches: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (number, source) in found.iter().filter(|(_, source)| *source < 2) {
            matches.entry(arrivals[*number].2).or_default().push(*source);
        }
        assert!(matches.values().all(|sources| *sources == [0, 1]), "{matches:?}");
        let intervals = 600 / 6;
        assert!(matches.len() >= intervals - 1, "{} of {intervals}", matches.len());
        assert!(found.len() - 2 * matches.len() >= intervals, "one of the third camera each time");
    }

    #[test]
    fn a_match_without_a_camera_is_passed_over() {
        let matched =
            |number: usize| [Some(4), Some(5), None, Some(5), Some(6), Some(7)].get(number).copied()?;
        let first = |of: &[(usize, &[usize])]| {
            first_match(of.iter().map(|(source, numbers)| (*source, numbers.to_vec())).collect(), &matched)
        };
        assert_eq!(first(&[(0, &[0, 1]), (1, &[3, 4])]), [(1, 0), (3, 1)]);
        // A damaged frameset is, too; and a camera whose framesets all came earlier.
        assert_eq!(first(&[(0, &[2, 3]), (1, &[1])]), [(3, 0), (1, 1)]);
        assert_eq!(first(&[(0, &[0]), (1, &[3, 4]), (2, &[4, 5])]), [(4, 1), (4, 2)]);
        assert!(first(&[(0, &[2])]).is_empty());
    }
}
