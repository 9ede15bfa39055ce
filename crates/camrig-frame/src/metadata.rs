//! Per-frame metadata, numbered and named as librealsense's `rs2_frame_metadata_value`.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// librealsense 2.56's names, at the index of their number.
const NAMES: [&str; MetadataKey::COUNT] = [
    "frame-counter",
    "frame-timestamp",
    "sensor-timestamp",
    "actual-exposure",
    "gain-level",
    "auto-exposure",
    "white-balance",
    "time-of-arrival",
    "temperature",
    "backend-timestamp",
    "actual-fps",
    "frame-laser-power",
    "frame-laser-power-mode",
    "exposure-priority",
    "exposure-roi-left",
    "exposure-roi-right",
    "exposure-roi-top",
    "exposure-roi-bottom",
    "brightness",
    "contrast",
    "saturation",
    "sharpness",
    "auto-white-balance-temperature",
    "backlight-compensation",
    "hue",
    "gamma",
    "manual-white-balance",
    "power-line-frequency",
    "low-light-compensation",
    "frame-emitter-mode",
    "frame-led-power",
    "raw-frame-size",
    "gpio-input-data",
    "sequence-name",
    "sequence-id",
    "sequence-size",
    "trigger",
    "preset",
    "input-width",
    "input-height",
    "sub-preset-info",
    "calib-info",
    "crc",
];

/// One kind of metadata, by librealsense's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataKey(u8);

impl MetadataKey {
    /// Number of kinds that librealsense 2.56 has.
    pub const COUNT: usize = 43;
    /// The device's own count of frames.
    pub const FRAME_COUNTER: Self = Self(0);
    /// When the sensor was read out, in microseconds of the device's clock.
    pub const FRAME_TIMESTAMP: Self = Self(1);
    /// The middle of the exposure, in microseconds of the device's clock.
    pub const SENSOR_TIMESTAMP: Self = Self(2);
    /// The exposure, in microseconds.
    pub const ACTUAL_EXPOSURE: Self = Self(3);
    /// 1 if the camera chose the exposure, 0 if it was set.
    pub const AUTO_EXPOSURE: Self = Self(5);
    /// 1 if the projector of infrared light was on.
    pub const LASER_POWER_MODE: Self = Self(12);
    /// When the frame reached the host, in milliseconds since 1970.
    pub const TIME_OF_ARRIVAL: Self = Self(7);
    /// The sensor's gain.
    pub const GAIN_LEVEL: Self = Self(4);

    /// Returns the kind with librealsense's `number`, if it has one.
    pub fn from_number(number: usize) -> Option<Self> {
        (number < Self::COUNT).then_some(Self(number as u8))
    }

    /// Returns every kind, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(|number| Self(number as u8))
    }

    /// Returns librealsense's number of this kind.
    pub const fn number(self) -> usize {
        self.0 as usize
    }

    /// Returns librealsense's name, in lower case with dashes.
    pub const fn name(self) -> &'static str {
        NAMES[self.0 as usize]
    }
}

/// The metadata of one frame: a value for some of the [`MetadataKey`]s, without allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    present: u64,
    values: [i64; MetadataKey::COUNT],
}

impl Metadata {
    /// No metadata.
    pub const EMPTY: Self = Self { present: 0, values: [0; MetadataKey::COUNT] };

    /// Sets one value.
    pub fn set(&mut self, key: MetadataKey, value: i64) {
        self.present |= 1 << key.0;
        self.values[key.number()] = value;
    }

    /// Returns one value, if the frame has it.
    pub fn get(&self, key: MetadataKey) -> Option<i64> {
        (self.present & (1 << key.0) != 0).then(|| self.values[key.number()])
    }

    /// Returns every value that the frame has, in the order of the keys' numbers.
    pub fn iter(&self) -> impl Iterator<Item = (MetadataKey, i64)> + '_ {
        let mut left = self.present;
        std::iter::from_fn(move || {
            let number = left.trailing_zeros() as usize;
            let key = MetadataKey::from_number(number)?;
            left &= left - 1;
            Some((key, self.values[number]))
        })
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key.name(), value))).finish()
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.present.count_ones() as usize))?;
        for (key, value) in self.iter() {
            sequence.serialize_element(&(key.0, value))?;
        }
        sequence.end()
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "pairs of a metadata number below {} and a value", MetadataKey::COUNT)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Metadata, A::Error> {
                let mut metadata = Metadata::EMPTY;
                while let Some((number, value)) = entries.next_element::<(u8, i64)>()? {
                    let key = MetadataKey::from_number(number.into())
                        .ok_or_else(|| serde::de::Error::custom("no such metadata number"))?;
                    metadata.set(key, value);
                }
                Ok(metadata)
            }
        }
        deserializer.deserialize_seq(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_there_only_after_it_was_set() {
        let mut metadata = Metadata::EMPTY;
        assert_eq!(metadata.get(MetadataKey::GAIN_LEVEL), None);
        metadata.set(MetadataKey::GAIN_LEVEL, 0);
        metadata.set(MetadataKey::ACTUAL_EXPOSURE, -1);
        assert_eq!(metadata.get(MetadataKey::GAIN_LEVEL), Some(0));
        assert_eq!(format!("{metadata:?}"), r#"{"actual-exposure": -1, "gain-level": 0}"#);
    }
}
