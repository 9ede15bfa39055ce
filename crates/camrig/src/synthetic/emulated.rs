//! The content of emulated RealSense cameras: shared by their emulator, which sends it, and by `verify`.
//!
//! An emulated camera shows the scene of the synthetic camera with its serial number, through the synthetic optics of its
//! model. Its calibration tables describe other optics: pixels are compared, not measured.

use camrig_frame::{CameraInfo, Metadata, PixelFormat, Role, Stream, StreamInfo, StreamProfile};

use super::Scene;
use super::model::Model;

/// The name of the driver that receives them.
const DRIVER: &str = "realsense";

/// Units of the frame interval of USB video per second: 100 nanoseconds each.
const INTERVALS_PER_SECOND: u32 = 10_000_000;

/// The streams of an emulated camera start at a multiple of this on its clock, in microseconds.
pub const START_STEP_MICROS: u64 = 10_000;

/// Returns the time from the start of the streams to frame `number`, on the camera's clock, in microseconds.
pub fn frame_micros(number: u64, frames_per_second: u32) -> u64 {
    u64::from(INTERVALS_PER_SECOND / frames_per_second.max(1)) * number / 10
}

/// The pictures of one emulated camera.
pub struct Pictures(Scene);

impl Pictures {
    /// Returns the pictures of a camera by the last word of its model, such as `D405`. `None` for other models, and for
    /// formats that no emulated camera has. All streams have the rate of the first.
    pub fn new(
        model: &str,
        serial: &str,
        streams: impl IntoIterator<Item = (Stream, PixelFormat, StreamProfile)>,
    ) -> Option<Self> {
        Scene::emulated(model, serial, streams).map(Self)
    }

    /// Renders frame `number` of `stream`, rows without padding.
    ///
    /// # Panics
    /// If the camera has no such stream, or `pixels` is not exactly as long as its frames.
    pub fn render(&self, stream: Stream, number: u64, pixels: &mut [u8]) {
        self.0.render(stream, number, &Metadata::EMPTY, pixels);
    }
}

impl Scene {
    /// Returns the scene of an emulated camera; `None` if `info` is not of one, or a stream was converted.
    pub(crate) fn of_emulated(info: &CameraInfo) -> Option<Self> {
        let image = |info: &StreamInfo| Some((info.stream, info.payload.pixel_format()?, info.profile()?));
        let images = info.streams.iter().filter(|info| info.role != Role::Motion).map(image);
        let images: Vec<_> = images.collect::<Option<_>>()?;
        let model = info.model.rsplit(' ').next()?;
        (info.driver == DRIVER).then(|| Self::emulated(model, &info.serial, images))?
    }

    fn emulated(
        model: &str,
        serial: &str,
        streams: impl IntoIterator<Item = (Stream, PixelFormat, StreamProfile)>,
    ) -> Option<Self> {
        let model = match model.to_ascii_uppercase().as_str() {
            "D405" => Model::D405,
            "D435" | "D455" => Model::D435,
            _ => return None,
        };
        let info = |(stream, format, profile)| match (stream, format) {
            (Stream::DEPTH, PixelFormat::Z16)
            | (Stream::COLOR, PixelFormat::Yuyv)
            | (Stream::INFRARED_1, PixelFormat::Y8) => model.stream_info(stream, format.into(), profile),
            _ => None,
        };
        let streams: Vec<_> = streams.into_iter().map(info).collect::<Option<_>>()?;
        Some(Self::new(model, serial, &streams))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_times_are_multiples_of_the_unit_of_usb_video() {
        assert_eq!(
            (frame_micros(3, 5), frame_micros(1, 15), frame_micros(15, 15)),
            (600_000, 66_666, 999_999)
        );
    }

    #[test]
    fn pictures_are_those_of_the_synthetic_camera_of_that_serial() {
        let profile = StreamProfile::new(64, 48, 15).unwrap();
        let streams =
            [(Stream::DEPTH, PixelFormat::Z16, profile), (Stream::COLOR, PixelFormat::Yuyv, profile)];
        let emulated = Pictures::new("d405", "230000001001", streams).unwrap();
        let infos = streams.map(|(stream, format, profile)| {
            Model::D405.stream_info(stream, format.into(), profile).unwrap()
        });
        let scene = Scene::new(Model::D405, "230000001001", &infos);
        for stream in [Stream::DEPTH, Stream::COLOR] {
            let (mut found, mut expected) = (vec![0; 64 * 48 * 2], vec![1; 64 * 48 * 2]);
            emulated.render(stream, 7, &mut found);
            scene.render(stream, 7, &Metadata::EMPTY, &mut expected);
            assert!(found == expected, "{stream}");
        }
        assert!(Pictures::new("d415", "1", streams).is_none());
        assert!(Pictures::new("D455", "1", [(Stream::COLOR, PixelFormat::Rgb8, profile)]).is_none());
    }
}
