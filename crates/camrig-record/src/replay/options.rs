//! Options of a replayed camera and their validation.

use std::path::PathBuf;

use camrig::{DriverError, WrongOptions};
use schemars::JsonSchema;
use serde::Deserialize;

/// Range of the speed factor: larger values are of no practical use.
pub(crate) const SPEEDS: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// Maximum duration in an option.
pub(crate) const MAX_SECONDS: f64 = 1e8;

/// The options of [`Replay`](super::Replay). `camrig list` shows them with their defaults.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayOptions {
    /// The recording, or a bag of realsense-ros. Files that continue a recording (`NAME-2.mcap`) follow by themselves.
    pub(super) file: PathBuf,
    /// The camera's name in the recording; the name of this camera if it is not given.
    pub(super) camera: Option<String>,
    /// Delivers framesets at the pace of the recording; `false` delivers them as fast as the readers take them.
    #[serde(default = "ReplayOptions::default_paced")]
    pub(super) paced: bool,
    /// Playback speed factor.
    #[serde(default = "ReplayOptions::default_speed")]
    #[schemars(range(min = *SPEEDS.start(), max = *SPEEDS.end()))]
    pub(super) speed: f64,
    /// Starts again at the end, forever.
    #[serde(default)]
    pub(super) repeat: bool,
    /// The time at which playback begins, after the beginning of the recording.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = MAX_SECONDS), extend("x-unit" = "s"))]
    from_seconds: f64,
    /// The time at which playback ends, after the beginning of the recording; at its end if it is not given.
    #[schemars(range(min = 0.0, max = MAX_SECONDS), extend("x-unit" = "s"))]
    to_seconds: Option<f64>,
}

impl ReplayOptions {
    const fn default_paced() -> bool {
        true
    }

    const fn default_speed() -> f64 {
        1.0
    }

    pub(super) fn check(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        let seconds = 0.0..=MAX_SECONDS;
        if !SPEEDS.contains(&self.speed) {
            let (least, most) = (SPEEDS.start(), SPEEDS.end());
            wrong.add(["speed"], format!("`speed` is {}; it must be {least} to {most}", self.speed));
        }
        if !seconds.contains(&self.from_seconds) {
            wrong.add(
                ["from_seconds"],
                format!("`from_seconds` is {}; it must be 0 or more", self.from_seconds),
            );
        }
        let from = self.from_seconds;
        if let Some(to) = self.to_seconds.filter(|to| !(*to > from && seconds.contains(to))) {
            let message =
                format!("`to_seconds` is {to}; it must be more than `from_seconds`, which is {from}");
            wrong.add(["to_seconds", "from_seconds"], message);
        }
        wrong.or_ok()
    }

    /// Checks that playback begins within the recording, whose `log_time` is in `recorded`.
    pub(super) fn check_begin(&self, recorded: &std::ops::Range<u64>) -> Result<(), DriverError> {
        let lasts_nanos = recorded.end.saturating_sub(recorded.start);
        if self.range_nanos().start <= lasts_nanos {
            return Ok(());
        }
        let (file, from, lasts) = (self.file.display(), self.from_seconds, lasts_nanos as f64 / 1e9);
        let error = format!("`from_seconds` is {from}, but `{file}` lasts {lasts:.3} s");
        Err(DriverError::new(error).at("from_seconds"))
    }

    /// Returns the part of the recording that is asked for, in nanoseconds after its beginning.
    pub(super) fn range_nanos(&self) -> std::ops::Range<u64> {
        let nanos = |seconds: f64| (seconds * 1e9) as u64;
        nanos(self.from_seconds)..self.to_seconds.map_or(u64::MAX, nanos)
    }
}
