//! The settings of a live camera in a topology: librealsense's options by name, and presets.
//!
//! It does not depend on a device: `resolve` checks settings against one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use camrig::frame::Clock;
use camrig::{ControlValue, DriverError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::names::{self, list, near};

/// Maximum value of an on-or-off option: some have a third or fourth state, such as automatic.
const SWITCH_MAX: f32 = 3.0;

/// The option that `sync` sets.
pub(crate) const SYNC_MODE: &str = "inter_cam_sync_mode";

/// The option that turns automatic exposure on or off; manual exposure and gain turn it off.
const AUTO_EXPOSURE: &str = "enable_auto_exposure";

/// The option that maps the camera's clock to the host's.
const GLOBAL_TIME: &str = "global_time_enabled";

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum Setting {
    /// A number, in librealsense's unit of the option.
    Number(f64),
    /// On or off.
    Switch(bool),
    /// The name of a value, such as `high accuracy`.
    Name(String),
}

impl From<&ControlValue> for Setting {
    fn from(value: &ControlValue) -> Self {
        match value {
            ControlValue::Number(number) => Self::Number(*number),
            ControlValue::Switch(on) => Self::Switch(*on),
            ControlValue::Name(name) => Self::Name(name.clone()),
        }
    }
}

/// Formats as in a topology.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Switch(on) => on.fmt(f),
            Self::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnySetting;
        impl Visitor<'_> for AnySetting {
            type Value = Setting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, `true`, `false` or the name of a value")
            }

            fn visit_bool<E: Error>(self, on: bool) -> Result<Setting, E> {
                Ok(Setting::Switch(on))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Setting, E> {
                Ok(Setting::Number(number as f64))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Setting, E> {
                Ok(Setting::Number(number))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Setting, E> {
                Ok(Setting::Name(name.to_owned()))
            }
        }
        deserializer.deserialize_any(AnySetting)
    }
}

/// All settings of a camera.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// A file that realsense-viewer exported.
    pub(crate) preset: Option<PathBuf>,
    /// For the depth sensor, or for another one that has the option.
    pub(crate) of_depth: BTreeMap<String, Setting>,
    /// For the color sensor.
    pub(crate) of_color: BTreeMap<String, Setting>,
    pub(crate) sync: Option<HardwareSync>,
    /// The region of auto exposure of the depth sensor: left, top, right and bottom.
    pub(crate) region: Option<[u32; 4]>,
    /// The region of auto exposure of the color sensor.
    pub(crate) region_of_color: Option<[u32; 4]>,
}

impl Settings {
    /// Returns the clock of the camera's frames, if a setting determines it.
    pub(crate) fn clock(&self) -> Option<Clock> {
        match self.of_depth.get(GLOBAL_TIME)? {
            Setting::Switch(false) => Some(Clock::Hardware),
            Setting::Switch(true) => Some(Clock::Global),
            Setting::Number(number) => Some(if *number == 0.0 { Clock::Hardware } else { Clock::Global }),
            Setting::Name(_) => None,
        }
    }

    /// Checks the settings as far as possible without a device.
    pub(crate) fn check(&self) -> Result<(), DriverError> {
        let of_depth = self.of_depth.keys().map(|name| ("set", name));
        for (table, name) in of_depth.chain(self.of_color.keys().map(|name| ("set_color", name))) {
            let key = format!("{table}.{name}");
            if !names::OPTIONS.contains(&name.as_str()) {
                let error = format!("librealsense has no option `{name}`{}", near(name));
                return Err(DriverError::new(error).at(key));
            }
            if name == SYNC_MODE {
                // A rig has one master, and the driver determines the order of starts.
                return Err(DriverError::new(format!(
                    "`{SYNC_MODE}` is not for `set`: use `sync = \"master\"` or `sync = \"slave\"`"
                ))
                .at(key));
            }
        }
        for (key, region, table, settings) in [
            ("exposure_region", self.region, "set", &self.of_depth),
            ("exposure_region_color", self.region_of_color, "set_color", &self.of_color),
        ] {
            if let Some(name) = region.and_then(|_| manual_exposure(settings)) {
                let error = format!(
                    "`{key}` needs automatic exposure, which `{name}` in `{table}` turns off; remove one of them"
                );
                return Err(DriverError::new(error).at(key));
            }
        }
        Ok(())
    }
}

/// Returns the setting that turns automatic exposure off, if one does.
fn manual_exposure(settings: &BTreeMap<String, Setting>) -> Option<&str> {
    match settings.get_key_value(AUTO_EXPOSURE) {
        Some((name, Setting::Switch(false))) => Some(name),
        Some((name, Setting::Number(number))) if *number == 0.0 => Some(name),
        Some(_) => None,
        None => ["exposure", "gain"].into_iter().find(|name| settings.contains_key(*name)),
    }
}

/// A live camera's role in hardware synchronisation: librealsense's `inter_cam_sync_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HardwareSync {
    /// Generates the pulse. A rig has one master, which starts after the slaves.
    Master,
    /// Captures on the pulse of the master.
    Slave,
}

/// Returns the number that the option `name` of `owner` has to be set to. Its range is its least and its largest
/// number and the step; `named` are its values with names.
pub(crate) fn number(
    owner: &dyn fmt::Display,
    name: &str,
    (min, max, step): (f32, f32, f32),
    named: &[(String, f32)],
    setting: &Setting,
) -> Result<f32, DriverError> {
    let refuse =
        |choices: &str| Err(DriverError::new(format!("option `{name}` of {owner} is {setting}: {choices}")));
    let numbers = format!("it must be {min} to {max} in steps of {step}");
    match setting {
        Setting::Number(number) => {
            let value = *number as f32;
            if (min..=max).contains(&value) { Ok(value) } else { refuse(&numbers) }
        }
        Setting::Switch(_) if min > 0.0 || !(1.0..=SWITCH_MAX).contains(&max) => refuse(&numbers),
        Setting::Switch(on) => Ok(f32::from(u8::from(*on))),
        Setting::Name(wanted) => {
            if let Some((_, value)) = named.iter().find(|(own, _)| plain(own) == plain(wanted)) {
                return Ok(*value);
            }
            if named.is_empty() {
                return refuse(&numbers);
            }
            let names = list(named.iter().map(|(own, _)| format!("\"{}\"", plain(own))));
            refuse(&format!("expected one of: {names}"))
        }
    }
}

/// Like [`number()`], for an option of a sensor, whose values are on its steps. Those of filters need not.
#[cfg(feature = "librealsense")]
pub(crate) fn number_on_step(
    owner: &dyn fmt::Display,
    name: &str,
    (min, max, step): (f32, f32, f32),
    named: &[(String, f32)],
    setting: &Setting,
) -> Result<f32, DriverError> {
    let value = number(owner, name, (min, max, step), named, setting)?;
    let range = camrig::ControlRange::Number { min: min.into(), max: max.into(), step: step.into() };
    if range.contains(value.into()) {
        return Ok(value);
    }
    let numbers = format!("it must be {min} to {max} in steps of {step}");
    Err(DriverError::new(format!("option `{name}` of {owner} is {setting}: {numbers}")))
}

/// Normalises the name of a value.
fn plain(name: &str) -> String {
    name.to_lowercase().replace(['-', '_'], " ")
}
