//! The newest framesets, between the actor's thread and the server's.
//!
//! A frameset is kept only while somebody is looking, and at most one of each camera. It deliberately knows
//! no picture and no page.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use camrig::FrameSet;
use camrig::frame::CameraInfo;
use tokio::sync::watch;

/// The most cameras that are shown: beyond it a processor that passes on more is shown in part.
const CAMERAS_MAX: usize = 64;

/// How much of the newest frameset's latency goes into the one that is shown: it has to be readable.
const LATENCY_SHARE: f64 = 0.1;

/// Every camera that is shown, and who looks.
pub(crate) struct Cameras {
    state: Mutex<State>,
    /// Changes with every frameset.
    news: watch::Sender<()>,
}

struct State {
    cameras: Vec<Camera>,
    viewers: usize,
}

/// One picture of the page: a camera, as one input brings it.
#[derive(Clone)]
pub(crate) struct Camera {
    pub(crate) input: Arc<str>,
    /// None until its first frameset.
    pub(crate) info: Option<Arc<CameraInfo>>,
    /// How many framesets came.
    pub(crate) count: u64,
    /// When the last one came, or when the view began.
    pub(crate) last: Instant,
    pub(crate) latency_micros: f64,
    newest: Option<FrameSet>,
}

/// Somebody who looks, until it drops.
pub(crate) struct Viewer {
    cameras: Arc<Cameras>,
    news: watch::Receiver<()>,
}

impl Cameras {
    pub(crate) fn new(inputs: impl Iterator<Item = String>) -> Self {
        let cameras = inputs.map(|input| Camera::new(input.into())).collect();
        Self { state: Mutex::new(State { cameras, viewers: 0 }), news: watch::Sender::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a frameset, and keeps it if somebody is looking.
    pub(crate) fn show(&self, frames: FrameSet) {
        let mut state = self.state();
        let looked_at = state.viewers > 0;
        let Some(camera) = state.of(&frames) else { return };
        let latency = camrig::monotonic_nanos().saturating_sub(frames.arrival_nanos()) as f64 / 1e3;
        let share = if camera.count == 0 { 1.0 } else { LATENCY_SHARE };
        camera.latency_micros += share * (latency - camera.latency_micros);
        camera.count += 1;
        camera.last = Instant::now();
        if camera.info.as_ref().is_none_or(|info| !Arc::ptr_eq(info, frames.info())) {
            camera.info = Some(Arc::clone(frames.info()));
        }
        if looked_at {
            let before = camera.newest.replace(frames);
            drop(state);
            // Outside of the lock: it may unmap a pool that is no longer used.
            drop(before);
            self.news.send_replace(());
        }
    }

    /// Begins to look.
    pub(crate) fn look(self: &Arc<Self>, most: usize) -> Option<Viewer> {
        let mut state = self.state();
        if state.viewers == most {
            return None;
        }
        state.viewers += 1;
        Some(Viewer { cameras: Arc::clone(self), news: self.news.subscribe() })
    }
}

impl State {
    fn of(&mut self, frames: &FrameSet) -> Option<&mut Camera> {
        let is = |camera: &Camera| {
            *camera.input == *frames.producer()
                && camera.info.as_ref().is_none_or(|info| info.name == frames.camera())
        };
        let place = self.cameras.iter().position(is).or_else(|| {
            // A processor that passes on several cameras.
            (self.cameras.len() < CAMERAS_MAX).then(|| {
                self.cameras.push(Camera::new(frames.producer().into()));
                self.cameras.len() - 1
            })
        })?;
        self.cameras.get_mut(place)
    }
}

impl Camera {
    fn new(input: Arc<str>) -> Self {
        Self { input, info: None, count: 0, last: Instant::now(), latency_micros: 0.0, newest: None }
    }
}

impl Viewer {
    /// Every camera, without framesets.
    pub(crate) fn cameras(&self) -> Vec<Camera> {
        let state = self.cameras.state();
        state.cameras.iter().map(|camera| Camera { newest: None, ..camera.clone() }).collect()
    }

    /// The newest frameset of a camera and its count, if it is newer than the one counted `after`.
    pub(crate) fn newest(&self, camera: usize, after: u64) -> Option<(u64, FrameSet)> {
        let state = self.cameras.state();
        let camera = state.cameras.get(camera).filter(|camera| camera.count > after)?;
        Some((camera.count, camera.newest.clone()?))
    }

    /// Waits for a frameset, of whatever camera, that this viewer has not been told of.
    pub(crate) async fn news(&mut self) {
        // The sender lives as long as the cameras, which this viewer holds.
        let _ = self.news.changed().await;
    }
}

/// When nobody looks any more, nothing is kept.
impl Drop for Viewer {
    fn drop(&mut self) {
        let mut state = self.cameras.state();
        state.viewers -= 1;
        if state.viewers == 0 {
            state.cameras.iter_mut().for_each(|camera| camera.newest = None);
        }
    }
}
