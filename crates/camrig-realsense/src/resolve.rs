//! The settings of a live camera, checked against it.
//!
//! All of them are checked before anything is set: whether the device has the option, whether it can be set, and which values
//! it takes. Models differ in their options, and errors give the reason.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use camrig::frame::Stream;
use camrig::{DriverError, WrongOptions};
use json_strip_comments::strip_comments_in_place;

use crate::names::list;
use crate::profiles::Candidate;
use crate::settings::{HardwareSync, SYNC_MODE, Setting, Settings, number, number_on_step};
use crate::subject::Subject;
use crate::sys::{OpenDevice, OpenSensor, OptionKind, OptionRange, OptionsView};

/// Maximum size of a preset, in bytes. Presets have some kilobytes.
const PRESET_BYTES_MAX: u64 = 1 << 20;

/// The parameters of a preset that set the depth unit, in um.
const DEPTH_UNIT_PARAMETERS: [&str; 2] = ["param-depthunits", "param-zunits"];

/// The mark that some editors write in front of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Time after the start of the sensors at which regions of auto exposure are set: cameras refuse them before they have
/// delivered some 30 frames.
const REGION_DELAY: Duration = Duration::from_secs(1);

/// Time between two attempts to set a region.
const REGION_PAUSE: Duration = Duration::from_millis(250);

/// Maximum time from the start to the last attempt. Slow streams need more time for their first frames.
const REGION_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of named values that are read.
const NAMED_VALUES_MAX: usize = 64;

impl Settings {
    /// Resolves the settings for this camera of model `model`, without applying them.
    pub(crate) fn resolve(
        &self,
        camera: &Subject,
        model: &str,
        device: &OpenDevice,
        sensors: &[OpenSensor],
        candidates: &[Candidate],
        chosen: &[Candidate],
    ) -> Result<Resolved, DriverError> {
        let preset =
            self.preset.as_deref().map(read_preset).transpose().map_err(|error| error.at("preset"))?;
        if preset.is_some() && !device.takes_presets() {
            return Err(DriverError::new(format!("{camera} ({model}) takes no preset")).at("preset"));
        }
        let of = |stream| candidates.iter().find(|it| it.stream == stream).map(|it| it.sensor);
        let (depth, color) = (of(Stream::DEPTH).unwrap_or(0), of(Stream::COLOR));
        let resolver = Resolver { camera, model, sensors };
        let (mut assignments, mut wrong) = (Vec::new(), WrongOptions::default());
        for (name, setting) in &self.of_depth {
            let others = (0..sensors.len()).filter(|&sensor| sensor != depth);
            match resolver.assign(std::iter::once(depth).chain(others), name, setting) {
                Ok(assignment) => assignments.push(assignment),
                Err(error) => add(&mut wrong, "set", name, error)?,
            }
        }
        if let Some(sync) = self.sync {
            let mode = Setting::Number(match sync {
                HardwareSync::Master => 1.0,
                HardwareSync::Slave => 2.0,
            });
            let assignment = resolver.assign(std::iter::once(depth), SYNC_MODE, &mode);
            assignments.push(assignment.map_err(|error| error.at("sync"))?);
        }
        for (name, setting) in &self.of_color {
            let color =
                color.ok_or_else(|| DriverError::new(format!("{camera} ({model}) has no color stream")));
            let assigned = color.and_then(|color| {
                let assignment = resolver.assign(std::iter::once(color), name, setting)?;
                if assignments.iter().any(|it: &Assignment| (it.sensor, it.kind) == (color, assignment.kind)) {
                    return Err(DriverError::new(format!(
                        "option `{name}` is both in `set` and in `set_color`, and {camera} ({model}) has it once: its \
                         color comes from the depth sensor"
                    )));
                }
                Ok(assignment)
            });
            match assigned {
                Ok(assignment) => assignments.push(assignment),
                Err(error) => add(&mut wrong, "set_color", name, error)?,
            }
        }
        wrong.or_ok()?;
        assignments.sort_by_key(|it| rank(&it.name));
        let mut regions = Vec::new();
        for (key, sensor, region) in [
            ("exposure_region", Some(depth), self.region),
            ("exposure_region_color", color, self.region_of_color),
        ] {
            let Some(region) = region else { continue };
            let sensor = sensor.filter(|&sensor| sensors[sensor].has_exposure_region());
            let Some(sensor) = sensor else {
                return Err(DriverError::new(format!(
                    "`{key}`: {camera} ({model}) has no region of auto exposure there"
                ))
                .at(key));
            };
            if regions.iter().any(|&(own, _)| own == sensor) {
                return Err(DriverError::new(format!(
                    "`{key}`: color of {camera} ({model}) comes from the depth sensor, which has `exposure_region`"
                ))
                .at(key));
            }
            let own = |it: &&Candidate| it.sensor == sensor;
            check_region(key, region, candidates.iter().filter(own), chosen.iter().filter(own))?;
            regions.push((sensor, region));
        }
        Ok(Resolved { preset, assignments, regions })
    }
}

/// Adds the reason why an option of `table` is refused, unless the camera is missing.
fn add(wrong: &mut WrongOptions, table: &str, name: &str, error: DriverError) -> Result<(), DriverError> {
    if error.is_unavailable() {
        return Err(error);
    }
    wrong.add([format!("{table}.{name}").as_str(), table], error.to_string());
    Ok(())
}

/// Checks that a region of auto exposure is within the images of its sensor, of whose streams some are chosen.
fn check_region<'a>(
    key: &str,
    region: [u32; 4],
    candidates: impl Iterator<Item = &'a Candidate>,
    chosen: impl Iterator<Item = &'a Candidate>,
) -> Result<(), DriverError> {
    let [_, _, right, bottom] = region;
    let mut chosen = chosen.peekable();
    if chosen.peek().is_none() {
        let streams: BTreeSet<_> = candidates.map(|it| it.stream).collect();
        let streams = list(streams.into_iter().map(|stream| format!("`{stream}`")));
        let error = format!("`{key}` needs a stream of its sensor, which has: {streams}");
        return Err(DriverError::new(error).at(key));
    }
    for Candidate { stream, profile, .. } in chosen {
        if right >= profile.width() || bottom >= profile.height() {
            return Err(DriverError::new(format!(
                "`{key}`: {region:?} reaches beyond the {stream} image {profile}: right and bottom are at most {} and {}",
                profile.width() - 1,
                profile.height() - 1,
            ))
            .at(key));
        }
    }
    Ok(())
}

/// The resolved settings of each sensor.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Its path and text.
    preset: Option<(PathBuf, String)>,
    assignments: Vec<Assignment>,
    /// Sensors with their regions of auto exposure.
    regions: Vec<(usize, [u32; 4])>,
}

#[derive(Debug)]
struct Assignment {
    sensor: usize,
    kind: OptionKind,
    name: String,
    value: f32,
    step: f32,
}

/// The automatic modes of a camera, with the options that they change.
const AUTOMATIC: [(&str, &[&str]); 3] = [
    ("enable_auto_exposure", &["exposure", "gain"]),
    ("enable_auto_white_balance", &["white_balance"]),
    (HDR, &["exposure", "gain"]),
];

/// The mode in which successive frames have several exposures.
const HDR: &str = "hdr_enabled";

/// Returns the place of an option in the order in which options are set. librealsense changes some options when another one
/// is set: a visual preset overwrites others, a manual exposure or gain turns the automatic one off, a limit turns its
/// toggle on, a laser power turns the emitter on, and under HDR several options are refused.
fn rank(name: &str) -> u8 {
    match name {
        "visual_preset" => 0,
        "emitter_enabled"
        | "emitter_on_off"
        | "emitter_always_on"
        | "auto_exposure_limit_toggle"
        | "auto_gain_limit_toggle" => 2,
        HDR => 4,
        _ if name.starts_with("enable_auto_") => 3,
        _ => 1,
    }
}

/// Returns the options that have another value than they were set to, with that value. `now` returns the value of an
/// option of a sensor, if it can be read.
fn changed(assignments: &[Assignment], now: impl Fn(usize, &str) -> Option<f32>) -> Vec<(&Assignment, f32)> {
    let is_on = |sensor, mode| now(sensor, mode).is_some_and(|value| value != 0.0);
    let is_driven = |it: &Assignment| {
        let mut modes = AUTOMATIC.iter().filter(|(_, driven)| driven.contains(&&*it.name));
        modes.any(|(mode, _)| is_on(it.sensor, mode))
    };
    // A preset is "custom" as soon as another option is set.
    let compared = assignments.iter().filter(|it| it.kind != OptionKind::VISUAL_PRESET && !is_driven(it));
    compared
        .filter_map(|it| Some((it, now(it.sensor, &it.name)?)))
        .filter(|(it, value)| (value - it.value).abs() > it.step / 2.0)
        .collect()
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
            load_preset(path, json, camera, device)?;
        }
        self.apply_options(camera, sensors)
    }

    /// Returns the path of the preset.
    pub(crate) fn preset_path(&self) -> Option<&Path> {
        self.preset.as_ref().map(|(path, _)| path.as_path())
    }

    /// Loads another preset instead of the previous one. The device keeps its depth unit, which its framesets state.
    pub(crate) fn load_preset(
        &mut self,
        path: &Path,
        depth_unit_meters: Option<f32>,
        camera: &Subject,
        device: &OpenDevice,
    ) -> Result<(), DriverError> {
        let (path, mut json) = read_preset(path)?;
        if let Some(unit) = depth_unit_meters {
            let own = (f64::from(unit) * 1e6).round();
            let (kept, other) = with_depth_unit(&json, own);
            if let Some(other) = other {
                log::warn!(
                    "preset `{}` has a depth unit of {other} um: {camera} keeps {own} um until it is opened again",
                    path.display()
                );
                json = kept;
            }
        }
        load_preset(&path, &json, camera, device)?;
        self.preset = Some((path, json));
        Ok(())
    }

    /// Returns whether a visual preset is set.
    pub(crate) fn has_visual_preset(&self) -> bool {
        self.assignments.iter().any(|it| it.kind == OptionKind::VISUAL_PRESET)
    }

    /// Sets the options again that a visual preset has overwritten, after the sensors were opened: those that can still be set.
    pub(crate) fn apply_over_visual_preset(
        &self,
        camera: &Subject,
        sensors: &[OpenSensor],
    ) -> Result<(), DriverError> {
        // HDR refuses some of them.
        for it in self.assignments.iter().filter(|it| it.name == HDR) {
            sensors[it.sensor].options().set(it.kind, 0.0).map_err(|fault| camera.refuses(&fault))?;
        }
        self.set_options(camera, sensors, |it| {
            let is_preset = it.kind == OptionKind::VISUAL_PRESET;
            !is_preset && !sensors[it.sensor].options().is_read_only(it.kind).unwrap_or(true)
        })
    }

    /// Sets the options of the sensors. An option whose value is another one after that is logged.
    pub(crate) fn apply_options(&self, camera: &Subject, sensors: &[OpenSensor]) -> Result<(), DriverError> {
        self.set_options(camera, sensors, |_| true)
    }

    fn set_options(
        &self,
        camera: &Subject,
        sensors: &[OpenSensor],
        is_chosen: impl Fn(&Assignment) -> bool,
    ) -> Result<(), DriverError> {
        for it in &self.assignments {
            let Assignment { sensor, kind, name, value, .. } = it;
            if !is_chosen(it) {
                continue;
            }
            sensors[*sensor].options().set(*kind, *value).map_err(|fault| {
                DriverError::new(format!("option `{name}` of {camera} cannot be set to {value}: {fault}"))
            })?;
        }
        let now = |sensor: usize, name: &str| {
            let options = sensors[sensor].options();
            let kind = options.kinds().ok()?.into_iter().find(|kind| kind.name() == name)?;
            options.get(kind).ok()
        };
        for (Assignment { name, value, .. }, own) in changed(&self.assignments, now) {
            log::warn!(
                "option `{name}` of {camera} is {own} after all options were set, not {value}: the camera, or \
                 another option, changed it"
            );
        }
        Ok(())
    }

    /// Returns the regions of auto exposure, to be set after the start of the sensors at `now`.
    pub(crate) fn regions(&self, now: Instant) -> Regions {
        Regions { left: self.regions.clone(), due: now + REGION_DELAY, until: now + REGION_TIMEOUT }
    }
}

/// The regions of auto exposure that a camera has not accepted yet: it does so only while it streams, and not immediately.
#[derive(Debug)]
pub(crate) struct Regions {
    /// Sensors with their regions.
    left: Vec<(usize, [u32; 4])>,
    /// The time of the next attempt, and of the last one.
    due: Instant,
    until: Instant,
}

impl Regions {
    /// Sets those that are left by `set`, if it is time.
    ///
    /// # Errors
    /// The region that was refused for too long, with the last error.
    pub(crate) fn attempt<E>(
        &mut self,
        now: Instant,
        mut set: impl FnMut(usize, [u32; 4]) -> Result<(), E>,
    ) -> Result<(), ([u32; 4], E)> {
        if self.left.is_empty() || now < self.due {
            return Ok(());
        }
        self.due = now + REGION_PAUSE;
        while let Some(&(sensor, region)) = self.left.first() {
            match set(sensor, region) {
                Ok(()) => drop(self.left.remove(0)),
                Err(error) if now >= self.until => return Err((region, error)),
                Err(_) => return Ok(()),
            }
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
                let range = options.range(kind).map_err(refuses)?;
                let range = (range.min, range.max, range.step);
                let named = named_values(options, kind, range);
                let value = number_on_step(camera, name, range, &named, setting)?;
                return Ok(Assignment { sensor, kind, name: name.to_owned(), value, step: range.2 });
            }
            let writable = |kind: &OptionKind| options.is_read_only(*kind).is_ok_and(|is| !is);
            known.extend(kinds.into_iter().filter(writable).map(OptionKind::name));
        }
        known.sort_unstable();
        known.dedup();
        let model = self.model;
        let reason = match why_not(model, name) {
            Some(reason) => reason.to_owned(),
            None => format!("it has: {}", list(known.iter().map(|name| format!("`{name}`")))),
        };
        Err(DriverError::new(format!("{camera} ({model}) has no option `{name}`: {reason}")))
    }
}

/// Returns the number that an option of `owner` has to be set to.
pub(crate) fn value(
    owner: &dyn fmt::Display,
    options: OptionsView<'_>,
    kind: OptionKind,
    setting: &Setting,
) -> Result<f32, DriverError> {
    let name = kind.name();
    let OptionRange { min, max, step, .. } = options
        .range(kind)
        .map_err(|fault| DriverError::new(format!("option `{name}` of {owner} cannot be read: {fault}")))?;
    let named = named_values(options, kind, (min, max, step));
    number(owner, &name, (min, max, step), &named, setting)
}

/// Returns the values of an option that have names.
pub(crate) fn named_values(
    options: OptionsView<'_>,
    kind: OptionKind,
    (min, max, step): (f32, f32, f32),
) -> Vec<(String, f32)> {
    let values = std::iter::successors(Some(min), |value| Some(value + step));
    let values = values.take_while(|value| *value <= max && step > 0.0).take(NAMED_VALUES_MAX);
    values.filter_map(|value| Some((options.value_name(kind, value)?, value))).collect()
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

fn load_preset(path: &Path, json: &str, camera: &Subject, device: &OpenDevice) -> Result<(), DriverError> {
    device.load_preset(json).map_err(|fault| {
        DriverError::new(format!("{camera} does not take the preset `{}`: {fault}", path.display()))
    })
}

/// Reads a preset, which has to be JSON. Comments, trailing commas and a byte-order mark, which librealsense refuses, are
/// removed.
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
    if let Some(rest) = json.strip_prefix(BYTE_ORDER_MARK) {
        json = rest.to_owned();
    }
    strip_comments_in_place(&mut json).map_err(|_| error("has a `/` that begins no comment".to_owned()))?;
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&json)
        .map_err(|fault| error(format!("is not JSON as realsense-viewer exports it: {fault}")))?;
    Ok((path.to_owned(), json))
}

/// Returns a preset with this depth unit, and its own one if that differs; both in um.
fn with_depth_unit(json: &str, unit: f64) -> (String, Option<f64>) {
    let mut other = None;
    let mut preset = serde_json::from_str::<serde_json::Value>(json).unwrap_or_default();
    // Newer versions of librealsense write the parameters into a table.
    for table in ["/parameters", ""] {
        for name in DEPTH_UNIT_PARAMETERS {
            let Some(value) = preset.pointer_mut(&format!("{table}/{name}")) else { continue };
            let own = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
            if let Some(own) = own.filter(|own| (own - unit).abs() >= 1.0) {
                other = Some(own);
                *value = unit.to_string().into();
            }
        }
    }
    (preset.to_string(), other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;
    use camrig::frame::PixelFormat;

    #[test]
    fn a_preset_may_have_a_byte_order_mark_and_comments() {
        let file = Scratch::new("commented.json");
        let read = |text: &str| {
            std::fs::write(&file.0, text).unwrap();
            read_preset(&file.0).map(|(_, json)| json).map_err(|error| error.to_string())
        };
        let json =
            read("\u{feff}{ // of the viewer\n\"url\": \"http://a#b\", /* two */ \"b\": \"2\", }\n# end\n")
                .unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json, serde_json::json!({ "url": "http://a#b", "b": "2" }));
        let slash = read("{ \"a\": / }").unwrap_err();
        assert!(slash.ends_with("has a `/` that begins no comment"), "{slash}");
    }

    #[test]
    fn a_preset_that_is_loaded_live_keeps_the_depth_unit() {
        let kept = |json: &str| {
            let (json, other) = with_depth_unit(json, 100.0);
            (serde_json::from_str::<serde_json::Value>(&json).unwrap(), other)
        };
        let newer = r#"{"parameters": {"param-zunits": "1000", "param-depthunits": "1000"}, "viewer": 1}"#;
        let units = serde_json::json!({ "param-zunits": "100", "param-depthunits": "100" });
        assert_eq!(kept(newer), (serde_json::json!({ "parameters": units, "viewer": 1 }), Some(1000.0)));
        let older = r#"{"param-depthunits": 500, "param-zunits": "100", "a": "2"}"#;
        let json = serde_json::json!({ "param-depthunits": "100", "param-zunits": "100", "a": "2" });
        assert_eq!(kept(older), (json, Some(500.0)));
        for same in [r#"{"param-depthunits":"100"}"#, r#"{"a":"2"}"#] {
            assert_eq!(with_depth_unit(same, 100.0), (same.to_owned(), None));
        }
    }

    #[test]
    fn an_option_is_set_after_those_that_change_it() {
        let mut names = [
            "enable_auto_exposure",
            "emitter_enabled",
            "exposure",
            "hdr_enabled",
            "laser_power",
            "auto_gain_limit_toggle",
            "auto_gain_limit",
            "visual_preset",
        ];
        names.sort_by_key(|name| rank(name));
        assert_eq!(
            names,
            [
                "visual_preset",
                "exposure",
                "laser_power",
                "auto_gain_limit",
                "emitter_enabled",
                "auto_gain_limit_toggle",
                "enable_auto_exposure",
                "hdr_enabled",
            ]
        );
    }

    #[test]
    fn an_option_that_has_another_value_after_all_were_set_is_found() {
        let assignment = |name: &str, value, step| {
            let kind = OptionKind::named(name).unwrap();
            Assignment { sensor: 0, kind, name: name.to_owned(), value, step }
        };
        let assignments = [
            assignment("visual_preset", 3.0, 1.0),
            assignment("exposure", 8500.0, 1.0),
            assignment("depth_units", 0.0005, 0.000_001),
            assignment("laser_power", 300.0, 30.0),
            assignment("emitter_enabled", 0.0, 1.0),
        ];
        let found = |automatic: f32| {
            let now = |_, name: &str| match name {
                "exposure" => Some(33_000.0),
                "depth_units" => Some(0.000_500_1),
                "emitter_enabled" => Some(1.0),
                "enable_auto_exposure" => Some(automatic),
                // A camera may refuse to be asked for an option.
                _ => None,
            };
            let names = changed(&assignments, now).into_iter().map(|(it, own)| (it.name.clone(), own));
            names.collect::<Vec<_>>()
        };
        let emitter = ("emitter_enabled".to_owned(), 1.0);
        assert_eq!(found(1.0), std::slice::from_ref(&emitter));
        assert_eq!(found(0.0), [("exposure".to_owned(), 33_000.0), emitter]);
    }

    #[test]
    fn a_region_is_set_when_the_camera_streams_for_a_while() {
        let (start, regions) = (Instant::now(), vec![(0, [0, 0, 9, 9]), (1, [1, 1, 5, 5])]);
        let resolved = Resolved { preset: None, assignments: Vec::new(), regions };
        let mut regions = resolved.regions(start);
        let mut attempt = |seconds: f32, accepted: &[usize]| {
            let mut asked = Vec::new();
            let set = |sensor, _| {
                asked.push(sensor);
                if accepted.contains(&sensor) { Ok(()) } else { Err("not ready") }
            };
            let outcome = regions.attempt(start + Duration::from_secs_f32(seconds), set);
            (asked, outcome)
        };
        assert_eq!(attempt(0.9, &[0, 1]), (vec![], Ok(())), "too early");
        assert_eq!(attempt(1.0, &[]), (vec![0], Ok(())));
        assert_eq!(attempt(1.1, &[0]), (vec![], Ok(())), "soon after another attempt");
        assert_eq!(attempt(1.5, &[0]), (vec![0, 1], Ok(())));
        assert_eq!(attempt(9.9, &[]), (vec![1], Ok(())));
        assert_eq!(attempt(11.0, &[]), (vec![1], Err(([1, 1, 5, 5], "not ready"))));
        assert_eq!(attempt(12.0, &[1]), (vec![1], Ok(())));
        assert_eq!(attempt(13.0, &[1]), (vec![], Ok(())), "all are set");
    }

    #[test]
    fn a_region_is_within_the_images_of_its_sensor() {
        let depth = Candidate {
            stream: Stream::DEPTH,
            key: (1, 0),
            format: PixelFormat::Z16.into(),
            profile: "640x480@30".parse().unwrap(),
            sensor: 0,
            index: 0,
        };
        let infrared = Candidate { stream: Stream::INFRARED_1, ..depth };
        let check_of = |chosen: &[Candidate], region| {
            check_region("exposure_region", region, [depth, infrared, depth].iter(), chosen.iter())
                .map_err(|it| it.to_string())
        };
        let check = |region| check_of(&[depth], region);
        assert_eq!(check([0, 0, 639, 479]), Ok(()));
        assert_eq!(
            check([0, 0, 640, 479]),
            Err("`exposure_region`: [0, 0, 640, 479] reaches beyond the depth image 640x480@30: right and bottom are \
                 at most 639 and 479"
                .to_owned()),
        );
        assert_eq!(
            check_of(&[], [0, 0, 9, 9]),
            Err("`exposure_region` needs a stream of its sensor, which has: `depth`, `infrared-1`".to_owned()),
        );
    }
}
