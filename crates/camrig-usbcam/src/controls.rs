//! UVC controls, which keep the values that are set: camera terminal, processing unit and librealsense's extension unit.

use std::collections::BTreeMap;

use crate::descriptors::{CAMERA_TERMINAL, EXTENSION_UNIT, PROCESSING_UNIT};

/// UVC requests (UVC 1.1, table A-8).
pub const SET_CUR: u8 = 0x01;
/// The present value.
pub const GET_CUR: u8 = 0x81;
const GET_MIN: u8 = 0x82;
const GET_MAX: u8 = 0x83;
const GET_RES: u8 = 0x84;
/// The size of the value, in bytes.
pub const GET_LEN: u8 = 0x85;
/// The supported requests.
pub const GET_INFO: u8 = 0x86;
/// The value after power-on.
pub const GET_DEF: u8 = 0x87;

/// The answer to [`GET_INFO`]: can be read and set.
pub const INFO_READ_WRITE: u8 = 0x03;

/// A control: an integer of `size` bytes in little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Control {
    size: u8,
    current: i64,
    minimum: i64,
    maximum: i64,
    step: i64,
    default: i64,
}

impl Control {
    const fn new(size: u8, minimum: i64, maximum: i64, step: i64, default: i64) -> Self {
        Self { size, current: default, minimum, maximum, step, default }
    }

    fn encode(self, value: i64) -> Vec<u8> {
        value.to_le_bytes()[..usize::from(self.size)].to_vec()
    }

    fn decode(self, bytes: &[u8]) -> Option<i64> {
        let bytes = bytes.get(..usize::from(self.size))?;
        let negative = self.minimum < 0 && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut value = [if negative { 0xFF } else { 0 }; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        Some(i64::from_le_bytes(value))
    }
}

/// Selectors that the pictures and their metadata depend on.
pub mod selector {
    /// Extension unit: emitter, 0 off, 1 on, 2 automatic.
    pub const EMITTER: u8 = 2;
    /// Extension unit: exposure time of the depth imagers, in microseconds.
    pub const EXPOSURE: u8 = 3;
    /// Extension unit: laser power, in milliwatts.
    pub const LASER_POWER: u8 = 4;
    /// Extension unit: whether the depth imagers expose automatically.
    pub const AUTO_EXPOSURE: u8 = 0x0B;
    /// Processing unit: gain.
    pub const GAIN: u8 = 4;
}

/// (entity, selector, control) of every model. Ranges are those of a D435 with firmware 5.16.
const CONTROLS: &[(u8, u8, Control)] = &[
    (CAMERA_TERMINAL, 2, Control::new(1, 0, 0, 9, 8)),
    (CAMERA_TERMINAL, 3, Control::new(1, 0, 1, 1, 0)),
    (CAMERA_TERMINAL, 4, Control::new(4, 1, 10_000, 1, 166)),
    (PROCESSING_UNIT, 1, Control::new(2, 0, 4, 1, 0)),
    (PROCESSING_UNIT, 2, Control::new(2, -64, 64, 1, 0)),
    (PROCESSING_UNIT, 3, Control::new(2, 0, 100, 1, 50)),
    (PROCESSING_UNIT, selector::GAIN, Control::new(2, 16, 248, 1, 16)),
    (PROCESSING_UNIT, 5, Control::new(1, 0, 2, 1, 1)),
    (PROCESSING_UNIT, 6, Control::new(2, -180, 180, 1, 0)),
    (PROCESSING_UNIT, 7, Control::new(2, 0, 100, 1, 64)),
    (PROCESSING_UNIT, 8, Control::new(2, 0, 100, 1, 50)),
    (PROCESSING_UNIT, 9, Control::new(2, 100, 500, 1, 300)),
    (PROCESSING_UNIT, 0x0A, Control::new(2, 2800, 6500, 10, 4600)),
    (PROCESSING_UNIT, 0x0B, Control::new(1, 0, 1, 1, 1)),
    (EXTENSION_UNIT, selector::EMITTER, Control::new(1, 0, 2, 1, 1)),
    (EXTENSION_UNIT, selector::EXPOSURE, Control::new(4, 1, 165_000, 1, 33_000)),
    (EXTENSION_UNIT, selector::LASER_POWER, Control::new(2, 0, 360, 30, 150)),
    (EXTENSION_UNIT, 5, Control::new(1, 0, 1, 1, 0)),
    (EXTENSION_UNIT, 6, Control::new(1, 0, 8, 1, 0)),
    (EXTENSION_UNIT, 7, Control::new(1, 0, 255, 1, 0)),
    (EXTENSION_UNIT, 8, Control::new(1, 0, 1, 1, 0)),
    // ASIC and projector temperature in degrees Celsius, each preceded by a validity byte.
    (EXTENSION_UNIT, 9, Control::new(4, 0, 0xFFFF_FFFF, 1, 0x1F1E_0101)),
    (EXTENSION_UNIT, 0x0A, Control::new(1, 0, 1, 1, 1)),
    (EXTENSION_UNIT, selector::AUTO_EXPOSURE, Control::new(1, 0, 1, 1, 1)),
    (EXTENSION_UNIT, 0x0C, Control::new(1, 0, 1, 1, 0)),
    (EXTENSION_UNIT, 0x0D, Control::new(1, 0, 1, 1, 0)),
    (EXTENSION_UNIT, 0x0E, Control::new(2, 0, 100, 1, 0)),
    (EXTENSION_UNIT, 0x0F, Control::new(1, 0, 1, 1, 0)),
    (EXTENSION_UNIT, 0x10, Control::new(2, 0, 1, 1, 0)),
    (EXTENSION_UNIT, 0x11, Control::new(1, 0, 1, 1, 0)),
];

/// Every control of one camera.
#[derive(Clone, Debug)]
pub struct Controls(BTreeMap<(u8, u8), Control>);

/// Every control at its default, as after power-on.
impl Default for Controls {
    fn default() -> Self {
        Self(CONTROLS.iter().map(|&(entity, selector, control)| ((entity, selector), control)).collect())
    }
}

impl Controls {
    /// Answers one UVC request. `None` is a stall: an unknown control or request, or a value outside its range.
    pub fn request(&mut self, entity: u8, selector: u8, request: u8, data: &[u8]) -> Option<Vec<u8>> {
        let control = self.0.get_mut(&(entity, selector))?;
        let value = match request {
            SET_CUR => {
                let value = control.decode(data)?;
                // A bitmap has no range: its step is the set of its bits.
                let is_bitmap = control.maximum == control.minimum;
                if !is_bitmap && !(control.minimum..=control.maximum).contains(&value) {
                    return None;
                }
                control.current = value;
                return Some(Vec::new());
            }
            GET_LEN => return Some(u16::from(control.size).to_le_bytes().to_vec()),
            GET_INFO => return Some(vec![INFO_READ_WRITE]),
            GET_CUR => control.current,
            GET_MIN => control.minimum,
            GET_MAX => control.maximum,
            GET_RES => control.step,
            GET_DEF => control.default,
            _ => return None,
        };
        Some(control.encode(value))
    }

    /// Returns the controls whose value is not the one after power-on: entity, selector and value.
    pub fn changed(&self) -> impl Iterator<Item = (u8, u8, i64)> + '_ {
        let changed = self.0.iter().filter(|(_, control)| control.current != control.default);
        changed.map(|(&(entity, selector), control)| (entity, selector, control.current))
    }

    /// Returns the current value of a control; 0 if it does not exist.
    pub fn value(&self, entity: u8, selector: u8) -> i64 {
        self.0.get(&(entity, selector)).map_or(0, |control| control.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_keeps_its_value_and_refuses_values_out_of_range() {
        let mut controls = Controls::default();
        let exposure = |controls: &mut Controls, request, data: &[u8]| {
            controls.request(EXTENSION_UNIT, selector::EXPOSURE, request, data)
        };
        assert_eq!(exposure(&mut controls, GET_LEN, &[]), Some(vec![4, 0]));
        assert_eq!(exposure(&mut controls, GET_DEF, &[]), Some(33_000_u32.to_le_bytes().to_vec()));
        assert_eq!(exposure(&mut controls, SET_CUR, &8_500_u32.to_le_bytes()), Some(Vec::new()));
        assert_eq!(exposure(&mut controls, GET_CUR, &[]), Some(8_500_u32.to_le_bytes().to_vec()));
        assert_eq!(exposure(&mut controls, SET_CUR, &165_001_u32.to_le_bytes()), None);
        assert_eq!(exposure(&mut controls, SET_CUR, &[1, 2]), None);
        assert_eq!(controls.value(EXTENSION_UNIT, selector::EXPOSURE), 8_500);
    }

    #[test]
    fn values_below_zero_keep_their_sign() {
        let mut controls = Controls::default();
        let set = controls.request(PROCESSING_UNIT, 2, SET_CUR, &(-30_i16).to_le_bytes());
        assert_eq!(set, Some(Vec::new()));
        assert_eq!(controls.value(PROCESSING_UNIT, 2), -30);
        assert_eq!(
            controls.request(PROCESSING_UNIT, 2, GET_MIN, &[]),
            Some((-64_i16).to_le_bytes().to_vec())
        );
    }

    #[test]
    fn unknown_controls_and_requests_stall() {
        let mut controls = Controls::default();
        assert_eq!(controls.request(9, 1, GET_CUR, &[]), None);
        assert_eq!(controls.request(EXTENSION_UNIT, 2, 0x55, &[]), None);
    }
}
