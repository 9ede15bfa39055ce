//! The description of a software camera and of its images.
//!
//! Its images are a pure function of the frame's number and the pixel: [`Scene::depth_pixels`],
//! [`Scene::color_pixels`] and [`Scene::infrared_pixels`].

use std::ffi::c_int;

use realsense_sys as rs2;

/// The identity of a camera.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "only the tests look for one among several")]
pub(crate) struct Identity {
    pub(crate) model: &'static str,
    pub(crate) serial: &'static str,
    pub(crate) firmware: &'static str,
    pub(crate) usb_type: &'static str,
    /// The port as librealsense's V4L2 backend reports it.
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

/// The description of a software camera and of its images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) identity: Identity,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) frames_per_second: u32,
    /// The delay of each color frame's timestamp against depth, in milliseconds.
    pub(crate) color_delay_millis: f64,
    /// The format of the left infrared stream: `RS2_FORMAT_Y8` or `RS2_FORMAT_Y16`; `None` without the stream.
    pub(crate) infrared: Option<rs2::rs2_format>,
    /// Whether there is a right infrared stream too, whose images are those of the left one 100 frames later.
    pub(crate) infrared_2: bool,
    /// Further streams, and further formats of streams.
    pub(crate) extra: &'static [ExtraStream],
    /// Width, height and rate of further profiles of each stream.
    pub(crate) also: &'static [(u32, u32, u32)],
    /// Whether color comes from the depth sensor, as in a D405.
    pub(crate) one_sensor: bool,
    pub(crate) options: &'static [SoftwareOption],
    /// Whether it has motion sensors: see [`Scene::ACCEL_RATE`] and [`Scene::GYRO_RATE`].
    pub(crate) motion: bool,
    /// The time of image 0, in milliseconds since 1970: images have times of the global clock then.
    pub(crate) begin_millis: Option<f64>,
    /// Number of first images whose times are those of the host, although later ones are of the global clock.
    pub(crate) unsettled: u32,
    /// The distance of a flat wall that fills all images, in metres.
    pub(crate) wall_meters: Option<f32>,
}

/// A further stream of a software camera, or a stream in a further format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtraStream {
    pub(crate) kind: rs2::rs2_stream,
    pub(crate) index: c_int,
    pub(crate) format: rs2::rs2_format,
    /// Whether it belongs to the color sensor or to the depth sensor.
    pub(crate) of_color: bool,
}

/// An option of a software camera.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftwareOption {
    /// Whether it belongs to the color sensor or to the depth sensor.
    pub(crate) of_color: bool,
    pub(crate) option: rs2::rs2_option,
    /// Minimum, maximum, step and default.
    pub(crate) range: [f32; 4],
    pub(crate) writable: bool,
}

impl Scene {
    /// Samples of the motion sensors per second.
    pub(crate) const ACCEL_RATE: u32 = 100;
    pub(crate) const GYRO_RATE: u32 = 200;

    /// The distance from depth to color, to the right, in metres.
    pub(crate) const BASELINE_METERS: f32 = 0.015;

    /// Returns the Z16 image `number`: the wall, or at column x and row y `1000 + 17 * number + x + 3 * y` modulo 2^16.
    pub(crate) fn depth_pixels(&self, number: u32) -> Vec<u8> {
        if let Some(meters) = self.wall_meters {
            let units = (meters / self.identity.depth_unit_meters).round() as u16;
            return self.pixels().flat_map(|_| units.to_le_bytes()).collect();
        }
        let unit = |x: u32, y: u32| (1000 + 17 * number + x + 3 * y) as u16;
        self.pixels().flat_map(|(x, y)| unit(x, y).to_le_bytes()).collect()
    }

    /// Returns the RGB8 image `number`: at column x and row y, red is `x + number`, green `y + 2 * number` and blue
    /// `x + y + 3 * number`, each modulo 2^8.
    pub(crate) fn color_pixels(&self, number: u32) -> Vec<u8> {
        let rgb = |x: u32, y: u32| [x + number, y + 2 * number, x + y + 3 * number].map(|value| value as u8);
        self.pixels().flat_map(|(x, y)| rgb(x, y)).collect()
    }

    /// Returns the infrared image `number`: all bytes are `number` modulo 2^8.
    pub(crate) fn infrared_pixels(&self, number: u32) -> Vec<u8> {
        let bytes_per_pixel = self.infrared.map_or(0, bytes_per_pixel);
        vec![number as u8; (self.width * self.height * bytes_per_pixel) as usize]
    }

    /// Returns image `number` of the extra stream at `index`: byte k is `number + k + 31 * index` modulo 2^8. The length of
    /// an encoded image varies.
    #[allow(dead_code, reason = "only the tests have extra streams")]
    pub(crate) fn extra_pixels(&self, index: usize, number: u32) -> Vec<u8> {
        let format = self.extra[index].format;
        let mut row_bytes = self.width * bytes_per_pixel(format);
        if format == rs2::rs2_format_RS2_FORMAT_MJPEG {
            row_bytes += number % 5;
        }
        (0..row_bytes * self.height).map(|byte| (number + byte + 31 * index as u32) as u8).collect()
    }

    /// Returns the timestamp of depth frame `number`, in milliseconds of the device's clock.
    pub(crate) fn millis(&self, number: u32) -> f64 {
        1000.0 * f64::from(number) / f64::from(self.frames_per_second)
    }

    /// Returns sample `number` of a motion sensor: `number`, -9.8 and `number / 8`.
    pub(crate) fn xyz(number: u32) -> [f32; 3] {
        [number as f32, -9.8, number as f32 / 8.0]
    }

    /// Returns the timestamp of sample `number` at this rate, in milliseconds of the device's clock.
    pub(crate) fn sample_millis(number: u32, rate: u32) -> f64 {
        1000.0 * f64::from(number) / f64::from(rate)
    }

    fn pixels(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        let (width, height) = (self.width, self.height);
        (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)))
    }

    /// Returns a pinhole model with its center in the middle of the image.
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

/// Returns the size of a pixel in the formats of software cameras.
pub(crate) fn bytes_per_pixel(format: rs2::rs2_format) -> u32 {
    match format {
        rs2::rs2_format_RS2_FORMAT_Y8
        | rs2::rs2_format_RS2_FORMAT_RAW8
        | rs2::rs2_format_RS2_FORMAT_MJPEG => 1,
        rs2::rs2_format_RS2_FORMAT_Z16
        | rs2::rs2_format_RS2_FORMAT_Y16
        | rs2::rs2_format_RS2_FORMAT_YUYV
        | rs2::rs2_format_RS2_FORMAT_UYVY
        | rs2::rs2_format_RS2_FORMAT_RAW16 => 2,
        rs2::rs2_format_RS2_FORMAT_RGB8 | rs2::rs2_format_RS2_FORMAT_BGR8 => 3,
        rs2::rs2_format_RS2_FORMAT_RGBA8 | rs2::rs2_format_RS2_FORMAT_BGRA8 => 4,
        _ => panic!("a software camera has no format {format}"),
    }
}
