//! Options and presets of an open camera.

use std::path::Path;

use camrig::{Control, ControlValue, DriverError};

use super::RealSenseCamera;
use crate::controls::{self, ControlPlace, PRESET, VISUAL_PRESET};
use crate::resolve::Resolved;
use crate::sys::Fault;
#[cfg(test)]
use crate::sys::OptionKind;

impl RealSenseCamera {
    /// Returns the options of the sensors, with their present values.
    pub(crate) fn controls(&self) -> Vec<Control> {
        let is_live = self.playback.is_none();
        let describe = |place: ControlPlace| {
            let control = controls::describe(&self.sensors, &place, is_live);
            let warn = |fault: &Fault| log::warn!("option `{}` of {}: {fault}", place.name, self.subject);
            control.inspect_err(warn).ok()
        };
        let places = controls::places(&self.sensors).inspect_err(|fault| {
            log::warn!("the options of {} cannot be listed: {fault}", self.subject);
        });
        let preset = self.takes_presets().then(|| {
            let loaded = self.settings.as_ref().and_then(Resolved::preset_path);
            controls::preset(loaded)
        });
        places.into_iter().flatten().filter_map(describe).chain(preset).collect()
    }

    /// Returns whether the device loads presets.
    fn takes_presets(&self) -> bool {
        self.playback.is_none() && self.device.takes_presets()
    }

    /// Sets an option of a sensor, or loads a preset, and returns the value that the device has then.
    pub(crate) fn set(&mut self, name: &str, value: &ControlValue) -> Result<ControlValue, DriverError> {
        if name == PRESET && self.takes_presets() {
            return self.load_preset(value);
        }
        let own = controls::set(&self.subject, &self.sensors, name, value)?;
        self.set.retain(|(set, _)| set != name);
        self.set.push((name.to_owned(), value.clone()));
        Ok(own)
    }

    /// Sets the options again that a visual preset has overwritten: librealsense applies it when the sensor is opened, to
    /// options that were set before.
    pub(super) fn set_over_visual_preset(&self) -> Result<(), DriverError> {
        let Some(settings) = self.settings.as_ref().filter(|_| self.playback.is_none()) else {
            return Ok(());
        };
        let is_preset = |name: &str| name == VISUAL_PRESET;
        if !settings.has_visual_preset() && !self.set.iter().any(|(name, _)| is_preset(name)) {
            return Ok(());
        }
        settings.apply_over_visual_preset(&self.subject, &self.sensors)?;
        for (name, value) in self.set.iter().filter(|(name, _)| !is_preset(name)) {
            controls::set(&self.subject, &self.sensors, name, value)?;
        }
        Ok(())
    }

    /// Loads a preset. The options of the topology follow it, as when the camera starts with both.
    fn load_preset(&mut self, value: &ControlValue) -> Result<ControlValue, DriverError> {
        let ControlValue::Name(path) = value else {
            let range = camrig::ControlRange::File;
            return Err(DriverError::new(format!(
                "option `{PRESET}` of {} is {value}: it must be {range}",
                self.subject
            )));
        };
        let unit = self.depth_unit_meters();
        let Some(settings) = &mut self.settings else { return Ok(value.clone()) };
        settings.load_preset(Path::new(path), unit, &self.subject, &self.device)?;
        settings.apply_options(&self.subject, &self.sensors)?;
        for (name, value) in &self.set {
            controls::set(&self.subject, &self.sensors, name, value)?;
        }
        Ok(value.clone())
    }

    /// Returns all options of the device as the text of a preset.
    pub(crate) fn preset(&self) -> Result<String, DriverError> {
        if !self.takes_presets() {
            return Err(DriverError::new(format!("{} has no presets", self.subject)));
        }
        self.device.preset().map_err(|fault| {
            DriverError::new(format!("the options of {} cannot be read as a preset: {fault}", self.subject))
        })
    }

    /// Returns the value of a sensor's option.
    #[cfg(test)]
    pub(crate) fn option(&self, sensor: usize, kind: OptionKind) -> f32 {
        self.sensors[sensor].options().get(kind).unwrap()
    }
}
