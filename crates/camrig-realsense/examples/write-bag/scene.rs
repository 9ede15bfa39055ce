//! What a software camera is and sees.
//!
//! What it sees is a pure function of the frame's number and the pixel: [`Scene::depth_pixels`],
//! [`Scene::color_pixels`] and [`Scene::infrared_pixels`].

use std::ffi::c_int;

use realsense_sys as rs2;

/// Which camera it is.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "only the tests look for one among several")]
pub(crate) struct Identity {
    pub(crate) model: &'static str,
    pub(crate) serial: &'static str,
    pub(crate) firmware: &'static str,
    pub(crate) usb_type: &'static str,
    /// As librealsense's V4L2 backend tells it.
    pub(crate) physical_port: &'static str,
    pub(crate) depth_unit_meters: f32,
}

impl Identity {
    /// A D405 at the USB port 2-1.3.
    pub(crate) const D405: Self = Self {
        model: "Intel RealSense D405",
        serial: "000000000042",
        firmware: "5.12.14.100",
        usb_type: "3.2",
        physical_port: "/sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1.3/2-1.3:1.0/video4linux/video0",
        depth_unit_meters: 0.0001,
    };

    /// A D435i at the USB port 2-4.
    pub(crate) const D435I: Self = Self {
        model: "Intel RealSense D435I",
        serial: "000000000045",
        physical_port: "/sys/devices/pci0000:00/0000:00:14.0/usb2/2-4/2-4:1.0/video4linux/video6",
        ..Self::D435
    };

    /// A D435 at the USB port 2-2.
    pub(crate) const D435: Self = Self {
        model: "Intel RealSense D435",
        serial: "000000000043",
        firmware: "5.16.0.1",
        usb_type: "3.2",
        physical_port: "/sys/devices/pci0000:00/0000:00:14.0/usb2/2-2/2-2:1.0/video4linux/video2",
        depth_unit_meters: 0.001,
    };
}

/// What a software camera is and sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) identity: Identity,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) frames_per_second: u32,
    /// How much later than depth each color frame is dated, in milliseconds.
    pub(crate) color_delay_millis: f64,
    /// The format of the left infrared stream, if there is one: `RS2_FORMAT_Y8` or `RS2_FORMAT_Y16`.
    pub(crate) infrared: Option<rs2::rs2_format>,
    /// Whether there is a right infrared stream too, which sees what the left one sees and 100 more.
    pub(crate) infrared_2: bool,
    /// Width, height and rate that each stream could have as well.
    pub(crate) also: &'static [(u32, u32, u32)],
    /// Whether color comes from the depth sensor, as that of a D405.
    pub(crate) one_sensor: bool,
    pub(crate) options: &'static [SoftwareOption],
    /// Whether it has motion sensors: see [`Scene::ACCEL_RATE`] and [`Scene::GYRO_RATE`].
    pub(crate) motion: bool,
    /// The distance of a flat wall that is all it sees, in metres.
    pub(crate) wall_meters: Option<f32>,
}

/// An option of a software camera.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftwareOption {
    /// Whether the color sensor has it, or the depth sensor.
    pub(crate) of_color: bool,
    pub(crate) option: rs2::rs2_option,
    /// Least, most, step and default.
    pub(crate) range: [f32; 4],
    pub(crate) writable: bool,
}

impl Scene {
    /// Samples of the motion sensors per second.
    pub(crate) const ACCEL_RATE: u32 = 100;
    pub(crate) const GYRO_RATE: u32 = 200;

    /// Color is this far to the right of depth, in metres.
    pub(crate) const BASELINE_METERS: f32 = 0.015;

    /// The Z16 image with this `number`: the wall, if there is one, or at column x and row y
    /// `1000 + 17 * number + x + 3 * y` modulo 2^16.
    pub(crate) fn depth_pixels(&self, number: u32) -> Vec<u8> {
        if let Some(meters) = self.wall_meters {
            let units = (meters / self.identity.depth_unit_meters).round() as u16;
            return self.pixels().flat_map(|_| units.to_le_bytes()).collect();
        }
        let unit = |x: u32, y: u32| (1000 + 17 * number + x + 3 * y) as u16;
        self.pixels().flat_map(|(x, y)| unit(x, y).to_le_bytes()).collect()
    }

    /// The RGB8 image with this `number`: at column x and row y, red is `x + number`, green `y + 2 * number`
    /// and blue `x + y + 3 * number`, each modulo 2^8.
    pub(crate) fn color_pixels(&self, number: u32) -> Vec<u8> {
        let rgb = |x: u32, y: u32| [x + number, y + 2 * number, x + y + 3 * number].map(|value| value as u8);
        self.pixels().flat_map(|(x, y)| rgb(x, y)).collect()
    }

    /// The infrared image with this `number`: all bytes are `number` modulo 2^8.
    pub(crate) fn infrared_pixels(&self, number: u32) -> Vec<u8> {
        let bytes_per_pixel = self.infrared.map_or(0, bytes_per_pixel);
        vec![number as u8; (self.width * self.height * bytes_per_pixel) as usize]
    }

    /// The timestamp of the depth frame with this `number`, in milliseconds of the device's clock.
    pub(crate) fn millis(&self, number: u32) -> f64 {
        1000.0 * f64::from(number) / f64::from(self.frames_per_second)
    }

    /// What sample `number` of a motion sensor shows: `number`, -9.8 and `number / 8`.
    pub(crate) fn xyz(number: u32) -> [f32; 3] {
        [number as f32, -9.8, number as f32 / 8.0]
    }

    /// The timestamp of sample `number` of so many a second, in milliseconds of the device's clock.
    pub(crate) fn sample_millis(number: u32, rate: u32) -> f64 {
        1000.0 * f64::from(number) / f64::from(rate)
    }

    fn pixels(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        let (width, height) = (self.width, self.height);
        (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)))
    }

    /// A pinhole in the middle of the image.
    pub(crate) fn intrinsics(&self) -> rs2::rs2_intrinsics {
        rs2::rs2_intrinsics {
            width: self.width as c_int,
            height: self.height as c_int,
            ppx: self.width as f32 / 2.0,
            ppy: self.height as f32 / 2.0,
            fx: self.width as f32,
            fy: self.width as f32,
            model: rs2::rs2_distortion_RS2_DISTORTION_BROWN_CONRADY,
            coeffs: [0.1, -0.2, 0.3, -0.4, 0.5],
        }
    }
}

/// Of the formats that software cameras have here.
pub(crate) fn bytes_per_pixel(format: rs2::rs2_format) -> u32 {
    match format {
        rs2::rs2_format_RS2_FORMAT_Y8 => 1,
        rs2::rs2_format_RS2_FORMAT_Z16
        | rs2::rs2_format_RS2_FORMAT_Y16
        | rs2::rs2_format_RS2_FORMAT_RAW16 => 2,
        rs2::rs2_format_RS2_FORMAT_RGB8 => 3,
        _ => panic!("a software camera has no format {format}"),
    }
}
