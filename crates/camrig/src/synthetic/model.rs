//! The synthetic models: profiles, optics, depth unit.
//!
//! It does not depend on the scene.

use camrig_frame::{
    Distortion, Extrinsics, Format, Intrinsics, Payload, Role, Stream, StreamInfo, StreamProfile,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model of camera that the synthetic driver imitates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Model {
    /// Short range, 0.1 mm depth unit; color comes from the depth module.
    D405,
    /// Room range, 1 mm depth unit; color has a narrower field of view than depth.
    #[default]
    D435,
    /// A D435 with motion sensors.
    D435i,
    /// A D435i of any size and rate, for tests with tiny frames.
    Any,
}

/// An image size with the rates at which a model delivers it.
struct Mode {
    width: u32,
    height: u32,
    rates: &'static [u32],
}

const fn mode(width: u32, height: u32, rates: &'static [u32]) -> Mode {
    Mode { width, height, rates }
}

/// The profiles that librealsense's own tests give to a D405, the same for all its streams.
const D405_MODES: &[Mode] = &[
    mode(1280, 720, &[5, 15, 30]),
    mode(848, 480, &[5, 15, 30, 60, 90]),
    mode(640, 480, &[5, 15, 30, 60, 90]),
    mode(640, 360, &[5, 15, 30, 60, 90]),
    mode(480, 270, &[5, 15, 30, 60, 90]),
    mode(424, 240, &[5, 15, 30, 60, 90]),
];

/// The D400 series' data sheet, depth and infrared of a D435 on USB 3.
const D435_DEPTH_MODES: &[Mode] = &[
    mode(1280, 720, &[6, 15, 30]),
    mode(848, 480, &[6, 15, 30, 60, 90]),
    mode(640, 480, &[6, 15, 30, 60, 90]),
    mode(640, 360, &[6, 15, 30, 60, 90]),
    mode(480, 270, &[6, 15, 30, 60, 90]),
    mode(424, 240, &[6, 15, 30, 60, 90]),
];

/// The D400 series' data sheet, color of a D435 on USB 3.
const D435_COLOR_MODES: &[Mode] = &[
    mode(1920, 1080, &[6, 15, 30]),
    mode(1280, 720, &[6, 15, 30]),
    mode(960, 540, &[6, 15, 30, 60]),
    mode(848, 480, &[6, 15, 30, 60]),
    mode(640, 480, &[6, 15, 30, 60]),
    mode(640, 360, &[6, 15, 30, 60]),
    mode(424, 240, &[6, 15, 30, 60]),
    mode(320, 240, &[6, 15, 30, 60]),
];

/// The rates of motion of a D435i, according to librealsense for the newer of its two sensors.
const D435I_ACCEL_RATES: &[u32] = &[100, 200];
const D435I_GYRO_RATES: &[u32] = &[200, 400];

/// A field of view as the tangents of half its angles, for the whole 16:9 sensor.
struct FieldOfView {
    half_width: f64,
    half_height: f64,
}

/// 87 x 58 degrees: the D400 series' data sheet, depth of a D405 and a D435. tan 43.5, tan 29.
const WIDE: FieldOfView = FieldOfView { half_width: 0.948_964_6, half_height: 0.554_309_1 };

/// 69 x 42 degrees: the D400 series' data sheet, color of a D435. tan 34.5, tan 21.
const NARROW: FieldOfView = FieldOfView { half_width: 0.687_281_0, half_height: 0.383_864_0 };

/// Number of profiles that an error suggests.
const SUGGESTIONS: usize = 2;

impl Model {
    const ALL: [Self; 4] = [Self::D405, Self::D435, Self::D435i, Self::Any];

    /// Returns the model's name in options.
    const fn option(self) -> &'static str {
        match self {
            Self::D405 => "d405",
            Self::D435 => "d435",
            Self::D435i => "d435i",
            Self::Any => "any",
        }
    }

    /// Returns the model's name in [`CameraInfo`](camrig_frame::CameraInfo).
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::D405 => "Synthetic D405",
            Self::D435 => "Synthetic D435",
            Self::D435i => "Synthetic D435I",
            Self::Any => "Synthetic",
        }
    }

    /// Returns the model with this name in [`CameraInfo`](camrig_frame::CameraInfo).
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }

    /// Returns the default depth unit, in metres.
    pub(super) const fn depth_unit_meters(self) -> f32 {
        match self {
            Self::D405 => 0.0001,
            Self::D435 | Self::D435i | Self::Any => 0.001,
        }
    }

    /// Returns the scale of the scene. A D405 measures 7 to 50 cm, so its room is a tenth as large.
    pub(super) const fn world_scale(self) -> f64 {
        match self {
            Self::D405 => 0.1,
            Self::D435 | Self::D435i | Self::Any => 1.0,
        }
    }

    /// Checks that the model has a profile.
    ///
    /// # Errors
    /// A message with the nearest profiles: nearest in size first, then in rate.
    pub(super) fn check(self, stream: Stream, profile: StreamProfile) -> Result<(), String> {
        let Some(modes) = self.modes(stream) else { return Ok(()) };
        let distance = |mode: &Mode, rate: u32| {
            let sides = mode.width.abs_diff(profile.width()) + mode.height.abs_diff(profile.height());
            (sides, rate.abs_diff(profile.frames_per_second()))
        };
        let mut choices: Vec<_> = modes
            .iter()
            .flat_map(|mode| mode.rates.iter().map(move |&rate| (distance(mode, rate), mode, rate)))
            .collect();
        choices.sort_by_key(|&(distance, ..)| distance);
        if choices.first().is_some_and(|&(distance, ..)| distance == (0, 0)) {
            return Ok(());
        }
        let nearest: Vec<_> = choices
            .iter()
            .take(SUGGESTIONS)
            .map(|(_, mode, rate)| format!("`{}x{}@{rate}`", mode.width, mode.height))
            .collect();
        let own_name = self.option();
        Err(format!(
            "model `{own_name}` has no {stream} profile `{profile}`; nearest: {}",
            nearest.join(", ")
        ))
    }

    /// Checks that the model measures motion at this rate, in samples per second.
    ///
    /// # Errors
    /// A message with the model's rates, or with the models that have motion sensors.
    pub(super) fn check_motion(self, stream: Stream, rate: u32) -> Result<(), String> {
        let rates = match (self, stream) {
            (Self::D405 | Self::D435, _) => {
                let own_name = self.option();
                return Err(format!("model `{own_name}` has no motion sensors; `d435i` and `any` have"));
            }
            (Self::D435i, Stream::ACCEL) => D435I_ACCEL_RATES,
            (Self::D435i, _) => D435I_GYRO_RATES,
            (Self::Any, _) => {
                return StreamProfile::of_motion(rate)
                    .map(drop)
                    .map_err(|error| format!("{stream}: {error}"));
            }
        };
        if rates.contains(&rate) {
            return Ok(());
        }
        let rates: Vec<_> = rates.iter().map(u32::to_string).collect();
        Err(format!(
            "model `{}` has no {stream} rate {rate}; expected one of: {}",
            self.option(),
            rates.join(", ")
        ))
    }

    /// Returns the description of one stream of images; `None` for a format of other content. All streams share one
    /// viewpoint.
    pub(super) fn stream_info(
        self,
        stream: Stream,
        format: Format,
        profile: StreamProfile,
    ) -> Option<StreamInfo> {
        Some(StreamInfo {
            intrinsics: Some(self.intrinsics(stream, profile)),
            to_depth: Some(Extrinsics::IDENTITY),
            ..StreamInfo::with_profile(stream, format, profile)?
        })
    }

    /// Returns the declaration of a stream of motion.
    pub(super) fn motion_info(stream: Stream, rate: u32) -> StreamInfo {
        StreamInfo { to_depth: Some(Extrinsics::IDENTITY), ..StreamInfo::motion(stream, rate) }
    }

    /// Returns whether synthetic cameras have streams of this name.
    pub(super) fn shows(stream: Stream) -> bool {
        [Stream::COLOR, Stream::DEPTH, Stream::INFRARED_1, Stream::ACCEL, Stream::GYRO].contains(&stream)
    }

    /// Returns whether a camera of this model declares such a stream.
    pub(super) fn declares(self, info: &StreamInfo) -> bool {
        match (info.payload, info.profile()) {
            (Payload::Image { .. } | Payload::Encoded { .. }, Some(profile)) => {
                let format = info.format();
                (format.role() == Role::Depth) == (info.stream == Stream::DEPTH)
                    && self.stream_info(info.stream, format, profile) == Some(*info)
            }
            (Payload::Motion { .. }, _) => Self::motion_info(info.stream, info.frames_per_second) == *info,
            _ => false,
        }
    }

    /// Returns the pinhole model of a stream: the largest centered part of the 16:9 sensor with the profile's aspect ratio,
    /// scaled to the profile's size. Focal lengths follow from the documented fields of view.
    fn intrinsics(self, stream: Stream, profile: StreamProfile) -> Intrinsics {
        let field = match (self, stream) {
            (Self::D435 | Self::D435i | Self::Any, Stream::COLOR) => NARROW,
            _ => WIDE,
        };
        let (width, height) = (profile.width(), profile.height());
        let zoom = (f64::from(width) / 16.0).max(f64::from(height) / 9.0);
        Intrinsics {
            width,
            height,
            ppx: (width - 1) as f32 / 2.0,
            ppy: (height - 1) as f32 / 2.0,
            fx: (zoom * 8.0 / field.half_width) as f32,
            fy: (zoom * 4.5 / field.half_height) as f32,
            distortion: Distortion::None,
            coefficients: [0.0; 5],
        }
    }

    /// Returns every profile of a stream; empty if it accepts every size and rate.
    #[cfg(any(test, feature = "program"))]
    pub(super) fn profiles(self, stream: Stream) -> impl Iterator<Item = StreamProfile> {
        let modes = self.modes(stream).unwrap_or_default().iter();
        // The tables contain only valid sizes and rates.
        modes.flat_map(|mode| {
            mode.rates.iter().filter_map(|&rate| StreamProfile::new(mode.width, mode.height, rate).ok())
        })
    }

    /// Returns the modes of a stream; `None` if it accepts every size and rate.
    fn modes(self, stream: Stream) -> Option<&'static [Mode]> {
        match (self, stream) {
            (Self::Any, _) => None,
            (Self::D405, _) => Some(D405_MODES),
            (Self::D435 | Self::D435i, Stream::COLOR) => Some(D435_COLOR_MODES),
            (Self::D435 | Self::D435i, _) => Some(D435_DEPTH_MODES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsupported_profile_names_the_nearest() {
        for (model, stream, profile, message) in [
            (
                Model::D405,
                Stream::DEPTH,
                "848x481@30",
                "model `d405` has no depth profile `848x481@30`; nearest: `848x480@30`, `848x480@15`",
            ),
            (
                Model::D435,
                Stream::COLOR,
                "1920x1080@60",
                "model `d435` has no color profile `1920x1080@60`; nearest: `1920x1080@30`, `1920x1080@15`",
            ),
            (
                Model::D435,
                Stream::INFRARED_1,
                "640x480@5",
                "model `d435` has no infrared-1 profile `640x480@5`; nearest: `640x480@6`, `640x480@15`",
            ),
        ] {
            assert_eq!(model.check(stream, profile.parse().unwrap()), Err(message.to_owned()));
        }
        for (model, stream, profile) in [
            (Model::D405, Stream::COLOR, "1280x720@5"),
            (Model::D435, Stream::DEPTH, "848x480@90"),
            (Model::Any, Stream::COLOR, "17x3@1000"),
        ] {
            assert_eq!(model.check(stream, profile.parse().unwrap()), Ok(()));
        }
    }

    #[test]
    fn the_fields_of_view_are_the_documented_ones() {
        for (model, stream, profile, degrees) in [
            (Model::D435, Stream::COLOR, "1920x1080@30", (69.0, 42.0)),
            (Model::D435, Stream::DEPTH, "1280x720@30", (87.0, 58.0)),
            (Model::D405, Stream::COLOR, "640x360@30", (87.0, 58.0)),
        ] {
            let lens = model.intrinsics(stream, profile.parse().unwrap());
            let angle = |side: u32, focal: f32| (side as f32 / 2.0 / focal).atan().to_degrees() * 2.0;
            let (wide, high) = (angle(lens.width, lens.fx), angle(lens.height, lens.fy));
            assert!((wide - degrees.0).abs() < 0.01 && (high - degrees.1).abs() < 0.01, "{wide} x {high}");
        }
        // 4:3 is cropped from the sides of the sensor, not squeezed.
        let full = Model::D435.intrinsics(Stream::DEPTH, "848x480@30".parse().unwrap());
        let cut = Model::D435.intrinsics(Stream::DEPTH, "640x480@30".parse().unwrap());
        assert!((full.fx / cut.fx - 1.0).abs() < 0.01 && (full.fy / cut.fy - 1.0).abs() < 0.01);
    }
}
