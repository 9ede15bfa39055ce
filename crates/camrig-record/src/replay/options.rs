//! What a replayed camera can be asked for, and what of it makes no sense.

use std::path::PathBuf;

use camrig::DriverError;
use serde::Deserialize;

/// A thousand times faster or slower than it was: beyond that nobody watches.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// The longest time that an option can give.
const MAX_SECONDS: f64 = 1e8;

/// The options of [`Replay`](super::Replay). These are all, each with its default or an example:
///
/// ```toml
/// [camera.front]
/// driver = "replay"
///
/// [camera.front.options]
/// file = "rig.mcap"        # rig-2.mcap, ... follow by themselves where they continue the recording
/// camera = "front"         # its name in the recording; by default the name of this camera
/// paced = true             # as it was; false: as fast as the readers let it
/// speed = 1.0              # 2.0: twice as fast as it was
/// repeat = false           # true: from the beginning again, without end
/// from_seconds = 0.0       # after the beginning of the recording
/// to_seconds = 10.0        # by default its end
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayOptions {
    /// The recording.
    pub(super) file: PathBuf,
    /// The camera's name in it.
    pub(super) camera: Option<String>,
    /// Whether framesets come when they came, or as fast as the readers let them.
    #[serde(default = "ReplayOptions::default_paced")]
    pub(super) paced: bool,
    /// How much faster than it was.
    #[serde(default = "ReplayOptions::default_speed")]
    pub(super) speed: f64,
    /// Whether it begins again at its end.
    #[serde(default)]
    pub(super) repeat: bool,
    /// Where it begins.
    #[serde(default)]
    from_seconds: f64,
    /// Where it ends.
    to_seconds: Option<f64>,
}

impl ReplayOptions {
    const fn default_paced() -> bool {
        true
    }

    const fn default_speed() -> f64 {
        1.0
    }

    pub(super) fn check(&self) -> Result<(), DriverError> {
        let seconds = 0.0..=MAX_SECONDS;
        if !SPEEDS.contains(&self.speed) {
            let (least, most) = (SPEEDS.start(), SPEEDS.end());
            return Err(DriverError::new(format!("`speed` is {}; it is {least} to {most}", self.speed)));
        }
        if !seconds.contains(&self.from_seconds) {
            return Err(DriverError::new(format!(
                "`from_seconds` is {}; it is 0 or more",
                self.from_seconds
            )));
        }
        match self.to_seconds {
            Some(to) if !(to > self.from_seconds && seconds.contains(&to)) => Err(DriverError::new(format!(
                "`to_seconds` is {to}; it is more than `from_seconds`, which is {}",
                self.from_seconds
            ))),
            _ => Ok(()),
        }
    }

    /// The part of the recording that is asked for, in nanoseconds after its beginning.
    pub(super) fn range_nanos(&self) -> std::ops::Range<u64> {
        let nanos = |seconds: f64| (seconds * 1e9) as u64;
        nanos(self.from_seconds)..self.to_seconds.map_or(u64::MAX, nanos)
    }
}
