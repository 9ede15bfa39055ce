//! The motion sensors: an HID interface with an accelerometer and a gyroscope, as the kernel's `hid-sensor-hub` reads it.
//!
//! Layouts and usages are those of the USB HID specification 1.11 and of the HID usage tables, page "Sensors". The kernel
//! turns each sensor on, and sets its interval, by the feature report with the sensor's number.

/// Size of the packets of the interrupt endpoint, in bytes.
pub const PACKET_BYTES: u16 = 32;

/// Requests of the HID class (HID 1.11, section 7.2).
pub const GET_REPORT: u8 = 1;
/// Sets a report.
pub const SET_REPORT: u8 = 9;

/// Types of descriptors.
const HID: u8 = 0x21;
const REPORT: u8 = 0x22;

/// Types of reports, in the upper byte of a request's value.
const INPUT: u8 = 1;
const FEATURE: u8 = 3;

/// Values of the fields of a feature report by which a sensor sends samples: all events, full power.
const ALL_EVENTS: u8 = 2;
const FULL_POWER: u8 = 2;

/// Size of a feature report: its number, reporting and power state, interval in milliseconds, sensitivity.
const FEATURE_BYTES: usize = 9;

/// Number of different values by which a sample can be recognised.
const VALUES: u32 = 1000;

/// Value of 1 g in the accelerometer's unit, a thousandth of it.
const GRAVITY: i32 = 1000;

/// A motion sensor; its value is the number of its reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sensor {
    /// Linear acceleration.
    Accelerometer = 1,
    /// Angular velocity.
    Gyroscope = 2,
}

impl Sensor {
    /// Every sensor.
    pub const ALL: [Self; 2] = [Self::Accelerometer, Self::Gyroscope];

    /// Returns the usages: of the sensor, of its value on the first axis, of its sensitivity.
    const fn usages(self) -> (u8, u16, u16) {
        match self {
            Self::Accelerometer => (0x73, 0x0453, 0x1452),
            Self::Gyroscope => (0x76, 0x0457, 0x1456),
        }
    }

    /// Returns the rate of a BMI055 that librealsense requests by an interval: for the four rates it sets intervals of 1 to 4
    /// Hz.
    const fn rate(self, interval_millis: u32) -> u32 {
        match (self, interval_millis) {
            (_, 500) => 200,
            (Self::Accelerometer, 333) => 250,
            (Self::Accelerometer, _) => 63,
            (Self::Gyroscope, _) => 400,
        }
    }
}

/// The settings of both sensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MotionSensors([SensorSettings; 2]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SensorSettings {
    reporting: u8,
    power: u8,
    interval_millis: u32,
    sensitivity: u16,
}

impl MotionSensors {
    /// Returns the samples per second of each sensor; `None` for one that is off.
    pub fn rates(&self) -> [Option<u32>; 2] {
        let mut rates = [None; 2];
        for ((rate, sensor), own) in rates.iter_mut().zip(Sensor::ALL).zip(&self.0) {
            let is_on = (own.reporting, own.power) == (ALL_EVENTS, FULL_POWER);
            *rate = is_on.then(|| sensor.rate(own.interval_millis));
        }
        rates
    }

    /// Answers [`GET_REPORT`]. `None` is a stall.
    pub fn report(&self, value: u16) -> Option<Vec<u8>> {
        let [number, kind] = value.to_le_bytes();
        let sensor = Sensor::ALL.into_iter().find(|&sensor| sensor as u8 == number)?;
        match kind {
            INPUT => Some(sample(sensor, 0, 0)),
            FEATURE => {
                let own = self.0[sensor as usize - 1];
                let mut report = vec![number, own.reporting, own.power];
                report.extend(own.interval_millis.to_le_bytes());
                report.extend(own.sensitivity.to_le_bytes());
                Some(report)
            }
            _ => None,
        }
    }

    /// Carries out [`SET_REPORT`]. `None` is a stall.
    pub fn set_report(&mut self, value: u16, data: &[u8]) -> Option<()> {
        let [number, kind] = value.to_le_bytes();
        let sensor = Sensor::ALL.into_iter().find(|&sensor| sensor as u8 == number)?;
        let data: &[u8; FEATURE_BYTES] = data.get(..FEATURE_BYTES)?.try_into().ok()?;
        if kind != FEATURE || data[0] != number {
            return None;
        }
        self.0[sensor as usize - 1] = SensorSettings {
            reporting: data[1],
            power: data[2],
            interval_millis: u32::from_le_bytes([data[3], data[4], data[5], data[6]]),
            sensitivity: u16::from_le_bytes([data[7], data[8]]),
        };
        Some(())
    }
}

/// Returns the input report with sample `number` at this time on the camera's clock. The first axis counts the samples, the
/// second one of the accelerometer has 1 g.
pub fn sample(sensor: Sensor, number: u32, time_us: u64) -> Vec<u8> {
    let down = if sensor == Sensor::Accelerometer { -GRAVITY } else { 0 };
    let mut report = vec![sensor as u8];
    report.extend([(number % VALUES) as i32, down, 0].map(i32::to_le_bytes).as_flattened());
    report.extend(time_us.to_le_bytes());
    report
}

/// Returns the interface with its HID descriptor; the endpoint follows it.
pub fn interface(number: u8) -> Vec<u8> {
    let mut bytes = vec![9, 4, number, 0, 1, 3, 0, 0, 0];
    bytes.extend(hid_descriptor());
    bytes
}

fn hid_descriptor() -> Vec<u8> {
    let mut bytes = vec![9, HID, 0x11, 0x01, 0, 1, REPORT];
    bytes.extend((report_descriptor().len() as u16).to_le_bytes());
    bytes
}

/// Returns a descriptor of the interface by its type. `None` for an unknown type.
pub fn descriptor(kind: u8) -> Option<Vec<u8>> {
    match kind {
        HID => Some(hid_descriptor()),
        REPORT => Some(report_descriptor()),
        _ => None,
    }
}

/// Describes the reports of both sensors.
fn report_descriptor() -> Vec<u8> {
    // Usage page Sensors, usage Sensor, collection Application.
    let mut bytes = vec![0x05, 0x20, 0x09, 0x01, 0xA1, 0x01];
    for sensor in Sensor::ALL {
        let (usage, first_axis, sensitivity) = sensor.usages();
        // A collection Physical with the number of the reports.
        bytes.extend([0x09, usage, 0xA1, 0x00, 0x85, sensor as u8]);
        // Reporting state and power state.
        bytes.extend(selectors(0x0316, 0x0840));
        bytes.extend(selectors(0x0319, 0x0850));
        // Interval, in milliseconds: one unsigned number of 32 bits.
        bytes.extend(usage_of(0x030E));
        bytes.extend([0x15, 0x00, 0x27, 0xFF, 0xFF, 0xFF, 0xFF, 0x75, 32, 0x95, 1, 0x55, 0, 0xB1, 0x02]);
        bytes.extend(usage_of(sensitivity));
        bytes.extend([0x15, 0x00, 0x27, 0xFF, 0xFF, 0x00, 0x00, 0x75, 16, 0x95, 1, 0x55, 0, 0xB1, 0x02]);
        // Three signed numbers: of 32 bits with firmware 5.16 or later, which librealsense expects then.
        for axis in 0..3 {
            bytes.extend(usage_of(first_axis + axis));
            bytes.extend([0x17, 0x00, 0x00, 0x00, 0x80, 0x27, 0xFF, 0xFF, 0xFF, 0x7F]);
            bytes.extend([0x75, 32, 0x95, 1, 0x55, 0x0D, 0x81, 0x02]);
        }
        // Time: 64 bits, with exponent -6.
        bytes.extend(usage_of(0x0529));
        bytes.extend([0x15, 0x00, 0x27, 0xFF, 0xFF, 0xFF, 0xFF, 0x75, 64, 0x95, 1, 0x55, 0x0A, 0x81, 0x02]);
        bytes.push(0xC0);
    }
    bytes.push(0xC0);
    bytes
}

/// Returns a usage of two bytes.
fn usage_of(usage: u16) -> [u8; 3] {
    let [low, high] = usage.to_le_bytes();
    [0x0A, low, high]
}

/// Returns a field of a feature report that selects one of six usages from `first` on, counted from 1.
fn selectors(property: u16, first: u16) -> Vec<u8> {
    let mut bytes = usage_of(property).to_vec();
    bytes.extend([0x15, 1, 0x25, 6, 0x75, 8, 0x95, 1, 0xA1, 0x02]);
    bytes.extend((first..first + 6).flat_map(usage_of));
    bytes.extend([0xB1, 0x00, 0xC0]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a report descriptor into items: prefix and data.
    fn items(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
        let mut all = Vec::new();
        while let Some((&prefix, rest)) = bytes.split_first() {
            let (data, after) = rest.split_at([0, 1, 2, 4][usize::from(prefix & 3)]);
            all.push((prefix, data));
            bytes = after;
        }
        all
    }

    #[test]
    fn reports_are_as_long_as_the_descriptor_says() {
        let descriptor = report_descriptor();
        let (mut number, mut size, mut depth) = (0, 0, 0);
        let mut bits = std::collections::BTreeMap::<_, u32>::new();
        for (prefix, data) in items(&descriptor) {
            match prefix {
                0x85 => number = data[0],
                0x75 => size = u32::from(data[0]),
                0x81 | 0xB1 => *bits.entry((number, prefix)).or_default() += size,
                0xA1 => depth += 1,
                0xC0 => depth -= 1,
                _ => {}
            }
        }
        assert_eq!(depth, 0);
        for sensor in Sensor::ALL {
            let report = |kind: u8| MotionSensors::default().report(u16::from_le_bytes([sensor as u8, kind]));
            assert_eq!(bits[&(sensor as u8, 0x81)] as usize, (report(INPUT).unwrap().len() - 1) * 8);
            assert_eq!(bits[&(sensor as u8, 0xB1)] as usize, (report(FEATURE).unwrap().len() - 1) * 8);
        }
        assert_eq!(bits.len(), 4);
        let hid = hid_descriptor();
        assert_eq!(usize::from(u16::from_le_bytes([hid[7], hid[8]])), descriptor.len());
    }

    #[test]
    fn a_sensor_is_on_with_full_power_and_all_events() {
        let mut sensors = MotionSensors::default();
        let feature = |number: u8| u16::from_le_bytes([number, FEATURE]);
        assert_eq!(sensors.rates(), [None, None]);
        let on = [2, ALL_EVENTS, FULL_POWER, 250, 0, 0, 0, 7, 0];
        assert_eq!(sensors.set_report(feature(2), &on), Some(()));
        assert_eq!(sensors.report(feature(2)).unwrap(), on);
        assert_eq!(sensors.rates(), [None, Some(400)]);
        assert_eq!(sensors.set_report(feature(1), &[1, ALL_EVENTS, 1, 0xF4, 1, 0, 0, 0, 0]), Some(()));
        assert_eq!(sensors.rates(), [None, Some(400)]);
        assert_eq!(
            sensors.set_report(feature(1), &[1, ALL_EVENTS, FULL_POWER, 0xF4, 1, 0, 0, 0, 0]),
            Some(())
        );
        assert_eq!(sensors.rates(), [Some(200), Some(400)]);
        assert_eq!(sensors.set_report(feature(1), &on), None);
        assert_eq!(sensors.set_report(feature(3), &[3; 9]), None);
        assert_eq!(sensors.set_report(feature(1), &on[..8]), None);
        assert_eq!(sensors.report(u16::from_le_bytes([1, 2])), None);
    }

    #[test]
    fn samples_count_on_the_first_axis() {
        let report = sample(Sensor::Accelerometer, 1002, 0x0102);
        assert_eq!(report, [1, 2, 0, 0, 0, 0x18, 0xFC, 0xFF, 0xFF, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(sample(Sensor::Gyroscope, 5, 0)[..6], [2, 5, 0, 0, 0, 0]);
    }
}
