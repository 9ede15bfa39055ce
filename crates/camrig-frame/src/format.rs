//! Formats of frames: everything about a format is defined in this file.
//!
//! To add an image format, add a variant of [`PixelFormat`] and its [`Facts`]; all other code asks for properties.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::{Name, Role};

/// Size of one point in a frame, in bytes: x, y and z in metres, each an `f32` in little endian, all 0 without depth;
/// red, green, blue; 255 if the color is known, otherwise 0.
pub const POINT_BYTES: u32 = 16;

/// Size of one motion sample in bytes: its time in nanoseconds, a `u64`, and the values along x, y and z, each an
/// `f32`, all in little endian. See [`MotionSample`](crate::MotionSample).
pub const SAMPLE_BYTES: u32 = 20;

/// The name of a codec, such as `mjpeg`.
pub type Codec = Name<16>;

/// The name of a message's schema, such as `camrig.Boxes`.
pub type SchemaName = Name<48>;

/// The encoding of a message, such as `json`.
pub type Encoding = Name<16>;

/// Motion JPEG: each frame is a JPEG image.
pub const MJPEG: Codec = Name::constant("mjpeg");

/// JSON text in UTF-8.
pub const JSON: Encoding = Name::constant("json");

/// Pixel format of an image, named as in librealsense if available there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PixelFormat {
    /// 3 bytes a pixel: red, green, blue.
    Rgb8,
    /// 3 bytes a pixel: blue, green, red.
    Bgr8,
    /// 4 bytes a pixel: red, green, blue, opacity.
    Rgba8,
    /// 4 bytes a pixel: blue, green, red, opacity.
    Bgra8,
    /// 4 bytes for two pixels: Y0, U, Y1, V.
    Yuyv,
    /// 4 bytes for two pixels: U, Y0, V, Y1.
    Uyvy,
    /// 1 byte a pixel: luminance.
    Y8,
    /// 2 bytes a pixel, little endian: luminance.
    Y16,
    /// 2 bytes a pixel, little endian: depth in depth units, 0 where there is no depth.
    Z16,
    /// 4 bytes a pixel, an `f32` in little endian: depth in metres, 0 where there is no depth.
    Distance,
    /// 4 bytes a pixel, an `f32` in little endian: disparity in pixels, 0 where there is no depth.
    Disparity32,
}

/// All properties of one image format.
struct Facts {
    name: &'static str,
    /// The encoding's name in ROS, which Foxglove's messages use.
    ros: &'static str,
    role: Role,
    /// Type of a channel.
    element: DType,
    /// Number of elements per pixel.
    channels: u32,
    /// Bytes per pixel on USB. RGB is converted from YUYV on the host.
    usb_bytes_per_pixel: u32,
    light: Option<Light>,
}

/// Conversion of the pixels of a light image to red, green and blue.
#[derive(Clone, Copy)]
pub(crate) enum Light {
    /// One byte each; the positions of red, green and blue.
    Rgb([usize; 3]),
    /// Luminance; the byte at this position has its eight highest bits.
    Luminance(usize),
    /// Luminance at this position of a pixel's two bytes, U at the other one in even columns, V in odd ones.
    Yuv422(usize),
}

impl PixelFormat {
    /// Every format.
    pub const ALL: [Self; 11] = [
        Self::Rgb8,
        Self::Bgr8,
        Self::Rgba8,
        Self::Bgra8,
        Self::Yuyv,
        Self::Uyvy,
        Self::Y8,
        Self::Y16,
        Self::Z16,
        Self::Distance,
        Self::Disparity32,
    ];

    const fn facts(self) -> Facts {
        match self {
            Self::Rgb8 => Facts::rgb("rgb8", 3, [0, 1, 2]),
            Self::Bgr8 => Facts::rgb("bgr8", 3, [2, 1, 0]),
            Self::Rgba8 => Facts::rgb("rgba8", 4, [0, 1, 2]),
            Self::Bgra8 => Facts::rgb("bgra8", 4, [2, 1, 0]),
            Self::Yuyv => Facts::yuv("yuyv", 0),
            Self::Uyvy => Facts::yuv("uyvy", 1),
            Self::Y8 => Facts::single("y8", "mono8", Role::Light, DType::U8),
            Self::Y16 => Facts::single("y16", "mono16", Role::Light, DType::U16),
            Self::Z16 => Facts::single("z16", "16UC1", Role::Depth, DType::U16),
            Self::Distance => Facts::single("distance", "32FC1", Role::Depth, DType::F32),
            Self::Disparity32 => Facts::single("disparity32", "32FC1", Role::Other, DType::F32),
        }
    }

    /// Returns the size of one pixel in bytes.
    pub const fn bytes_per_pixel(self) -> u32 {
        let facts = self.facts();
        facts.element.size_bytes() * facts.channels
    }

    /// Returns the size of one pixel in bytes on USB, as sent by a RealSense camera.
    pub const fn usb_bytes_per_pixel(self) -> u32 {
        self.facts().usb_bytes_per_pixel
    }

    /// Returns the format's name, such as `rgb8`.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Returns the format's name in ROS and in Foxglove's messages, such as `mono8`.
    pub const fn ros_name(self) -> &'static str {
        self.facts().ros
    }

    /// Returns the role of a stream in this format if its declaration specifies no other.
    pub const fn role(self) -> Role {
        self.facts().role
    }

    /// Returns the type of one channel of a pixel.
    pub const fn element(self) -> DType {
        self.facts().element
    }

    /// Returns the number of elements per pixel: 1 if it is a single number.
    pub const fn channels(self) -> u32 {
        self.facts().channels
    }

    /// Returns whether [`ColorView`](crate::ColorView) can convert it to red, green and blue.
    pub const fn is_light(self) -> bool {
        self.facts().light.is_some()
    }

    /// Returns the conversion to red, green and blue; `None` if it is not a light format.
    pub(crate) const fn light(self) -> Option<Light> {
        self.facts().light
    }

    /// Returns whether it is a light format with color.
    pub const fn is_colored(self) -> bool {
        matches!(self.facts().light, Some(Light::Rgb(_) | Light::Yuv422(_)))
    }

    /// Returns the format called `name`, such as `rgb8`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Encodes a pixel of this color, of which the first [`Self::bytes_per_pixel`] bytes are valid; `odd` is
    /// whether its column is odd, which selects between U and V. All zero if it is not a light format.
    pub fn encode_rgb(self, odd: bool, [red, green, blue]: [u8; 3]) -> [u8; 4] {
        let weigh = |[r, g, b]: [i32; 3], offset: i32| {
            let sum = r * i32::from(red) + g * i32::from(green) + b * i32::from(blue);
            (((sum + 128) >> 8) + offset) as u8
        };
        let mut pixel = [0; 4];
        match self.facts().light {
            Some(Light::Rgb(order)) => {
                pixel[3] = u8::MAX;
                order.into_iter().zip([red, green, blue]).for_each(|(at, value)| pixel[at] = value);
            }
            Some(Light::Luminance(at)) => pixel[at] = weigh([77, 150, 29], 0),
            // BT.601 in video range, the counterpart of `decode_rgb`.
            Some(Light::Yuv422(luma)) => {
                pixel[luma] = weigh([66, 129, 25], 16);
                let chroma = if odd { [112, -94, -18] } else { [-38, -74, 112] };
                pixel[1 - luma] = weigh(chroma, 128);
            }
            None => {}
        }
        pixel
    }

    /// Returns red, green and blue of a pixel; `pair` gives the even and the odd pixel of its pair. `None` where the format
    /// is not of light.
    pub(crate) fn decode_rgb<'a>(
        self,
        pixel: &'a [u8],
        pair: impl FnOnce() -> Option<(&'a [u8], Option<&'a [u8]>)>,
    ) -> Option<[u8; 3]> {
        Some(match self.facts().light? {
            Light::Rgb([red, green, blue]) => [pixel[red], pixel[green], pixel[blue]],
            Light::Luminance(at) => [pixel[at]; 3],
            Light::Yuv422(luma) => {
                let (even, odd) = pair()?;
                let chroma = 1 - luma;
                yuv_to_rgb(pixel[luma], even[chroma], odd.map_or(128, |pixel| pixel[chroma]))
            }
        })
    }
}

impl Facts {
    const fn rgb(name: &'static str, channels: u32, order: [usize; 3]) -> Self {
        let light = Some(Light::Rgb(order));
        let (role, element) = (Role::Light, DType::U8);
        Self { name, ros: name, role, element, channels, usb_bytes_per_pixel: 2, light }
    }

    const fn yuv(name: &'static str, luma: usize) -> Self {
        let light = Some(Light::Yuv422(luma));
        let (role, element) = (Role::Light, DType::U8);
        Self { name, ros: name, role, element, channels: 2, usb_bytes_per_pixel: 2, light }
    }

    const fn single(name: &'static str, ros: &'static str, role: Role, element: DType) -> Self {
        let size_bytes = element.size_bytes();
        let light = match role {
            Role::Light => Some(Light::Luminance(size_bytes as usize - 1)),
            _ => None,
        };
        Self { name, ros, role, element, channels: 1, usb_bytes_per_pixel: size_bytes, light }
    }
}

/// Converts by BT.601, video range, as librealsense unpacks YUYV (ITU-R BT.601-7, 8-bit, fixed point as in many codecs).
#[allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]
#[inline(always)]
pub(crate) fn yuv_to_rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
    let (luma, blue, red) = (298 * (i32::from(y) - 16) + 128, i32::from(u) - 128, i32::from(v) - 128);
    [luma + 409 * red, luma - 100 * blue - 208 * red, luma + 516 * blue]
        .map(|channel| (channel >> 8).clamp(0, 255) as u8)
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The type of an element of a tensor or of a channel of a pixel, in little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// IEEE 754, 16 bits.
    F16,
    /// IEEE 754, 32 bits.
    F32,
    /// IEEE 754, 64 bits.
    F64,
}

impl DType {
    /// Returns the type's name, its size in bytes and its name in files of `NumPy`.
    const fn facts(self) -> (&'static str, u32, &'static str) {
        match self {
            Self::U8 => ("u8", 1, "|u1"),
            Self::U16 => ("u16", 2, "<u2"),
            Self::U32 => ("u32", 4, "<u4"),
            Self::U64 => ("u64", 8, "<u8"),
            Self::I8 => ("i8", 1, "|i1"),
            Self::I16 => ("i16", 2, "<i2"),
            Self::I32 => ("i32", 4, "<i4"),
            Self::I64 => ("i64", 8, "<i8"),
            Self::F16 => ("f16", 2, "<f2"),
            Self::F32 => ("f32", 4, "<f4"),
            Self::F64 => ("f64", 8, "<f8"),
        }
    }

    /// Returns the type's name, such as `f32`.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// Returns the bytes that one element takes.
    pub const fn size_bytes(self) -> u32 {
        self.facts().1
    }

    /// Returns the type's name in files of `NumPy`, such as `<f4`.
    pub const fn numpy_name(self) -> &'static str {
        self.facts().2
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Format of a stream's frames, independent of their size. Displayed as one word, such as `z16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// An image.
    Image(PixelFormat),
    /// An image in the coding that the camera sends.
    Encoded(Codec),
    /// Points: `xyzrgb`.
    Points,
    /// Samples of motion: `motion`.
    Motion,
    /// A tensor with elements of this type: `tensor-f32`.
    Tensor(DType),
    /// A message with this schema.
    Message(SchemaName),
}

impl Format {
    /// The name of [`Self::Points`].
    pub const POINTS_NAME: &str = "xyzrgb";
    /// The name of [`Self::Motion`].
    pub const MOTION_NAME: &str = "motion";

    /// Returns the bytes that one pixel, point or sample takes on USB: those of a coded image are not known, and
    /// counted as if it were not coded.
    pub const fn usb_bytes_per_pixel(self) -> u32 {
        match self {
            Self::Image(format) => format.usb_bytes_per_pixel(),
            Self::Encoded(_) => PixelFormat::Yuyv.usb_bytes_per_pixel(),
            Self::Points => POINT_BYTES,
            Self::Motion => SAMPLE_BYTES,
            Self::Tensor(_) | Self::Message(_) => 0,
        }
    }

    /// Returns the role of a stream in this format whose declaration names no other.
    pub const fn role(self) -> Role {
        match self {
            Self::Image(format) => format.role(),
            Self::Encoded(_) => Role::Light,
            Self::Points => Role::Points,
            Self::Motion => Role::Motion,
            Self::Tensor(_) | Self::Message(_) => Role::Other,
        }
    }
}

impl From<PixelFormat> for Format {
    fn from(format: PixelFormat) -> Self {
        Self::Image(format)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(format) => f.pad(format.name()),
            Self::Encoded(codec) => f.pad(codec.as_str()),
            Self::Points => f.pad(Self::POINTS_NAME),
            Self::Motion => f.pad(Self::MOTION_NAME),
            Self::Tensor(dtype) => f.pad(&format!("tensor-{dtype}")),
            Self::Message(schema) => f.pad(schema.as_str()),
        }
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_found_by_its_name() {
        for format in PixelFormat::ALL {
            assert_eq!(PixelFormat::named(format.name()), Some(format));
            assert_eq!(format.bytes_per_pixel(), format.element().size_bytes() * format.channels());
        }
        assert_eq!(PixelFormat::named("xyzrgb"), None);
    }

    #[test]
    fn a_color_comes_back_from_each_format_of_light() {
        for format in PixelFormat::ALL.into_iter().filter(|format| format.is_light()) {
            let gray = [[235; 3], [128; 3], [16; 3]];
            for rgb in gray {
                let [even, odd] = [false, true].map(|odd| format.encode_rgb(odd, rgb));
                let back = format.decode_rgb(&even, || Some((&even, Some(&odd)))).unwrap();
                let off = back.iter().zip(rgb).map(|(a, b)| a.abs_diff(b)).max().unwrap();
                assert!(off <= 2, "{format}: {rgb:?} came back as {back:?}");
            }
        }
        let pixels = |format: PixelFormat| format.encode_rgb(false, [1, 2, 3]);
        assert_eq!(pixels(PixelFormat::Bgra8), [3, 2, 1, 255]);
        assert_eq!(pixels(PixelFormat::Rgb8)[..3], [1, 2, 3]);
        assert_eq!(pixels(PixelFormat::Z16), [0; 4]);
    }
}
