//! The file that is played: a recording, or a bag of realsense-ros.

use std::ops::Range;
use std::path::Path;

use camrig::frame::{CameraInfo, Clock, Role};

use crate::bag::{Bag, BagCamera};
use crate::read::{Content, Parts, ReadError};

/// Number of records of a recording within which a camera that begins with the clock of the host may change to another one: a
/// library that maps the clocks of cameras needs a second or two.
const SETTLED: usize = 128;

/// An open file.
pub(super) enum Played {
    Recording(Parts),
    Bag(Box<OpenBag>),
}

/// A bag with its cameras.
pub(super) struct OpenBag {
    pub(super) bag: Bag,
    pub(super) cameras: Vec<BagCamera>,
}

impl Played {
    /// Opens a recording, or a bag.
    ///
    /// # Errors
    /// If the file is neither.
    pub(super) fn open(file: &Path) -> Result<Self, ReadError> {
        match Parts::open(file, &|_| {}) {
            Err(error) if error.may_be_bag() || file.is_dir() => {
                let bag = Bag::open(file, &|_| {})?;
                let range = bag.range();
                let seconds = range.end.saturating_sub(range.start) as f64 / 1e9;
                let (cameras, _) = bag.survey().cameras(seconds);
                if cameras.is_empty() {
                    return Err(ReadError::new(file, "has no images in the topics of realsense-ros"));
                }
                Ok(Self::Bag(Box::new(OpenBag { bag, cameras })))
            }
            opened => opened.map(Self::Recording),
        }
    }

    /// Returns the start and end across all cameras, by `log_time`.
    pub(super) fn range(&self) -> Range<u64> {
        match self {
            Self::Recording(parts) => parts.range(),
            Self::Bag(open) => open.bag.range(),
        }
    }

    /// Checks that there is a camera of this name.
    ///
    /// # Errors
    /// If there is none, with the names of all cameras.
    pub(super) fn check_camera(&self, name: &str) -> Result<(), ReadError> {
        match self {
            Self::Recording(parts) => parts.camera(name).map(drop),
            Self::Bag(open) => open.camera(name).map(drop),
        }
    }

    fn infos(&self) -> Vec<(&str, &CameraInfo)> {
        match self {
            Self::Recording(parts) => {
                parts.cameras().into_iter().map(|camera| (camera.name.as_str(), &camera.info)).collect()
            }
            Self::Bag(open) => {
                open.cameras.iter().map(|camera| (camera.info.name.as_str(), &*camera.info)).collect()
            }
        }
    }

    /// Returns the highest frame rate of any camera, in frames per second.
    pub(super) fn frames_per_second(&self) -> u32 {
        let infos = self.infos();
        let streams =
            infos.iter().flat_map(|(_, info)| &info.streams).filter(|info| info.role != Role::Motion);
        streams.map(|stream| stream.frames_per_second).max().unwrap_or(1).max(1)
    }

    /// Returns the clock of a camera, or of all cameras if they have the same.
    pub(super) fn clock(&self, camera: Option<&str>) -> Option<Clock> {
        let infos = self.infos();
        let names = infos.iter().map(|(name, _)| *name);
        let meant = names.filter(|name| camera.is_none_or(|camera| camera == *name));
        let mut clocks = meant.filter_map(|name| match self {
            Self::Recording(parts) => clock_of(parts, name),
            // Timestamps of ROS are wall-clock times.
            Self::Bag(_) => Some(Clock::System),
        });
        let first = clocks.next()?;
        clocks.all(|clock| clock == first).then_some(first)
    }
}

impl OpenBag {
    /// Returns the camera of this name.
    ///
    /// # Errors
    /// If there is none, with the names of all cameras.
    pub(super) fn camera(&self, name: &str) -> Result<&BagCamera, ReadError> {
        let found = self.cameras.iter().find(|camera| camera.info.name == name);
        found.ok_or_else(|| {
            let names: Vec<_> = self.cameras.iter().map(|camera| format!("`{}`", camera.info.name)).collect();
            let names = names.join(", ");
            ReadError::new(self.bag.path(), format_args!("has no camera `{name}`; expected one of: {names}"))
        })
    }
}

/// Returns the clock of a camera's first framesets that can be read: the first one that is not the host's, or else the host's.
pub(crate) fn clock_of(parts: &Parts, camera: &str) -> Option<Clock> {
    let part = parts.files().first()?;
    let mut contents = part.contents(|own| own.name == camera, 0..u64::MAX);
    let contents = std::iter::from_fn(|| contents.next(part)).take(SETTLED);
    let clocks = contents.filter_map(|(_, content)| match content {
        Content::FrameSet(frameset) => frameset.record.frames.first().map(|frame| frame.clock),
        _ => None,
    });
    let mut found = None;
    for clock in clocks {
        found = Some(clock);
        if clock != Clock::System {
            break;
        }
    }
    found
}
