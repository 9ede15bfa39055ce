//! The content of a frame and its size.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Codec, DType, Encoding, Format, POINT_BYTES, PixelFormat, SAMPLE_BYTES, SchemaName};

/// Maximum number of dimensions of a tensor.
pub const MAX_DIMENSIONS: usize = 8;

/// Maximum size of an encoded image in bytes per pixel, without its headers: that of the YUYV image that it encodes.
const ENCODED_BYTES_PER_PIXEL: u32 = 2;

/// Maximum size of the headers and tables of an encoded image, in bytes.
const ENCODED_HEADER_BYTES: u32 = 4096;

/// The content of a frame: kind, format and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// An image: rows of pixels from the top.
    Image {
        /// Pixel format.
        format: PixelFormat,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Bytes from the start of one row to the start of the next.
        stride_bytes: u32,
    },
    /// An image in compressed form, as sent by the camera.
    Encoded {
        /// The codec, such as `mjpeg`.
        codec: Codec,
        /// Width of the decoded image in pixels.
        width: u32,
        /// Height of the decoded image in pixels.
        height: u32,
        /// Size in bytes.
        size_bytes: u32,
    },
    /// Points of [`POINT_BYTES`] each, in rows like the depth image from which they were made.
    Points {
        /// Points in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Motion samples of [`SAMPLE_BYTES`] each, oldest first.
    Motion {
        /// Number of samples.
        samples: u32,
    },
    /// A dense array, the last dimension contiguous.
    Tensor {
        /// Element type.
        dtype: DType,
        /// The length of each dimension.
        shape: Shape,
    },
    /// A message, such as detections, a pose or a text.
    Message {
        /// Name of its schema, such as `camrig.Boxes`.
        schema: SchemaName,
        /// Its encoding, such as `json`.
        encoding: Encoding,
        /// Size in bytes.
        size_bytes: u32,
    },
}

impl Payload {
    /// Creates an image whose rows have no padding.
    pub const fn image(format: PixelFormat, width: u32, height: u32) -> Self {
        let stride_bytes = width.saturating_mul(format.bytes_per_pixel());
        Self::Image { format, width, height, stride_bytes }
    }

    /// Creates a payload from a format's name and rows, as in recordings and listings: an image, points or samples.
    pub fn of_rows(format: &str, width: u32, height: u32, stride_bytes: u32) -> Option<Self> {
        match format {
            Format::POINTS_NAME => Some(Self::Points { width, height }),
            Format::MOTION_NAME => Some(Self::Motion { samples: width }),
            _ => PixelFormat::named(format).map(|format| Self::Image { format, width, height, stride_bytes }),
        }
    }

    /// Returns the number of bytes from the start of one row of pixels, points or samples to the start of the
    /// next; `None` for payloads without rows.
    pub const fn stride_bytes(&self) -> Option<u32> {
        match *self {
            Self::Image { stride_bytes, .. } => Some(stride_bytes),
            Self::Points { width, .. } => Some(width.saturating_mul(POINT_BYTES)),
            Self::Motion { samples } => Some(samples.saturating_mul(SAMPLE_BYTES)),
            Self::Encoded { .. } | Self::Tensor { .. } | Self::Message { .. } => None,
        }
    }

    /// Returns the size of a row of pixels, points or samples in bytes, without padding; `None` for payloads
    /// without rows.
    pub const fn row_bytes(&self) -> Option<u32> {
        match *self {
            Self::Image { format, width, .. } => Some(width.saturating_mul(format.bytes_per_pixel())),
            _ => self.stride_bytes(),
        }
    }

    /// Returns width and height of an image or of rows of points; the number of samples and 1 for motion; `None`
    /// for tensors and messages.
    pub const fn size(&self) -> Option<(u32, u32)> {
        match *self {
            Self::Image { width, height, .. }
            | Self::Encoded { width, height, .. }
            | Self::Points { width, height } => Some((width, height)),
            Self::Motion { samples } => Some((samples, 1)),
            Self::Tensor { .. } | Self::Message { .. } => None,
        }
    }

    /// Returns the size of the frame in bytes, including row padding. Saturates.
    pub fn size_bytes(&self) -> u64 {
        match *self {
            Self::Encoded { size_bytes, .. } | Self::Message { size_bytes, .. } => size_bytes.into(),
            Self::Tensor { dtype, shape } => shape.elements().saturating_mul(dtype.size_bytes().into()),
            Self::Image { height, stride_bytes, .. } => u64::from(stride_bytes) * u64::from(height),
            Self::Points { width, height } => {
                (u64::from(width) * u64::from(height)).saturating_mul(POINT_BYTES.into())
            }
            Self::Motion { samples } => u64::from(samples) * u64::from(SAMPLE_BYTES),
        }
    }

    /// Returns the format, independent of the size.
    pub const fn format(&self) -> Format {
        match *self {
            Self::Image { format, .. } => Format::Image(format),
            Self::Encoded { codec, .. } => Format::Encoded(codec),
            Self::Points { .. } => Format::Points,
            Self::Motion { .. } => Format::Motion,
            Self::Tensor { dtype, .. } => Format::Tensor(dtype),
            Self::Message { schema, .. } => Format::Message(schema),
        }
    }

    /// Returns the format of an image; `None` for everything else.
    pub const fn pixel_format(&self) -> Option<PixelFormat> {
        match *self {
            Self::Image { format, .. } => Some(format),
            _ => None,
        }
    }

    /// Returns whether `actual` is valid for a frame of a stream that declares this payload as its largest: the
    /// format must be the same, and a variable length must not exceed the declared one. Images have exactly the declared
    /// size, points the declared width.
    pub fn admits(&self, actual: &Self) -> bool {
        if self.format() != actual.format() {
            return false;
        }
        match (self, actual) {
            (Self::Image { .. }, Self::Image { .. }) => self.size() == actual.size(),
            (&Self::Points { width, height }, Self::Points { width: actual, height: rows }) => {
                width == *actual && *rows <= height
            }
            (Self::Message { encoding: declared, .. }, Self::Message { encoding, .. }) => {
                declared == encoding && actual.size_bytes() <= self.size_bytes()
            }
            (Self::Encoded { .. }, Self::Encoded { .. }) => {
                self.size() == actual.size() && actual.size_bytes() <= self.size_bytes()
            }
            _ => actual.size_bytes() <= self.size_bytes(),
        }
    }
}

impl Format {
    /// Returns the payload of the largest frame of this size, with the width as the number of samples for motion;
    /// `None` if the size does not determine the payload. An encoded image takes at most 2 bytes per pixel and 4 KiB
    /// for its headers.
    pub const fn payload(self, width: u32, height: u32) -> Option<Payload> {
        match self {
            Self::Image(format) => Some(Payload::image(format, width, height)),
            Self::Points => Some(Payload::Points { width, height }),
            Self::Motion => Some(Payload::Motion { samples: width }),
            Self::Encoded(codec) => {
                let pixels = width.saturating_mul(height);
                let size_bytes =
                    pixels.saturating_mul(ENCODED_BYTES_PER_PIXEL).saturating_add(ENCODED_HEADER_BYTES);
                Some(Payload::Encoded { codec, width, height, size_bytes })
            }
            Self::Tensor(_) | Self::Message(_) => None,
        }
    }
}

/// Format and size, such as `z16 848x480` or `tensor-f32 1x30x40`.
impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor { shape, .. } => write!(f, "{} {shape}", self.format()),
            Self::Message { size_bytes, .. } => write!(f, "{} {size_bytes} bytes", self.format()),
            _ => {
                let (width, height) = self.size().unwrap_or_default();
                write!(f, "{} {width}x{height}", self.format())
            }
        }
    }
}

/// Length of each dimension of a tensor; at most [`MAX_DIMENSIONS`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    rank: u8,
    /// Zeros follow the used dimensions.
    lengths: [u32; MAX_DIMENSIONS],
}

impl Shape {
    /// Creates a shape with these lengths; returns `None` if there are more than [`MAX_DIMENSIONS`].
    pub fn new(lengths: &[u32]) -> Option<Self> {
        let mut all = [0; MAX_DIMENSIONS];
        all.get_mut(..lengths.len())?.copy_from_slice(lengths);
        Some(Self { rank: lengths.len() as u8, lengths: all })
    }

    /// Returns the length of each dimension.
    pub fn lengths(&self) -> &[u32] {
        &self.lengths[..usize::from(self.rank)]
    }

    /// Returns the number of elements; 1 without dimensions. Saturates.
    pub fn elements(&self) -> u64 {
        self.lengths().iter().fold(1, |product: u64, &length| product.saturating_mul(length.into()))
    }
}

/// Such as `1x30x40`; `scalar` without dimensions.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rank == 0 {
            return f.write_str("scalar");
        }
        for (index, length) in self.lengths().iter().enumerate() {
            write!(f, "{}{length}", if index > 0 { "x" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lengths()).finish()
    }
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.rank.into()))?;
        self.lengths().iter().try_for_each(|length| sequence.serialize_element(length))?;
        sequence.end()
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lengths;
        impl<'de> Visitor<'de> for Lengths {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_DIMENSIONS} lengths")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Shape, A::Error> {
                let (mut lengths, mut rank) = ([0; MAX_DIMENSIONS], 0);
                while let Some(length) = sequence.next_element()? {
                    let place = lengths.get_mut(rank);
                    *place.ok_or_else(|| de::Error::invalid_length(rank + 1, &self))? = length;
                    rank += 1;
                }
                Ok(Shape { rank: rank as u8, lengths })
            }
        }
        deserializer.deserialize_seq(Lengths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JSON, MJPEG, Name};

    #[test]
    fn each_kind_has_its_size_and_its_description() {
        let shape = Shape::new(&[1, 30, 40]).unwrap();
        let schema = Name::constant("camrig.Boxes");
        for (payload, size_bytes, shown) in [
            (Payload::image(PixelFormat::Z16, 5, 3), 30, "z16 5x3"),
            (Payload::image(PixelFormat::Bgra8, 5, 3), 60, "bgra8 5x3"),
            (Payload::Encoded { codec: MJPEG, width: 5, height: 3, size_bytes: 7 }, 7, "mjpeg 5x3"),
            (Payload::Points { width: 5, height: 3 }, 240, "xyzrgb 5x3"),
            (Payload::Motion { samples: 3 }, 60, "motion 3x1"),
            (Payload::Tensor { dtype: DType::F32, shape }, 4800, "tensor-f32 1x30x40"),
            (Payload::Message { schema, encoding: JSON, size_bytes: 9 }, 9, "camrig.Boxes 9 bytes"),
        ] {
            assert_eq!((payload.size_bytes(), payload.to_string().as_str()), (size_bytes, shown));
            assert!(payload.admits(&payload));
        }
        let huge = Shape::new(&[u32::MAX; MAX_DIMENSIONS]).unwrap();
        assert_eq!(Payload::Tensor { dtype: DType::F64, shape: huge }.size_bytes(), u64::MAX);
        assert_eq!(Shape::new(&[1; MAX_DIMENSIONS + 1]), None);
    }

    #[test]
    fn a_declaration_admits_frames_that_are_not_larger() {
        let motion = |samples| Payload::Motion { samples };
        assert!(motion(400).admits(&motion(3)) && !motion(3).admits(&motion(4)));
        let image = |width| Payload::image(PixelFormat::Y8, width, 2);
        assert!(!image(4).admits(&image(3)) && !image(4).admits(&motion(1)));
        let points = |width, height| Payload::Points { width, height };
        assert!(points(4, 3).admits(&points(4, 1)) && !points(4, 3).admits(&points(4, 4)));
        assert!(!points(4, 3).admits(&points(3, 3)));
        let largest = Format::Encoded(MJPEG).payload(4, 2).unwrap();
        let encoded = |width, size_bytes| Payload::Encoded { codec: MJPEG, width, height: 2, size_bytes };
        assert!(largest.admits(&encoded(4, 4112)) && !largest.admits(&encoded(4, 4113)));
        assert!(!largest.admits(&encoded(3, 1)));
        let tensor = |length| Payload::Tensor { dtype: DType::U8, shape: Shape::new(&[length, 4]).unwrap() };
        assert!(tensor(9).admits(&tensor(0)) && !tensor(9).admits(&tensor(10)));
    }

    #[test]
    fn rows_are_read_by_the_name_of_their_format() {
        let image = Payload::Image { format: PixelFormat::Y8, width: 4, height: 2, stride_bytes: 6 };
        assert_eq!(Payload::of_rows("y8", 4, 2, 6), Some(image));
        assert_eq!(Payload::of_rows("xyzrgb", 4, 2, 64), Some(Payload::Points { width: 4, height: 2 }));
        assert_eq!(Payload::of_rows("motion", 4, 1, 80), Some(Payload::Motion { samples: 4 }));
        assert_eq!(Payload::of_rows("y9", 4, 1, 80), None);
    }
}
