//! The settings of a live camera: librealsense's options by name, and presets.
//!
//! All of them are checked against the device before any is applied: whether it has the option, whether the option
//! can be set, and its range. Models differ in their options, and the errors give the reason.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use camrig::DriverError;
use camrig::frame::Stream;
use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::find::Subject;
use crate::options::HardwareSync;
use crate::profiles::{Candidate, list};
use crate::sys::{OpenDevice, OpenSensor, OptionKind, OptionRange, OptionsView};

/// Maximum size of a preset, in bytes. Presets have some kilobytes.
const PRESET_BYTES_MAX: u64 = 1 << 20;

/// Maximum number of named values that are read.
const NAMED_VALUES_MAX: usize = 64;

/// Maximum value of an on-or-off option: some have a third or fourth state, such as automatic.
const SWITCH_MAX: f32 = 3.0;

/// The option that `sync` sets.
const SYNC_MODE: &str = "inter_cam_sync_mode";

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
}

impl Settings {
    /// Checks the settings as far as possible without a device.
    pub(crate) fn check(&self) -> Result<(), DriverError> {
        for name in self.of_depth.keys().chain(self.of_color.keys()) {
            if OptionKind::named(name).is_none() {
                return Err(DriverError::new(format!("librealsense has no option `{name}`{}", near(name))));
            }
            if name == SYNC_MODE {
                // A rig has one master, and the driver determines the order of starts.
                return Err(DriverError::new(format!(
                    "`{SYNC_MODE}` is not for `set`: say `sync = \"master\"` or `sync = \"slave\"`"
                )));
            }
        }
        Ok(())
    }

    /// Resolves the settings for this camera of model `model`, without applying them.
    pub(crate) fn resolve(
        &self,
        camera: &Subject,
        model: &str,
        device: &OpenDevice,
        sensors: &[OpenSensor],
        candidates: &[Candidate],
    ) -> Result<Resolved, DriverError> {
        let preset = self.preset.as_deref().map(read_preset).transpose()?;
        if preset.is_some() && !device.takes_presets() {
            return Err(DriverError::new(format!("{camera} ({model}) takes no preset")));
        }
        let of = |stream| candidates.iter().find(|it| it.stream == stream).map(|it| it.sensor);
        let (depth, color) = (of(Stream::DEPTH).unwrap_or(0), of(Stream::COLOR));
        let resolver = Resolver { camera, model, sensors };
        let mut assignments = Vec::new();
        for (name, setting) in &self.of_depth {
            let others = (0..sensors.len()).filter(|&sensor| sensor != depth);
            assignments.push(resolver.assign(std::iter::once(depth).chain(others), name, setting)?);
        }
        if let Some(sync) = self.sync {
            let mode = Setting::Number(match sync {
                HardwareSync::Master => 1.0,
                HardwareSync::Slave => 2.0,
            });
            assignments.push(resolver.assign(std::iter::once(depth), SYNC_MODE, &mode)?);
        }
        for (name, setting) in &self.of_color {
            let color =
                color.ok_or_else(|| DriverError::new(format!("{camera} ({model}) has no color stream")))?;
            let assignment = resolver.assign(std::iter::once(color), name, setting)?;
            if assignments.iter().any(|it| (it.sensor, it.kind) == (color, assignment.kind)) {
                return Err(DriverError::new(format!(
                    "option `{name}` is both in `set` and in `set_color`, and {camera} ({model}) has it once: its \
                     color comes from the depth sensor"
                )));
            }
            assignments.push(assignment);
        }
        // A visual preset comes first, because it overwrites others; automatic modes come last, because setting a
        // manual exposure disables the automatic one.
        assignments
            .sort_by_key(|it| (it.kind != OptionKind::VISUAL_PRESET, it.name.starts_with("enable_auto_")));
        Ok(Resolved { preset, assignments })
    }
}

/// The resolved settings of each sensor.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Its path and text.
    preset: Option<(PathBuf, String)>,
    assignments: Vec<Assignment>,
}

#[derive(Debug)]
struct Assignment {
    sensor: usize,
    kind: OptionKind,
    name: String,
    value: f32,
}

impl Resolved {
    /// Applies all settings.
    pub(crate) fn apply(
        &self,
        camera: &Subject,
        device: &OpenDevice,
        sensors: &[OpenSensor],
    ) -> Result<(), DriverError> {
        if let Some((path, json)) = &self.preset {
            device.load_preset(json).map_err(|fault| {
                DriverError::new(format!("{camera} does not take the preset `{}`: {fault}", path.display()))
            })?;
        }
        for Assignment { sensor, kind, name, value } in &self.assignments {
            sensors[*sensor].options().set(*kind, *value).map_err(|fault| {
                DriverError::new(format!("option `{name}` of {camera} cannot be set to {value}: {fault}"))
            })?;
        }
        Ok(())
    }
}

/// Resolves options of one camera's sensors.
struct Resolver<'a> {
    camera: &'a Subject,
    model: &'a str,
    sensors: &'a [OpenSensor],
}

impl Resolver<'_> {
    /// Returns the assignment of option `name` to the first of `sensors` that has it.
    fn assign(
        &self,
        sensors: impl Iterator<Item = usize> + Clone,
        name: &str,
        setting: &Setting,
    ) -> Result<Assignment, DriverError> {
        let camera = self.camera;
        let refuses = |fault| camera.refuses(&fault);
        let mut known = Vec::new();
        for sensor in sensors {
            let options = self.sensors[sensor].options();
            let kinds = options.kinds().map_err(refuses)?;
            if let Some(&kind) = kinds.iter().find(|kind| kind.name() == name) {
                if options.is_read_only(kind).map_err(refuses)? {
                    return Err(DriverError::new(format!("option `{name}` of {camera} is read-only")));
                }
                let value = value(camera, options, kind, setting)?;
                return Ok(Assignment { sensor, kind, name: name.to_owned(), value });
            }
            let writable = |kind: &OptionKind| options.is_read_only(*kind).is_ok_and(|is| !is);
            known.extend(kinds.into_iter().filter(writable).map(OptionKind::name));
        }
        known.sort_unstable();
        known.dedup();
        let model = self.model;
        let told = match why_not(model, name) {
            Some(reason) => reason.to_owned(),
            None => format!("it has: {}", list(known.iter().map(|name| format!("`{name}`")))),
        };
        Err(DriverError::new(format!("{camera} ({model}) has no option `{name}`: {told}")))
    }
}

/// Returns the number to which an option of `owner` has to be set.
pub(crate) fn value(
    owner: &dyn fmt::Display,
    options: OptionsView<'_>,
    kind: OptionKind,
    setting: &Setting,
) -> Result<f32, DriverError> {
    let name = kind.name();
    let error = |fact: &str| DriverError::new(format!("option `{name}` of {owner} {fact}"));
    let range = options.range(kind).map_err(|fault| error(&format!("cannot be read: {fault}")))?;
    let OptionRange { min, max, step } = range;
    let refuse = |choices: &str| Err(error(&format!("is {setting}: {choices}")));
    let numbers = format!("it is {min} to {max} in steps of {step}");
    match setting {
        Setting::Number(number) => {
            let value = *number as f32;
            if (min..=max).contains(&value) { Ok(value) } else { refuse(&numbers) }
        }
        Setting::Switch(_) if min > 0.0 || !(1.0..=SWITCH_MAX).contains(&max) => refuse(&numbers),
        Setting::Switch(on) => Ok(f32::from(u8::from(*on))),
        Setting::Name(wanted) => {
            let values = std::iter::successors(Some(min), |value| Some(value + step));
            let values = values.take_while(|value| *value <= max && step > 0.0).take(NAMED_VALUES_MAX);
            let named = values.filter_map(|value| Some((options.value_name(kind, value)?, value)));
            let named: Vec<_> = named.collect();
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

/// Normalises the name of a value.
fn plain(name: &str) -> String {
    name.to_lowercase().replace(['-', '_'], " ")
}

/// Returns the reason why a model does not have an option, if known.
fn why_not(model: &str, option: &str) -> Option<&'static str> {
    let is_laser = option.starts_with("laser_") || option.starts_with("emitter_");
    match option {
        _ if !model.ends_with("D405") => None,
        _ if is_laser => Some("a D405 has no laser"),
        SYNC_MODE | "output_trigger_enabled" => Some("a D405 has no hardware sync"),
        _ => None,
    }
}

/// Returns a suggestion of an option with a similar name.
pub(crate) fn near(name: &str) -> String {
    let distance = |known: &String| strsim::damerau_levenshtein(name, known);
    let nearest = OptionKind::all().map(OptionKind::name).min_by_key(distance);
    let near = nearest.filter(|known| distance(known) <= name.len().clamp(3, 64) / 3);
    near.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default()
}

/// Reads a preset, which has to be JSON.
fn read_preset(path: &Path) -> Result<(PathBuf, String), DriverError> {
    let name = path.display();
    let error = |fact: String| DriverError::new(format!("preset `{name}` {fact}"));
    let mut json = String::new();
    let file = File::open(path).map_err(|fault| match fault.kind() {
        std::io::ErrorKind::NotFound => error("does not exist".to_owned()),
        _ => error(format!("cannot be read: {fault}")),
    })?;
    file.take(PRESET_BYTES_MAX + 1)
        .read_to_string(&mut json)
        .map_err(|fault| error(format!("cannot be read: {fault}")))?;
    if json.len() as u64 > PRESET_BYTES_MAX {
        return Err(error(format!("is larger than {} KiB", PRESET_BYTES_MAX >> 10)));
    }
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&json)
        .map_err(|fault| error(format!("is no JSON as realsense-viewer exports it: {fault}")))?;
    Ok((path.to_owned(), json))
}
