//! Loads: how many cameras, how large their images, how fast, for how many readers.
//!
//! They do not depend on the candidate: all candidates get the same loads.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The rate of a paced camera.
pub(crate) const FRAMES_PER_SECOND: u32 = 30;

/// Maximum number of queued framesets per camera: camrig's default.
pub(crate) const QUEUE: usize = 2;

/// Buffers per camera: the queued ones, one being read, one being written, one spare. camrig's default for one reader
/// with a queue of two.
pub(crate) const SLOTS: usize = QUEUE + 3;

/// Maximum number of camera processes; more cameras share them evenly.
const CAMERA_PROCESSES_MAX: usize = 24;

/// The size of both images of a camera: color as RGB8 and depth as Z16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Size {
    pub(crate) const TINY: Self = Self { width: 160, height: 120 };
    pub(crate) const SMALL: Self = Self { width: 424, height: 240 };
    pub(crate) const MEDIUM: Self = Self { width: 640, height: 480 };
    pub(crate) const LARGE: Self = Self { width: 1280, height: 720 };
    pub(crate) const HUGE: Self = Self { width: 3840, height: 2160 };

    /// Returns the bytes of the color image.
    pub(crate) fn color_bytes(self) -> usize {
        self.pixels() * 3
    }

    /// Returns the bytes of both images.
    pub(crate) fn frameset_bytes(self) -> usize {
        self.pixels() * 5
    }

    fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }
}

/// Whether cameras keep a rate, or wait for the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// [`FRAMES_PER_SECOND`], the cameras evenly shifted against each other. A late reader loses framesets.
    Paced,
    /// As fast as possible. The producer waits for the reader: nothing is lost.
    Unpaced,
}

/// A load, written `6x1280x720@30`, `6x1280x720@max` when it is unpaced, and `1x1280x720@30/8` when each camera has eight
/// readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Load {
    pub(crate) cameras: usize,
    pub(crate) size: Size,
    pub(crate) pace: Pace,
    /// Number of readers; each reads every camera, in a process of its own.
    pub(crate) readers: usize,
}

impl Load {
    pub(crate) const fn new(cameras: usize, size: Size, pace: Pace) -> Self {
        Self { cameras, size, pace, readers: 1 }
    }

    pub(crate) const fn read_by(self, readers: usize) -> Self {
        Self { readers, ..self }
    }

    /// Returns the loads with a bar, under which all candidates are measured.
    pub(crate) fn with_bars() -> Vec<Self> {
        vec![
            Self::new(6, Size::LARGE, Pace::Paced),
            Self::new(2, Size::MEDIUM, Pace::Paced),
            Self::new(1, Size::LARGE, Pace::Unpaced),
            Self::new(1, Size::MEDIUM, Pace::Unpaced),
            Self::new(1, Size::SMALL, Pace::Unpaced),
            Self::new(6, Size::LARGE, Pace::Unpaced),
            Self::new(6, Size::SMALL, Pace::Unpaced),
        ]
    }

    /// Returns every load of a full measurement: those with a target, similar ones, and those with many cameras.
    pub(crate) fn all() -> Vec<Self> {
        let mut loads = Self::with_bars();
        for pace in [Pace::Paced, Pace::Unpaced] {
            for size in [Size::LARGE, Size::MEDIUM, Size::SMALL] {
                let around = [6, 2, 1].map(|cameras| Self::new(cameras, size, pace));
                loads.extend(around.into_iter().filter(|load| !Self::with_bars().contains(load)));
            }
        }
        loads.extend([8, 24, 64].map(|cameras| Self::new(cameras, Size::TINY, Pace::Paced)));
        loads.extend([8, 16].map(|readers| Self::new(1, Size::LARGE, Pace::Paced).read_by(readers)));
        loads.push(Self::new(1, Size::HUGE, Pace::Paced));
        loads
    }

    /// Returns the most informative loads for a short run.
    pub(crate) fn quick() -> Vec<Self> {
        vec![
            Self::new(6, Size::LARGE, Pace::Paced),
            Self::new(1, Size::LARGE, Pace::Unpaced),
            Self::new(6, Size::SMALL, Pace::Unpaced),
        ]
    }

    /// Returns the time between two framesets of a camera; `None` when it is unpaced.
    pub(crate) fn period(self) -> Option<Duration> {
        (self.pace == Pace::Paced).then(|| Duration::from_secs(1) / FRAMES_PER_SECOND)
    }

    pub(crate) fn is_paced(self) -> bool {
        self.pace == Pace::Paced
    }

    /// Returns the number of cameras per process, where cameras have processes of their own.
    pub(crate) fn cameras_per_process(self) -> usize {
        self.cameras.div_ceil(CAMERA_PROCESSES_MAX)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { width, height } = self.size;
        let pace = if self.is_paced() { FRAMES_PER_SECOND.to_string() } else { "max".to_owned() };
        let readers = if self.readers == 1 { String::new() } else { format!("/{}", self.readers) };
        f.pad(&format!("{}x{width}x{height}@{pace}{readers}", self.cameras))
    }
}

impl From<Load> for String {
    fn from(load: Load) -> Self {
        load.to_string()
    }
}

impl TryFrom<String> for Load {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || {
            format!("load `{text}` is not of the form `6x1280x720@30`, `6x1280x720@max` or `1x1280x720@30/8`")
        };
        let (what, pace) = text.split_once('@').ok_or_else(invalid)?;
        let (pace, readers) = pace.split_once('/').unwrap_or((pace, "1"));
        let readers: usize = readers.parse().map_err(|_| invalid())?;
        let pace = match pace {
            "30" => Pace::Paced,
            "max" => Pace::Unpaced,
            _ => return Err(invalid()),
        };
        let numbers: Vec<u32> =
            what.split('x').map(str::parse).collect::<Result<_, _>>().map_err(|_| invalid())?;
        let [cameras, width, height] = numbers[..] else { return Err(invalid()) };
        // Frames are read eight bytes at a time; camrig has room for 64 inputs.
        if !(1..=64).contains(&cameras) || width == 0 || height == 0 || (width * height) % 8 != 0 {
            return Err(invalid());
        }
        // Limited by camrig's maximum of slots, which the readers hold.
        if !(1..=20).contains(&readers) {
            return Err(invalid());
        }
        Ok(Self::new(cameras as usize, Size { width, height }, pace).read_by(readers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_round_trip() {
        for load in Load::all() {
            assert_eq!(load.to_string().parse(), Ok(load));
        }
        for invalid in
            ["", "6x1280x720", "6x1280@30", "0x1280x720@30", "6x1280x720@31", "6x3x3@30", "6x1280x720@30/0"]
        {
            assert!(invalid.parse::<Load>().is_err(), "{invalid}");
        }
    }
}
