//! The options of a synthetic camera that can be set while it runs, and their effect on pictures.
//!
//! The metadata of each frame has their values, so that `verify` can render it again.

use camrig_frame::{Metadata, MetadataKey, PixelFormat};

use crate::driver::{Control, ControlRange, ControlValue, DriverError};

/// The possible values of a number, and that of auto exposure.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) least: u32,
    pub(super) most: u32,
    usual: u32,
}

/// The exposure in microseconds; as of a D435.
pub(super) const EXPOSURE: Range = Range { least: 1, most: 165_000, usual: 8500 };

/// The gain; as of a D435.
pub(super) const GAIN: Range = Range { least: 16, most: 248, usual: 16 };

/// Side of the squares that have depth, or none, without the projector, in pixels.
const SQUARE: usize = 8;

/// The values of the controls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Controls {
    /// Whether the camera chooses exposure and gain.
    auto_exposure: bool,
    exposure: u32,
    gain: u32,
    emitter: bool,
}

impl Controls {
    pub(super) fn new(exposure: Option<u32>, gain: Option<u32>, emitter: bool) -> Self {
        Self {
            auto_exposure: exposure.is_none() && gain.is_none(),
            exposure: exposure.unwrap_or(EXPOSURE.usual),
            gain: gain.unwrap_or(GAIN.usual),
            emitter,
        }
    }

    pub(super) fn list(&self) -> Vec<Control> {
        let control = |name: &str, key: &str, description: &str, range, [default, value]: [_; 2]| Control {
            name: name.to_owned(),
            key: key.to_owned(),
            description: description.to_owned(),
            unit: if name == "exposure" { "us".to_owned() } else { String::new() },
            range,
            default,
            value: Some(value),
            read_only: false,
            live: true,
        };
        let switch = |name, key, description, on| {
            let values = [true, on].map(ControlValue::Switch);
            control(name, key, description, ControlRange::Switch, values)
        };
        let number = |name, description, range: Range, value| {
            let values = [range.usual, value].map(|value| ControlValue::Number(value.into()));
            let (min, max) = (range.least.into(), range.most.into());
            control(name, name, description, ControlRange::Number { min, max, step: 1.0 }, values)
        };
        vec![
            switch("auto_exposure", "", "Whether the camera chooses exposure and gain.", self.auto_exposure),
            number("exposure", "The time for which light is collected.", EXPOSURE, self.exposure),
            number("gain", "The gain of the sensors; 16 is none.", GAIN, self.gain),
            switch("emitter", "emitter", "Whether the projector is on.", self.emitter),
        ]
    }

    /// Sets a control. A number ends auto exposure, as in real cameras.
    pub(super) fn set(&mut self, name: &str, value: &ControlValue) -> Result<ControlValue, DriverError> {
        let controls = self.list();
        let Some(control) = controls.iter().find(|control| control.name == name) else {
            let names: Vec<_> = controls.iter().map(|control| format!("`{}`", control.name)).collect();
            let error = format!("a synthetic camera has no option `{name}`; it has: {}", names.join(", "));
            return Err(DriverError::new(error));
        };
        let value = control.accept(value).map_err(DriverError::new)?;
        match (name, &value) {
            ("auto_exposure", ControlValue::Switch(on)) => self.auto_exposure = *on,
            ("emitter", ControlValue::Switch(on)) => self.emitter = *on,
            (name, ControlValue::Number(number)) => {
                self.auto_exposure = false;
                let place = if name == "exposure" { &mut self.exposure } else { &mut self.gain };
                *place = *number as u32;
            }
            _ => {}
        }
        Ok(value)
    }

    /// Writes the values into the metadata of a frame. `hunt` is the deviation of auto exposure from the usual values.
    pub(super) fn show(&self, hunt: i64, metadata: &mut Metadata) {
        let auto = (i64::from(EXPOSURE.usual) + 10 * hunt, i64::from(GAIN.usual) + hunt / 8);
        let own = (i64::from(self.exposure), i64::from(self.gain));
        let (exposure, gain) = if self.auto_exposure { auto } else { own };
        metadata.set(MetadataKey::ACTUAL_EXPOSURE, exposure);
        metadata.set(MetadataKey::GAIN_LEVEL, gain);
        if !self.auto_exposure {
            metadata.set(MetadataKey::AUTO_EXPOSURE, 0);
        }
        if !self.emitter {
            metadata.set(MetadataKey::LASER_POWER_MODE, 0);
        }
    }
}

/// The effect of the controls on a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appearance {
    /// Exposure times gain, if they were set.
    light: Option<u64>,
    emitter: bool,
}

impl Appearance {
    /// Returns the look of a frame with this metadata.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let get = |key| metadata.get(key).and_then(|value| u64::try_from(value).ok());
        let is_set = get(MetadataKey::AUTO_EXPOSURE) == Some(0);
        let light = get(MetadataKey::ACTUAL_EXPOSURE).zip(get(MetadataKey::GAIN_LEVEL));
        Self {
            light: light.filter(|_| is_set).map(|(exposure, gain)| exposure.saturating_mul(gain)),
            emitter: get(MetadataKey::LASER_POWER_MODE) != Some(0),
        }
    }

    /// Changes a picture with rows of `width` pixels.
    pub(super) fn apply(self, format: PixelFormat, width: usize, pixels: &mut [u8]) {
        if format.is_light() {
            self.expose(format, pixels);
        } else if !self.emitter {
            let texture = |index: usize| (index % width / SQUARE + index / width / SQUARE).is_multiple_of(2);
            let depth = pixels.chunks_exact_mut(2).enumerate();
            depth.filter(|(index, _)| !texture(*index)).for_each(|(_, depth)| depth.fill(0));
        }
    }

    fn expose(self, format: PixelFormat, pixels: &mut [u8]) {
        let Some(light) = self.light else { return };
        let usual = u64::from(EXPOSURE.usual * GAIN.usual);
        let lit = |level: u64, most: u64| (level.saturating_mul(light) / usual).min(most);
        let size = format.bytes_per_pixel() as usize;
        if !format.is_colored() && size == 2 {
            for level in pixels.as_chunks_mut().0 {
                *level = (lit(u16::from_le_bytes(*level).into(), u16::MAX.into()) as u16).to_le_bytes();
            }
            return;
        }
        let brightness: [u8; 256] = std::array::from_fn(|level| lit(level as u64, 255) as u8);
        // The bytes of a pixel that differ between black and white: neither its color, as of YUYV, nor its opacity.
        let is_bright: [bool; 4] = {
            let [black, white] = [0, 255].map(|level| format.encode_rgb(false, [level; 3]));
            std::array::from_fn(|byte| black[byte] != white[byte])
        };
        for pixel in pixels.chunks_exact_mut(size) {
            for (level, _) in pixel.iter_mut().zip(is_bright).filter(|(_, is_bright)| *is_bright) {
                *level = brightness[usize::from(*level)];
            }
        }
    }
}
