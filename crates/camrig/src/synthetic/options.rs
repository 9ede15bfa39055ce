//! Options of a synthetic camera and their validation.

use std::time::Duration;

use camrig_frame::{
    Format, MAX_FRAMESET_BYTES, ParseProfileError, PixelFormat, Role, Stream, StreamInfo, StreamProfile,
};
#[cfg(any(test, feature = "program"))]
use camrig_usb::UsbDemand;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::controls::{Controls, EXPOSURE, GAIN};
use super::formats::{ColorFormat, InfraredFormat};
use super::model::Model;
#[cfg(any(test, feature = "program"))]
use crate::driver::DeviceProfile;
use crate::error::WrongOptions;

/// Returns the option that sets the profile of a stream.
fn option_of(stream: Stream) -> &'static str {
    match stream {
        Stream::DEPTH => "depth",
        Stream::COLOR => "color",
        _ => "infrared",
    }
}

/// Maximum time in an option.
const MAX_SECONDS: f64 = 1e6;
/// Maximum start delay.
const MAX_START_DELAY_MILLIS: f64 = 3_600_000.0;
/// Maximum offset of the hardware clock in either direction, which is its value at the start of the camera.
const MAX_SKEW_MILLIS: f64 = 60_000.0;
/// Maximum drift of the clock; that of a real one is less than 100.
const MAX_DRIFT_PPM: f64 = 10_000.0;
/// Maximum share of lost framesets: some must remain.
const MAX_DROP_RATE: f64 = 0.99;
/// Twelve digits, like the serial numbers of D400 cameras.
const SERIALS: u64 = 1_000_000_000_000;

/// The options of the streams of images.
const IMAGE_OPTIONS: [&str; 3] = ["depth", "color", "infrared"];

/// The options of [`Synthetic`](super::Synthetic): the camera's properties, and faults of real cameras for tests.
///
/// `camrig list` shows them with their defaults. For a camera that is not paced, times refer to the timestamps of its
/// frames.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticOptions {
    /// The model that is imitated; `any` takes every size and rate.
    pub(super) model: Model,
    /// The serial number, which selects the scene; by default it follows from the camera's name.
    serial: Option<String>,
    /// The serial number as a number, which is filled up to twelve digits.
    #[schemars(range(max = SERIALS - 1))]
    seed: Option<u64>,
    /// The profile of the depth stream, such as `848x480@30`, or `off`.
    depth: Choice,
    /// The profile of the color stream, or `off`.
    color: Choice,
    /// The format of the color stream.
    color_format: ColorFormat,
    /// The profile of the stream infrared-1, or `off`.
    infrared: Choice,
    /// The format of the stream infrared-1.
    infrared_format: InfraredFormat,
    /// The rate of the accelerometer, for models that have one; without it the sensor is off.
    #[schemars(extend("x-unit" = "samples/s"))]
    accel: Option<u32>,
    /// The rate of the gyroscope, for models that have one; without it the sensor is off.
    #[schemars(extend("x-unit" = "samples/s"))]
    gyro: Option<u32>,
    /// The time for which light is collected; without it and `gain` the camera adapts it to the scene.
    #[schemars(range(min = EXPOSURE.least, max = EXPOSURE.most), extend("x-unit" = "us"))]
    exposure: Option<u32>,
    /// The gain of the sensors; 16 is none.
    #[schemars(range(min = GAIN.least, max = GAIN.most))]
    gain: Option<u32>,
    /// Whether the projector is on; without it depth is missing where the scene has no texture.
    emitter: bool,
    /// Delivers framesets at the profiles' rate; `false` delivers them as fast as the readers take them.
    pub(super) paced: bool,
    /// Ends the camera after this number of framesets.
    pub(super) frames: Option<u64>,
    /// Unplugs the camera at this time after the start, once.
    #[schemars(range(min = 0.0, max = MAX_SECONDS), extend("x-unit" = "s"))]
    unplug_at: Option<f64>,
    /// Plugs the camera in again at this time after `unplug_at`; without it the camera stays away.
    #[schemars(range(min = 0.0, max = MAX_SECONDS), extend("x-unit" = "s"))]
    replug_after: Option<f64>,
    /// Delivers nothing more from this time after the start, without a failure, once.
    #[schemars(range(min = 0.0, max = MAX_SECONDS), extend("x-unit" = "s"))]
    stall_at: Option<f64>,
    /// The stream that stalls at `stall_at` while the others continue; without it all streams stall.
    stall_stream: Option<String>,
    /// Keeps a stalled camera silent until its device is reset, however often it is opened.
    pub(super) wedge_until_reset: bool,
    /// The share of framesets that the device loses.
    #[schemars(range(min = 0.0, max = MAX_DROP_RATE))]
    pub(super) drop_rate: f64,
    /// The time by which the hardware clock is ahead; negative when it is behind.
    #[schemars(range(min = -MAX_SKEW_MILLIS, max = MAX_SKEW_MILLIS), extend("x-unit" = "ms"))]
    clock_skew: f64,
    /// The rate by which the hardware clock is too fast; negative when it is too slow.
    #[schemars(range(min = -MAX_DRIFT_PPM, max = MAX_DRIFT_PPM), extend("x-unit" = "ppm"))]
    clock_drift_ppm: f64,
    /// The time from the start to the first frameset.
    #[schemars(range(min = 0.0, max = MAX_START_DELAY_MILLIS), extend("x-unit" = "ms"))]
    start_delay: f64,
}

impl Default for SyntheticOptions {
    fn default() -> Self {
        Self {
            model: Model::default(),
            serial: None,
            seed: None,
            depth: Choice::default(),
            color: Choice::default(),
            color_format: ColorFormat::default(),
            infrared: Choice(None),
            infrared_format: InfraredFormat::default(),
            accel: None,
            gyro: None,
            exposure: None,
            gain: None,
            emitter: true,
            paced: true,
            frames: None,
            unplug_at: None,
            replug_after: None,
            stall_at: None,
            stall_stream: None,
            wedge_until_reset: false,
            drop_rate: 0.0,
            clock_skew: 0.0,
            clock_drift_ppm: 0.0,
            start_delay: 0.0,
        }
    }
}

/// Value for a stream that is disabled.
const OFF: &str = "off";

/// The profile of a stream, or `off`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
struct Choice(Option<StreamProfile>);

impl Default for Choice {
    fn default() -> Self {
        // A constant with valid values.
        Self(StreamProfile::new(848, 480, 30).ok())
    }
}

impl From<Choice> for String {
    fn from(Choice(profile): Choice) -> Self {
        profile.map_or_else(|| OFF.to_owned(), |profile| profile.to_string())
    }
}

impl TryFrom<String> for Choice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == OFF {
            return Ok(Self(None));
        }
        text.parse().map(|profile| Self(Some(profile))).map_err(|error: ParseProfileError| match error {
            ParseProfileError::Syntax(_) => format!("{error}, nor `off`"),
            ParseProfileError::Size { .. } | ParseProfileError::Rate(_) => error.to_string(),
        })
    }
}

impl SyntheticOptions {
    pub(super) fn check(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        self.check_identity(&mut wrong);
        self.check_streams(&mut wrong);
        self.check_times(&mut wrong);
        wrong.or_ok()
    }

    fn check_identity(&self, wrong: &mut WrongOptions) {
        if self.serial.is_some() && self.seed.is_some() {
            let message = "options `serial` and `seed` both select the scene; give one of them";
            wrong.add(["serial", "seed"], message);
        }
        if let Some(seed) = self.seed.filter(|&seed| seed >= SERIALS) {
            wrong.add(["seed"], format!("seed {seed} is out of range; it must be 0 to {}", SERIALS - 1));
        }
        let sensible = |serial: &str| {
            (1..=32).contains(&serial.len()) && serial.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if let Some(serial) = self.serial.as_ref().filter(|serial| !sensible(serial)) {
            let shown: String = serial.chars().take(40).flat_map(char::escape_default).collect();
            wrong.add(["serial"], format!("serial `{shown}` is not of 1 to 32 letters and digits"));
        }
    }

    fn check_streams(&self, wrong: &mut WrongOptions) {
        for (stream, rate) in self.motion() {
            if let Err(message) = self.model.check_motion(stream, rate) {
                wrong.add([stream.name(), "model"], message);
            }
        }
        let streams = self.streams();
        let images = || streams.iter().filter(|info| info.role != Role::Motion);
        let Some(first) = images().next() else {
            let message =
                "every stream of images is off; a camera has at least one of `color`, `depth`, `infrared`";
            return wrong.add(IMAGE_OPTIONS, message);
        };
        for info in images() {
            let (Some(own), Some(shared)) = (info.profile(), first.profile()) else { continue };
            if let Err(message) = self.model.check(info.stream, own) {
                wrong.add([option_of(info.stream), "model"], message);
            }
            if info.frames_per_second != first.frames_per_second {
                let message = format!(
                    "{} `{shared}` and {} `{own}` have different rates; the streams of a camera share one",
                    first.stream, info.stream,
                );
                wrong.add([option_of(info.stream), option_of(first.stream)], message);
            }
        }
        let frameset_bytes: u64 = streams.iter().map(|info| info.payload.size_bytes()).sum();
        if frameset_bytes > MAX_FRAMESET_BYTES as u64 {
            let message = format!(
                "the streams make framesets of {} MiB; one has at most {} MiB",
                frameset_bytes.div_ceil(1 << 20),
                MAX_FRAMESET_BYTES >> 20,
            );
            wrong.add(IMAGE_OPTIONS, message);
        }
        for (name, value, range) in [("exposure", self.exposure, EXPOSURE), ("gain", self.gain, GAIN)] {
            if let Some(value) = value.filter(|value| !(range.least..=range.most).contains(value)) {
                let message =
                    format!("{name} {value} is out of range; it must be {} to {}", range.least, range.most);
                wrong.add([name], message);
            }
        }
        if self.frames == Some(0) {
            wrong.add(["frames"], "frames 0 is out of range; it must be 1 or more");
        }
    }

    fn check_times(&self, wrong: &mut WrongOptions) {
        if self.replug_after.is_some() && self.unplug_at.is_none() {
            let message = "option `replug_after` needs `unplug_at`: only an unplugged camera can come back";
            wrong.add(["replug_after", "unplug_at"], message);
        }
        self.check_stall_stream(wrong);
        if self.wedge_until_reset && self.stall_at.is_none() {
            let message = "option `wedge_until_reset` needs `stall_at`, the time of the stall";
            wrong.add(["wedge_until_reset", "stall_at"], message);
        }
        for (name, value, range) in [
            ("unplug_at", self.unplug_at, 0.0..=MAX_SECONDS),
            ("replug_after", self.replug_after, 0.0..=MAX_SECONDS),
            ("stall_at", self.stall_at, 0.0..=MAX_SECONDS),
            ("drop_rate", Some(self.drop_rate), 0.0..=MAX_DROP_RATE),
            ("clock_skew", Some(self.clock_skew), -MAX_SKEW_MILLIS..=MAX_SKEW_MILLIS),
            ("clock_drift_ppm", Some(self.clock_drift_ppm), -MAX_DRIFT_PPM..=MAX_DRIFT_PPM),
            ("start_delay", Some(self.start_delay), 0.0..=MAX_START_DELAY_MILLIS),
        ] {
            // No range contains NaN.
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                let (least, most) = (range.start(), range.end());
                wrong.add([name], format!("{name} {value} is out of range; it must be {least} to {most}"));
            }
        }
    }

    fn check_stall_stream(&self, wrong: &mut WrongOptions) {
        let Some(name) = &self.stall_stream else { return };
        if self.stall_at.is_none() {
            let message = "option `stall_stream` needs `stall_at`, the time of the stall";
            wrong.add(["stall_stream"], message);
        }
        let streams = self.streams();
        if streams.len() < 2 || streams.iter().all(|info| info.stream.name() != name) {
            let names: Vec<_> = streams.iter().map(|info| format!("`{}`", info.stream)).collect();
            let message = format!(
                "stall_stream `{name}` is not one of several streams of the camera; it has: {}",
                names.join(", ")
            );
            wrong.add(["stall_stream"], message);
        }
    }

    /// Returns the values of the controls at the start.
    pub(super) fn controls(&self) -> Controls {
        Controls::new(self.exposure, self.gain, self.emitter)
    }

    /// Returns the serial number in these options, independent of the camera's name.
    pub(super) fn given_serial(&self) -> Option<String> {
        self.serial.clone().or_else(|| self.seed.map(serial_of))
    }

    /// Returns the serial number of the camera called `name`.
    pub(super) fn serial(&self, name: &str) -> String {
        self.given_serial().unwrap_or_else(|| serial_of(super::hash_bytes(name.as_bytes()) % SERIALS))
    }

    /// Returns the enabled streams, in the order of a frameset.
    pub(super) fn streams(&self) -> Vec<StreamInfo> {
        let images = self
            .choices()
            .into_iter()
            .filter_map(|(stream, format, Choice(profile))| Some((stream, format, profile?)));
        let images =
            images.filter_map(|(stream, format, profile)| self.model.stream_info(stream, format, profile));
        let motion = self.motion().map(|(stream, rate)| Model::motion_info(stream, rate));
        images.chain(motion).collect()
    }

    /// Returns the USB demand of the imitated camera, so that planning can be tested too.
    // `camrig plan` asks all drivers so.
    #[allow(clippy::unnecessary_wraps)]
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn usb_demand(&self) -> Option<UsbDemand> {
        Some(UsbDemand {
            serial: self.given_serial(),
            port: None,
            name: None,
            refuses_usb2: false,
            streams: self.streams().iter().filter_map(DeviceProfile::of).collect(),
            profiles: self.profiles(),
        })
    }

    /// Returns the possible profiles of each image stream; empty for a model of any size and rate.
    #[cfg(any(test, feature = "program"))]
    pub(super) fn profiles(&self) -> Vec<DeviceProfile> {
        let all = |(stream, format, _): (Stream, Format, Choice)| {
            let profiles = self.model.profiles(stream);
            profiles.map(move |profile| DeviceProfile { stream, format, profile })
        };
        self.choices().into_iter().flat_map(all).collect()
    }

    /// Returns the enabled motion streams, with their samples per second.
    fn motion(&self) -> impl Iterator<Item = (Stream, u32)> {
        let rates = [(Stream::ACCEL, self.accel), (Stream::GYRO, self.gyro)];
        rates.into_iter().filter_map(|(stream, rate)| Some((stream, rate?)))
    }

    /// Returns each image stream, in the order of a frameset.
    fn choices(&self) -> [(Stream, Format, Choice); 3] {
        [
            (Stream::COLOR, self.color_format.0, self.color),
            (Stream::DEPTH, PixelFormat::Z16.into(), self.depth),
            (Stream::INFRARED_1, self.infrared_format.0, self.infrared),
        ]
    }

    /// Returns the time at which the camera is unplugged, in run time; [`Duration::MAX`] for never.
    pub(super) fn unplug_at(&self) -> Duration {
        self.unplug_at.map_or(Duration::MAX, Duration::from_secs_f64)
    }

    /// Returns the time until it is plugged in again; [`Duration::MAX`] for never.
    pub(super) fn replug_after(&self) -> Duration {
        self.replug_after.map_or(Duration::MAX, Duration::from_secs_f64)
    }

    /// Returns the time at which the camera stalls, in run time; [`Duration::MAX`] for never.
    pub(super) fn stall_at(&self) -> Duration {
        self.stall_at.map_or(Duration::MAX, Duration::from_secs_f64)
    }

    /// Returns the stream that stalls; `None` for all streams.
    pub(super) fn stall_stream(&self) -> Option<&str> {
        self.stall_stream.as_deref()
    }

    /// Returns the time of the first frame, in run time.
    pub(super) fn start_delay_nanos(&self) -> u64 {
        nanos(self.start_delay) as u64
    }

    /// Returns the value of the hardware clock at `nanos` after the camera's start by an exact clock.
    pub(super) fn hardware_nanos(&self, true_nanos: u64) -> u64 {
        let drift = (true_nanos as f64 * self.clock_drift_ppm * 1e-6).round() as i64;
        // Never negative: the maximum skew is subtracted from the initial value.
        nanos(MAX_SKEW_MILLIS + self.clock_skew) as u64 + true_nanos.saturating_add_signed(drift)
    }
}

/// Converts milliseconds, which have been checked to be in range, to nanoseconds.
fn nanos(millis: f64) -> i64 {
    (millis * 1e6).round() as i64
}

fn serial_of(seed: u64) -> String {
    format!("{seed:012}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<SyntheticOptions, String> {
        let options: SyntheticOptions = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        options.check().map_err(|error| error.to_string())?;
        Ok(options)
    }

    #[test]
    fn everything_has_a_default() {
        let options = checked("").unwrap();
        let streams: Vec<_> = options
            .streams()
            .iter()
            .map(|info| format!("{} {} {}", info.stream, info.format(), info.profile().unwrap()))
            .collect();
        assert_eq!(streams, ["color rgb8 848x480@30", "depth z16 848x480@30"]);
        assert_eq!(options.given_serial(), None);
        assert_eq!(options.serial("left").len(), 12);
        assert_ne!(options.serial("left"), options.serial("right"));
        assert_eq!(checked("seed = 7").unwrap().serial("left"), "000000000007");
        assert_eq!(checked("serial = '943222071836'").unwrap().serial("left"), "943222071836");
    }

    #[test]
    fn integers_are_times_too_and_every_fault_can_be_given() {
        let options = checked(
            "unplug_at = 2\nstall_at = 1.5\ndrop_rate = 0.1\n\
             clock_skew = -12.5\nclock_drift_ppm = 40\nstart_delay = 100",
        )
        .unwrap();
        assert_eq!(options.unplug_at(), Duration::from_secs(2));
        assert_eq!(options.stall_at(), Duration::from_millis(1500));
        assert_eq!(options.start_delay_nanos(), 100_000_000);
        assert_eq!(
            options.hardware_nanos(1_000_000_000),
            60_000_000_000 - 12_500_000 + 1_000_000_000 + 40_000
        );
        let behind = checked("clock_skew = -60000\nclock_drift_ppm = -10000").unwrap();
        assert_eq!((behind.hardware_nanos(0), behind.hardware_nanos(100)), (0, 99));
    }

    #[test]
    fn senseless_options_are_refused_with_the_choices() {
        for (text, message) in [
            ("serial = '1'\nseed = 1", "options `serial` and `seed` both select the scene; give one of them"),
            ("seed = 1000000000000", "seed 1000000000000 is out of range; it must be 0 to 999999999999"),
            ("serial = ''", "serial `` is not of 1 to 32 letters and digits"),
            ("serial = 'a b'", "serial `a b` is not of 1 to 32 letters and digits"),
            (
                "color = 'off'\ndepth = 'off'",
                "every stream of images is off; a camera has at least one of `color`, `depth`, `infrared`",
            ),
            (
                "model = 'any'\naccel = 100\ncolor = 'off'\ndepth = 'off'",
                "every stream of images is off; a camera has at least one of `color`, `depth`, `infrared`",
            ),
            ("accel = 100", "model `d435` has no motion sensors; `d435i` and `any` have"),
            ("model = 'd405'\ngyro = 200", "model `d405` has no motion sensors; `d435i` and `any` have"),
            ("model = 'd435i'\ngyro = 100", "model `d435i` has no gyro rate 100; expected one of: 200, 400"),
            (
                "model = 'any'\naccel = 0",
                "accel: frame rate 0 is out of range; it must be 1 to 1000 frames per second",
            ),
            (
                "color = '640x480@60'",
                "color `640x480@60` and depth `848x480@30` have different rates; the streams of a camera \
                 share one",
            ),
            (
                "model = 'd405'\ndepth = '848x481@30'",
                "model `d405` has no depth profile `848x481@30`; nearest: `848x480@30`, `848x480@15`",
            ),
            ("depth = 'of'", "stream profile `of` is not of the form `640x480@30`, nor `off`"),
            ("depth = '0x1@1'", "image size 0x1 is out of range; each side must be 1 to 8192 pixels"),
            (
                "model = 'any'\ncolor = '8192x8192@30'\ndepth = '8192x8192@30'",
                "the streams make framesets of 320 MiB; one has at most 256 MiB",
            ),
            ("frames = 0", "frames 0 is out of range; it must be 1 or more"),
            ("unplug_at = -1", "unplug_at -1 is out of range; it must be 0 to 1000000"),
            (
                "replug_after = 1",
                "option `replug_after` needs `unplug_at`: only an unplugged camera can come back",
            ),
            ("stall_stream = 'color'", "option `stall_stream` needs `stall_at`, the time of the stall"),
            (
                "stall_at = 1\nstall_stream = 'gyro'",
                "stall_stream `gyro` is not one of several streams of the camera; it has: `color`, `depth`",
            ),
            (
                "wedge_until_reset = true",
                "option `wedge_until_reset` needs `stall_at`, the time of the stall",
            ),
            ("stall_at = nan", "stall_at NaN is out of range; it must be 0 to 1000000"),
            ("stall_at = inf", "stall_at inf is out of range; it must be 0 to 1000000"),
            ("drop_rate = 1", "drop_rate 1 is out of range; it must be 0 to 0.99"),
            ("clock_skew = 1e9", "clock_skew 1000000000 is out of range; it must be -60000 to 60000"),
            (
                "clock_drift_ppm = -10001",
                "clock_drift_ppm -10001 is out of range; it must be -10000 to 10000",
            ),
            ("start_delay = -0.1", "start_delay -0.1 is out of range; it must be 0 to 3600000"),
            ("model = 'd455'", "unknown variant `d455`, expected one of `d405`, `d435`, `d435i`, `any`"),
        ] {
            assert_eq!(checked(text).unwrap_err(), message);
        }
        assert!(checked("sead = 1").unwrap_err().starts_with("unknown field `sead`"));
    }
}
