//! Passes the newest framesets from the actor's thread to the server's.
//!
//! It keeps at most one frameset per camera, and none while no page is open. It does not depend on pictures or pages.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use camrig::FrameSet;
use camrig::frame::{CameraInfo, FrameHeader, MotionSample, MotionView, Stream, StreamInfo};
use tokio::sync::watch;

/// The maximum number of cameras shown. Further cameras of a processor are not shown.
const CAMERAS_MAX: usize = 64;

/// The maximum number of streams listed of a camera.
const STREAMS_MAX: usize = 32;

/// The maximum number of samples kept of a stream of motion: ten seconds at 400 Hz.
const SAMPLES_MAX: usize = 4000;

/// The weight of the newest latency in the shown mean, which must be steady enough to read.
const LATENCY_SHARE: f64 = 0.1;

/// The cameras shown, and the number of viewers.
pub(crate) struct Cameras {
    state: Mutex<State>,
    /// Notifies viewers of each frameset.
    arrivals: watch::Sender<()>,
}

struct State {
    cameras: Vec<Tile>,
    viewers: usize,
}

/// A camera of an input: one tile of the page.
pub(crate) struct Tile {
    pub(crate) input: Arc<str>,
    /// `None` before the first frameset.
    pub(crate) info: Option<Arc<CameraInfo>>,
    /// The streams that a camera declares; of a processor those that it has published.
    pub(crate) streams: Vec<StreamInfo>,
    /// The number of framesets received.
    pub(crate) count: u64,
    /// The time of the last frameset, or of the start.
    pub(crate) last: Instant,
    pub(crate) latency_micros: f64,
    newest: Option<FrameSet>,
    /// The samples of each stream of motion, while there are viewers: pages do not get every frameset.
    motion: BTreeMap<Stream, Samples>,
}

/// The last samples of a stream of motion.
#[derive(Clone, Default)]
struct Samples {
    last: VecDeque<MotionSample>,
    /// The number of samples so far.
    count: u64,
}

impl Samples {
    fn extend(&mut self, samples: impl Iterator<Item = MotionSample>) {
        for sample in samples {
            if self.last.len() == SAMPLES_MAX {
                self.last.pop_front();
            }
            self.last.push_back(sample);
            self.count += 1;
        }
    }

    /// Returns the kept samples after the first `seen` ones.
    fn after(&self, seen: u64) -> impl Iterator<Item = MotionSample> {
        let wanted = self.count.saturating_sub(seen).min(self.last.len() as u64) as usize;
        self.last.range(self.last.len() - wanted..).copied()
    }
}

/// An open page. Its drop ends the viewing.
pub(crate) struct Viewer {
    cameras: Arc<Cameras>,
    arrivals: watch::Receiver<()>,
}

impl Cameras {
    pub(crate) fn new(inputs: impl Iterator<Item = String>) -> Self {
        let cameras = inputs.map(|input| Tile::new(input.into())).collect();
        Self { state: Mutex::new(State { cameras, viewers: 0 }), arrivals: watch::Sender::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all cameras, without framesets.
    pub(crate) fn all(&self) -> Vec<Tile> {
        let without_frames = |camera: &Tile| Tile {
            input: Arc::clone(&camera.input),
            info: camera.info.clone(),
            streams: camera.streams.clone(),
            newest: None,
            motion: BTreeMap::new(),
            ..*camera
        };
        self.state().cameras.iter().map(without_frames).collect()
    }

    /// Returns the number of cameras.
    pub(crate) fn count(&self) -> usize {
        self.state().cameras.len()
    }

    /// Counts a frameset, and keeps it if there is a viewer.
    pub(crate) fn show(&self, frames: FrameSet) {
        let mut state = self.state();
        let has_viewers = state.viewers > 0;
        let Some(camera) = state.of(&frames) else { return };
        let latency = camrig::monotonic_nanos().saturating_sub(frames.arrival_nanos()) as f64 / 1e3;
        let share = if camera.count == 0 { 1.0 } else { LATENCY_SHARE };
        camera.latency_micros += share * (latency - camera.latency_micros);
        camera.count += 1;
        camera.last = Instant::now();
        if camera.info.as_ref().is_none_or(|info| !Arc::ptr_eq(info, frames.info())) {
            camera.info = Some(Arc::clone(frames.info()));
            // A processor need not forward the streams of its camera.
            let is_camera = frames.producer() == frames.camera();
            camera.streams = if is_camera { frames.info().streams.clone() } else { Vec::new() };
        }
        add_missing(&mut camera.streams, frames.frames().map(|frame| frame.header()));
        if has_viewers {
            for motion in frames.frames().filter_map(MotionView::new) {
                camera.motion.entry(motion.frame().stream()).or_default().extend(motion.iter());
            }
            let before = camera.newest.replace(frames);
            drop(state);
            // Outside the lock: the drop may unmap a pool.
            drop(before);
            self.arrivals.send_replace(());
        }
    }

    /// Adds a viewer.
    pub(crate) fn add_viewer(self: &Arc<Self>) -> Viewer {
        self.state().viewers += 1;
        Viewer { cameras: Arc::clone(self), arrivals: self.arrivals.subscribe() }
    }
}

impl State {
    fn of(&mut self, frames: &FrameSet) -> Option<&mut Tile> {
        let is = |camera: &Tile| {
            *camera.input == *frames.producer()
                && camera.info.as_ref().is_none_or(|info| info.name == frames.camera())
        };
        let place = self.cameras.iter().position(is).or_else(|| {
            // A processor may forward several cameras.
            (self.cameras.len() < CAMERAS_MAX).then(|| {
                self.cameras.push(Tile::new(frames.producer().into()));
                self.cameras.len() - 1
            })
        })?;
        self.cameras.get_mut(place)
    }
}

impl Tile {
    fn new(input: Arc<str>) -> Self {
        Self {
            input,
            info: None,
            streams: Vec::new(),
            count: 0,
            last: Instant::now(),
            latency_micros: 0.0,
            newest: None,
            motion: BTreeMap::new(),
        }
    }
}

/// Adds the streams of these frames that are not listed. Their rates are unknown.
fn add_missing<'a>(streams: &mut Vec<StreamInfo>, frames: impl Iterator<Item = &'a FrameHeader>) {
    for frame in frames {
        if streams.len() < STREAMS_MAX && !streams.iter().any(|info| info.stream == frame.stream) {
            let info = StreamInfo::new(frame.stream, frame.payload, 0);
            streams.push(StreamInfo { role: frame.role, ..info });
        }
    }
}

impl Viewer {
    /// Returns the newest frameset of a camera and its count, if that is greater than `after`.
    pub(crate) fn newest(&self, camera: usize, after: u64) -> Option<(u64, FrameSet)> {
        let state = self.cameras.state();
        let camera = state.cameras.get(camera).filter(|camera| camera.count > after)?;
        Some((camera.count, camera.newest.clone()?))
    }

    /// Returns the samples of a camera's stream of motion after the first `seen` ones, and the number of all so far.
    pub(crate) fn samples(&self, camera: usize, stream: Stream, seen: u64) -> (Vec<MotionSample>, u64) {
        let state = self.cameras.state();
        let samples = state.cameras.get(camera).and_then(|camera| camera.motion.get(&stream));
        samples.map_or_else(Default::default, |samples| (samples.after(seen).collect(), samples.count))
    }

    /// Waits for the next frameset of any camera.
    pub(crate) async fn arrival(&mut self) {
        // The sender exists as long as the cameras, which this viewer holds.
        let _ = self.arrivals.changed().await;
    }
}

/// The last viewer to drop releases all framesets.
impl Drop for Viewer {
    fn drop(&mut self) {
        let mut state = self.cameras.state();
        state.viewers -= 1;
        if state.viewers == 0 {
            for camera in &mut state.cameras {
                camera.newest = None;
                camera.motion.values_mut().for_each(|samples| samples.last.clear());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use camrig::frame::{PixelFormat, Role, Stream};

    use super::*;

    #[test]
    fn samples_are_kept_up_to_a_number_and_given_once() {
        let mut samples = Samples::default();
        let sample = |nanos| MotionSample { nanos, xyz: [0.0; 3] };
        let after =
            |samples: &Samples, seen| samples.after(seen).map(|sample| sample.nanos).collect::<Vec<_>>();
        samples.extend((0..5).map(sample));
        assert_eq!(
            (after(&samples, 0), after(&samples, 3), after(&samples, 5)),
            (vec![0, 1, 2, 3, 4], vec![3, 4], vec![])
        );
        // A page that is ahead: the count of samples has started again.
        assert!(after(&samples, 9).is_empty());
        samples.extend((5..SAMPLES_MAX as u64 + 2).map(sample));
        assert_eq!(samples.last.len(), SAMPLES_MAX);
        assert_eq!(after(&samples, 0)[0], 2);
    }

    #[test]
    fn streams_that_a_processor_added_are_listed_once_with_their_role() {
        let color = FrameHeader::image(Stream::COLOR, PixelFormat::Rgb8, 8, 4);
        let named = |name: &str| Stream::new(name).unwrap();
        let mask = FrameHeader::image(named("mask"), PixelFormat::Y8, 8, 4);
        let mask = FrameHeader { role: Role::Other, ..mask };
        let mut streams = vec![StreamInfo::new(Stream::COLOR, color.payload, 30)];
        for _ in 0..2 {
            add_missing(&mut streams, [&color, &mask].into_iter());
            let listed: Vec<_> = streams.iter().map(|info| (info.stream.name(), info.role)).collect();
            assert_eq!(listed, [("color", Role::Light), ("mask", Role::Other)]);
        }
        for number in 0..STREAMS_MAX {
            let other = FrameHeader { stream: named(&format!("mask-{number}")), ..mask };
            add_missing(&mut streams, std::iter::once(&other));
        }
        assert_eq!(streams.len(), STREAMS_MAX);
    }
}
