//! The stock processor `watch-poses`: says which camera has moved, by what the cameras see at rest.
//!
//! * `cells`: depth as a coarse grid, and the surface that a camera sees at rest
//! * `align`: the motion that brings a look onto a surface
//! * `camera_watch`: one camera, and the decision whether it has moved
//! * `overlap`: what two cameras see of the same places
//! * `background`: the file that keeps surfaces for later runs

mod align;
mod background;
mod camera_watch;
mod cells;
mod overlap;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::mem;
use std::path::{Path, PathBuf};

use arrayvec::ArrayVec;
use camrig_frame::{CameraInfo, CameraPose, Extrinsics, Intrinsics, Role, StreamInfo};
use schemars::JsonSchema;
use serde::Deserialize;

use self::background::Backgrounds;
use self::camera_watch::{CameraWatch, Event, Extent, Limits, Look};
use self::overlap::{Misfit, Pairs};
use crate::error::WrongOptions;
use crate::folders::probe_folder;
use crate::frameset::FrameSet;
use crate::matching::Match;
use crate::output::ProcessorOutput;
use crate::processor::{Declared, Processor, ProcessorError, ProcessorOptions};

/// Depth images of a look: each cell has the median of them.
const IMAGES: usize = 5;

const SECONDS: std::ops::RangeInclusive<f64> = 0.1..=3600.0;
const MILLIMETERS: std::ops::RangeInclusive<f64> = 1.0..=1000.0;
const DEGREES: std::ops::RangeInclusive<f64> = 0.05..=45.0;

/// The options of `watch-poses`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    /// Time between two looks.
    #[schemars(range(min = 0.1, max = 3600), extend("x-unit" = "s"))]
    every_seconds: f64,
    /// The shortest way that is reported.
    #[schemars(range(min = 1, max = 1000), extend("x-unit" = "mm"))]
    millimeters: f64,
    /// The smallest turn that is reported.
    #[schemars(range(min = 0.05, max = 45), extend("x-unit" = "degrees"))]
    degrees: f64,
    /// As `millimeters`, for cameras compared with each other at the start: their depth has errors of its own.
    #[schemars(range(min = 1, max = 1000), extend("x-unit" = "mm"))]
    overlap_millimeters: f64,
    /// As `degrees`, for cameras compared with each other at the start.
    #[schemars(range(min = 0.05, max = 45), extend("x-unit" = "degrees"))]
    overlap_degrees: f64,
    /// A file with what the cameras see at rest: written if it does not exist, otherwise compared with.
    background: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            every_seconds: 1.0,
            millimeters: 3.0,
            degrees: 0.2,
            overlap_millimeters: 20.0,
            overlap_degrees: 1.0,
            background: None,
        }
    }
}

impl ProcessorOptions for Options {
    fn check(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        for (key, value, range) in [
            ("every_seconds", self.every_seconds, SECONDS),
            ("millimeters", self.millimeters, MILLIMETERS),
            ("degrees", self.degrees, DEGREES),
            ("overlap_millimeters", self.overlap_millimeters, MILLIMETERS),
            ("overlap_degrees", self.overlap_degrees, DEGREES),
        ] {
            if !range.contains(&value) {
                wrong.add([key], format!("`{key}` is {value}; it is {} to {}", range.start(), range.end()));
            }
        }
        wrong.or_ok()
    }

    fn probe(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        if let Some(path) = &self.background {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = probe_folder(folder.unwrap_or(Path::new(".")));
            let read = Backgrounds::read(path).map_err(|fact| format!("`{}` {fact}", path.display()));
            if let Err(fact) = folder.and(read) {
                wrong.add(["background"], fact);
            }
        }
        wrong.or_ok()
    }
}

/// A camera of the rig.
struct Camera {
    serial: String,
    lens: Intrinsics,
    pose: Option<CameraPose>,
    watch: CameraWatch,
    /// The depths of the images of the next look.
    images: Vec<Vec<f32>>,
    /// The time of the last image, by the camera's clock.
    last_nanos: Option<u64>,
    /// Whether it was said that some motions do not show.
    knows_directions: bool,
}

impl Camera {
    /// Takes an image, if it is time for one, and returns the depths of a look when it is complete.
    fn take(&mut self, frames: &FrameSet, pause_nanos: u64) -> Option<Vec<f32>> {
        let depth = frames.depth()?;
        let nanos = frames.timestamp().map_or(frames.arrival_nanos(), |timestamp| timestamp.nanos);
        // A clock may begin anew.
        if self.last_nanos.is_some_and(|last| nanos.abs_diff(last) < pause_nanos) {
            return None;
        }
        self.last_nanos = Some(nanos);
        self.images.push(self.watch.cells.depths(&depth));
        if self.images.len() < IMAGES {
            return None;
        }
        let images = mem::take(&mut self.images);
        let median = |cell: usize| {
            let with_depth = images.iter().map(|image| image[cell]).filter(|depth| *depth > 0.0);
            let mut seen: ArrayVec<f32, IMAGES> = with_depth.collect();
            let middle = seen.len() / 2;
            if 2 * seen.len() > IMAGES { *seen.select_nth_unstable_by(middle, f32::total_cmp).1 } else { 0.0 }
        };
        Some((0..self.watch.cells.len()).map(median).collect())
    }
}

/// Warns of cameras that have moved.
pub(crate) struct WatchPoses {
    options: Options,
    limits: Limits,
    /// By name.
    cameras: BTreeMap<String, Camera>,
    backgrounds: Option<Backgrounds>,
    /// The number of cameras that were compared with each other.
    compared: usize,
}

impl WatchPoses {
    pub(crate) fn new(options: Options) -> Result<Self, ProcessorError> {
        let backgrounds = match &options.background {
            Some(path) => Backgrounds::read(path).map_err(|fact| format!("`{}` {fact}", path.display()))?,
            None => None,
        };
        let limits = limits(options.millimeters, options.degrees);
        Ok(Self { options, limits, cameras: BTreeMap::new(), backgrounds, compared: 0 })
    }

    /// Creates the watch of a camera that is new, or has other intrinsics.
    fn know(&mut self, info: &CameraInfo) -> Result<(), ProcessorError> {
        let depth = info.stream_of(Role::Depth).ok_or("it has no depth")?;
        let lens = depth.intrinsics.ok_or("the intrinsics of its depth are not known")?;
        camrig_frame::check_declared_size(depth, &lens)?;
        if let Some(known) = self.cameras.get_mut(&info.name).filter(|known| known.lens == lens) {
            known.pose.clone_from(&info.pose);
            return Ok(());
        }
        let mut watch = CameraWatch::new(&lens, self.limits).ok_or("its depth has a fisheye lens")?;
        if let (Some(backgrounds), Some(path)) = (&self.backgrounds, &self.options.background) {
            backgrounds
                .give(&info.name, &info.serial, &mut watch)
                .map_err(|fact| format!("`{}` {fact}; remove it, or name another one", path.display()))?;
        }
        let (serial, pose) = (info.serial.clone(), info.pose.clone());
        let (images, last_nanos, knows_directions) = (Vec::new(), None, false);
        let camera = Camera { serial, lens, pose, watch, images, last_nanos, knows_directions };
        self.cameras.insert(info.name.clone(), camera);
        Ok(())
    }

    /// Looks at an image, and warns if its camera has moved.
    fn look(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) {
        let pause_nanos = (self.options.every_seconds / IMAGES as f64 * 0.95e9) as u64;
        let name = frames.camera();
        let Some(camera) = self.cameras.get_mut(name) else { return };
        let Some(depths) = camera.take(frames, pause_nanos) else { return };
        let look = camera.watch.look(depths);
        if let Some(Look::Explained { directions: directions @ 0..6, .. }) = look
            && !mem::replace(&mut camera.knows_directions, true)
        {
            log::warn!(
                "camera `{name}` sees too few surfaces: motions in {} of 6 directions do not show",
                6 - directions
            );
        }
        match look.and_then(|look| camera.watch.judge.take(&look)) {
            None => {}
            Some(Event::Moved(_)) if self.scene_moved(name) => {
                log::info!("what camera `{name}` sees has moved, and not the camera: it is learned anew");
                self.cameras.get_mut(name).into_iter().for_each(|camera| camera.watch.forget());
            }
            Some(Event::Moved(extent)) => {
                output.warn(format_args!("camera `{name}` has moved by {}: calibrate again", said(extent)));
            }
            Some(Event::Back) => output.warn(format_args!("camera `{name}` is back where it was")),
            Some(Event::Lost) => output.warn(format_args!(
                "camera `{name}` sees another scene: it has moved farther than can be measured"
            )),
        }
    }

    /// Returns whether another camera says that the scene has moved, and not this camera.
    fn scene_moved(&self, name: &str) -> bool {
        let one = &self.cameras[name];
        let others =
            self.cameras.iter().filter(|(other, camera)| *other != name && camera.watch.judge.rests());
        others
            .filter_map(|(_, other)| Some((other, between(one, other)?)))
            .any(|(other, to_other)| overlap::scene_moved(&one.watch, &other.watch, &to_other))
    }

    /// Compares the cameras with each other, and keeps their backgrounds, as soon as all are known.
    fn compare(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let is_known = |camera: &Camera| camera.watch.known().is_some();
        if self.compared == self.cameras.len() || !self.cameras.values().all(is_known) {
            return Ok(());
        }
        self.compared = self.cameras.len();
        let (names, cameras): (Vec<_>, Vec<_>) = self.cameras.iter().unzip();
        let mut pairs = Pairs::default();
        for (other, second) in cameras.iter().enumerate() {
            for (one, first) in cameras[..other].iter().enumerate() {
                let extent =
                    between(first, second).and_then(|way| overlap::offset(&first.watch, &second.watch, &way));
                pairs.0.extend(extent.map(|extent| (one, other, extent)));
            }
        }
        for misfit in pairs.misfits(limits(self.options.overlap_millimeters, self.options.overlap_degrees)) {
            match misfit {
                Misfit::Camera(camera, extent) => output.warn(format_args!(
                    "camera `{}` is not where its calibration has it: it is off by {}, as the others see it",
                    names[camera],
                    said(extent)
                )),
                Misfit::Pair(one, other, extent) => output.warn(format_args!(
                    "camera `{}` or `{}` is not where its calibration has it: they are off by {}",
                    names[one],
                    names[other],
                    said(extent)
                )),
            }
        }
        if let Some(path) = self.options.background.as_ref().filter(|_| self.backgrounds.is_none()) {
            let all = names
                .iter()
                .zip(&cameras)
                .map(|(name, camera)| (name.as_str(), camera.serial.as_str(), &camera.watch));
            match Backgrounds::write(path, all) {
                Ok(()) => {
                    log::info!("the backgrounds of {} cameras are kept in {}", names.len(), path.display());
                }
                // An earlier instance of this run has written it.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(format!("`{}` cannot be written: {error}", path.display()).into()),
            }
        }
        Ok(())
    }
}

fn limits(millimeters: f64, degrees: f64) -> Limits {
    Limits { meters: millimeters / 1000.0, radians: degrees.to_radians() }
}

/// Returns the way from a camera's coordinates to another one's, by their poses.
fn between(one: &Camera, other: &Camera) -> Option<Extrinsics> {
    let (one, other) = (one.pose.as_ref()?, other.pose.as_ref()?);
    let to_root =
        |pose: &CameraPose| Extrinsics::from_quaternion(pose.quaternion_xyzw, pose.translation_meters);
    (one.root == other.root).then(|| to_root(other).inverse().after(&to_root(one)))
}

/// Formats how far a camera has moved.
fn said(Extent { meters, radians }: Extent) -> String {
    format!("{:.1} mm and {:.2} degrees", meters * 1000.0, radians.to_degrees())
}

impl Processor<Match> for WatchPoses {
    fn declare(input: &[StreamInfo]) -> Declared {
        match input.iter().find(|info| info.role == Role::Depth) {
            Some(_) => Ok(Some(Vec::new())),
            None => Err("it has no depth".to_owned()),
        }
    }

    fn process(&mut self, matched: &Match, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        for frames in matched.framesets() {
            self.know(frames.info())
                .map_err(|error| format!("camera `{}` cannot be watched: {error}", frames.camera()))?;
        }
        for frames in matched.framesets() {
            self.look(frames, output);
        }
        self.compare(output)
    }
}
