//! The options of an open device's sensors as controls: described, set while it runs, and read back.

use std::collections::BTreeSet;
use std::path::Path;

use camrig::frame::Stream;
use camrig::{Control, ControlRange, ControlValue, DriverError};
use realsense_rust::kind::Rs2CameraInfo;

use crate::names::list;
use crate::profiles::candidates;
use crate::resolve::named_values;
use crate::settings::{SYNC_MODE, Setting, number_on_step};
use crate::subject::Subject;
use crate::sys::{Fault, OpenSensor, OptionKind, OptionRange};

/// The options that a camera takes only before it streams, or whose change would make its description wrong.
const NOT_LIVE: [&str; 6] = [
    SYNC_MODE,
    "auto_exposure_mode",
    "depth_units",
    "emitter_frequency",
    "frames_queue_size",
    "stream_format_filter",
];

/// The units of numbers, as librealsense's documentation has them.
const UNITS: [(&str, &str); 8] = [
    ("exposure", "us"),
    ("color.exposure", "100 us"),
    ("auto_exposure_limit", "us"),
    ("laser_power", "mW"),
    ("depth_units", "m"),
    ("stereo_baseline", "mm"),
    ("asic_temperature", "degrees C"),
    ("projector_temperature", "degrees C"),
];

/// The name of the control that loads a preset, and its key in a topology.
pub(crate) const PRESET: &str = "preset";

/// The name of the option that selects one of librealsense's own presets.
pub(crate) const VISUAL_PRESET: &str = "visual_preset";

/// The place of a control.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ControlPlace {
    pub(crate) name: String,
    /// The key of a topology.
    pub(crate) key: String,
    pub(crate) sensor: usize,
    pub(crate) kind: OptionKind,
}

/// Returns the controls of all sensors: those of the depth sensor first, whose names have no prefix.
pub(crate) fn places(sensors: &[OpenSensor]) -> Result<Vec<ControlPlace>, Fault> {
    let (candidates, _) = candidates(sensors);
    let of = |stream| candidates.iter().find(|it| it.stream == stream).map(|it| it.sensor);
    let depth = of(Stream::DEPTH).unwrap_or(0);
    let color = of(Stream::COLOR).filter(|color| *color != depth);
    let others = (0..sensors.len()).filter(|sensor| *sensor != depth);
    // A name in `set` is that of the first sensor that has it.
    let mut taken = BTreeSet::new();
    let mut places = Vec::new();
    for sensor in std::iter::once(depth).chain(others).filter(|sensor| *sensor < sensors.len()) {
        for kind in sensors[sensor].options().kinds()? {
            let own = kind.name();
            let is_first = taken.insert(own.clone());
            let (name, key) = if Some(sensor) == color {
                (format!("color.{own}"), format!("set_color.{own}"))
            } else if is_first {
                (own.clone(), format!("set.{own}"))
            } else {
                (format!("{}.{own}", prefix(&sensors[sensor], sensor)), String::new())
            };
            // Another option has this value in a topology.
            let key = if own == SYNC_MODE { "sync".to_owned() } else { key };
            places.push(ControlPlace { name, key, sensor, kind });
        }
    }
    Ok(places)
}

/// Returns the control that loads a preset; `loaded` is the file that was loaded last.
pub(crate) fn preset(loaded: Option<&Path>) -> Control {
    Control {
        name: PRESET.to_owned(),
        key: PRESET.to_owned(),
        description: "A file with all options of the device, as realsense-viewer writes it".to_owned(),
        unit: String::new(),
        range: ControlRange::File,
        default: ControlValue::Name(String::new()),
        value: loaded.map(|path| ControlValue::Name(path.display().to_string())),
        read_only: false,
        live: true,
    }
}

/// Returns a word for a sensor, such as `motion` for librealsense's `Motion Module`.
fn prefix(sensor: &OpenSensor, number: usize) -> String {
    let name = sensor
        .with_view(|view| view.info(Rs2CameraInfo::Name).map(|name| name.to_string_lossy().to_lowercase()));
    let word = name.and_then(|name| name.split_whitespace().next().map(str::to_owned));
    word.unwrap_or_else(|| format!("sensor-{number}"))
}

/// Returns a control with its present value. `is_live` is false for a file, which has options that cannot be set.
pub(crate) fn describe(
    sensors: &[OpenSensor],
    place: &ControlPlace,
    is_live: bool,
) -> Result<Control, Fault> {
    let ControlPlace { name, key, sensor, kind } = place;
    let options = sensors[*sensor].options();
    let OptionRange { min, max, step, default } = options.range(*kind)?;
    let range = range(min, max, step, named_values(options, *kind, (min, max, step)));
    let value = |number: f32| match &range {
        ControlRange::Switch => ControlValue::Switch(number != 0.0),
        ControlRange::Number { .. } => ControlValue::Number(plain(number)),
        ControlRange::Choice(_) | ControlRange::File => {
            let name = options.value_name(*kind, number);
            name.map_or(ControlValue::Number(plain(number)), ControlValue::Name)
        }
    };
    let unit = UNITS.iter().find(|(own, _)| own == name).map_or("", |(_, unit)| unit);
    Ok(Control {
        name: name.clone(),
        key: key.clone(),
        description: options.description(*kind).unwrap_or_default(),
        unit: unit.to_owned(),
        default: value(default),
        value: options.get(*kind).ok().map(value),
        read_only: !is_live || options.is_read_only(*kind)?,
        live: is_live && !NOT_LIVE.contains(&&*kind.name()),
        range,
    })
}

/// Returns the range with its names, if every value has one.
fn range(min: f32, max: f32, step: f32, named: Vec<(String, f32)>) -> ControlRange {
    let count = if step > 0.0 { ((max - min) / step).round() + 1.0 } else { 0.0 };
    if !named.is_empty() && named.len() as f32 >= count {
        return ControlRange::Choice(named.into_iter().map(|(name, _)| name).collect());
    }
    if (min, max, step) == (0.0, 1.0, 1.0) {
        return ControlRange::Switch;
    }
    ControlRange::Number { min: plain(min), max: plain(max), step: plain(step) }
}

/// Returns the number with the same digits: 0.1, not 0.10000000149.
fn plain(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// The modes that librealsense changes when an option of the same sensor is set.
const FOLLOWING: [(&str, &str); 6] = [
    ("laser_power", "emitter_enabled"),
    ("exposure", "enable_auto_exposure"),
    ("gain", "enable_auto_exposure"),
    ("white_balance", "enable_auto_white_balance"),
    ("auto_exposure_limit", "auto_exposure_limit_toggle"),
    ("auto_gain_limit", "auto_gain_limit_toggle"),
];

/// Sets the option `name` by `set`. Returns the modes that have another value after that: before and after. `now` reads a mode, if
/// the sensor has it.
fn modes_changed_by<E>(
    name: &str,
    now: impl Fn(&str) -> Option<f32>,
    set: impl FnOnce() -> Result<(), E>,
) -> Result<Vec<(&'static str, f32, f32)>, E> {
    let following = FOLLOWING.iter().filter(|(option, _)| *option == name);
    let before: Vec<_> = following.filter_map(|&(_, mode)| Some((mode, now(mode)?))).collect();
    set()?;
    let after = before.into_iter().filter_map(|(mode, before)| Some((mode, before, now(mode)?)));
    Ok(after.filter(|(_, before, after)| (before - after).abs() > f32::EPSILON).collect())
}

/// Returns whether a device ignored that an option was set to `wanted`: it has the value `after`, as `before`. librealsense does
/// so without an error while another option rules it out, such as `emitter_on_off` for `emitter_always_on`.
fn is_ignored(before: Option<f32>, wanted: f32, after: Option<f32>, step: f32) -> bool {
    before == after && after.is_some_and(|after| (after - wanted).abs() > step / 2.0)
}

/// Sets a control, and returns the value that the device has then.
pub(crate) fn set(
    camera: &Subject,
    sensors: &[OpenSensor],
    name: &str,
    value: &ControlValue,
) -> Result<ControlValue, DriverError> {
    let refuses = |fault| camera.refuses(&fault);
    let places = places(sensors).map_err(refuses)?;
    let Some(place) = places.iter().find(|place| place.name == name) else {
        let names = list(places.iter().map(|place| format!("`{}`", place.name)));
        return Err(DriverError::new(format!("{camera} has no option `{name}`; it has: {names}")));
    };
    let is_live = matches!(camera, Subject::Live(_));
    let control = describe(sensors, place, is_live).map_err(refuses)?;
    if control.read_only {
        return Err(DriverError::new(format!("option `{name}` of {camera} is read-only")));
    }
    if !control.live {
        return Err(DriverError::new(format!(
            "option `{name}` of {camera} cannot be set while the camera runs"
        )));
    }
    let options = sensors[place.sensor].options();
    let OptionRange { min, max, step, .. } = options.range(place.kind).map_err(refuses)?;
    let named = named_values(options, place.kind, (min, max, step));
    let number = number_on_step(camera, name, (min, max, step), &named, &Setting::from(value))?;
    let now = |mode: &str| {
        let mut own = places.iter().filter(|own| own.sensor == place.sensor);
        options.get(own.find(|own| own.kind.name() == mode)?.kind).ok()
    };
    let set = || {
        options.set(place.kind, number).map_err(|fault| {
            DriverError::new(format!("option `{name}` of {camera} cannot be set to {value}: {fault}"))
        })
    };
    let before = options.get(place.kind).ok();
    for (mode, before, after) in modes_changed_by(&place.kind.name(), now, set)? {
        log::warn!("option `{mode}` of {camera} is {after} since `{name}` was set; it was {before}");
    }
    let after = options.get(place.kind).ok();
    // The device may choose a value nearby.
    let own = describe(sensors, place, is_live).map_err(refuses)?.value.unwrap_or_else(|| value.clone());
    if is_ignored(before, number, after, step) {
        return Err(DriverError::new(format!(
            "option `{name}` of {camera} remains {own} and does not become {value}: another option rules it out"
        )));
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn an_option_that_keeps_its_value_was_ignored() {
        assert!(is_ignored(Some(0.0), 1.0, Some(0.0), 1.0));
        assert!(!is_ignored(Some(0.0), 1.0, Some(1.0), 1.0));
        assert!(!is_ignored(Some(1.0), 1.0, Some(1.0), 1.0), "it had the value before");
        assert!(!is_ignored(Some(30.0), 100.0, Some(90.0), 1.0), "the device chose a value nearby");
        assert!(!is_ignored(Some(0.1004), 0.1, Some(0.1004), 0.001));
        assert!(!is_ignored(None, 1.0, None, 1.0), "it cannot be read");
    }

    #[test]
    fn a_mode_that_follows_another_option_is_named() {
        let emitter = Cell::new(0.0);
        let now = |mode: &str| (mode == "emitter_enabled").then(|| emitter.get());
        let turns_on = || {
            emitter.set(1.0);
            Ok::<_, ()>(())
        };
        assert_eq!(modes_changed_by("laser_power", now, turns_on), Ok(vec![("emitter_enabled", 0.0, 1.0)]));
        assert_eq!(modes_changed_by("laser_power", now, turns_on), Ok(Vec::new()), "it was on");
        // The sensor has no automatic exposure.
        assert_eq!(modes_changed_by("exposure", now, turns_on), Ok(Vec::new()));
        assert_eq!(modes_changed_by("laser_power", now, || Err("refused")), Err("refused"));
    }
}
