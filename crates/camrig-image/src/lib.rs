//! Encodes frames as pictures, PNG and JPEG files and depth in colors, and decodes those that are JPEGs.
//!
//! * [`Picture`]: a frame as a PNG file: color, gray, depth units with 16 bits, depth in colors
//! * [`jpeg()`], [`small_jpeg`], [`small_depth_jpeg`]: a frame as a JPEG, in its own size or smaller
//! * [`LightImage`]: a frame of light as red, green and blue, decoded if it is a JPEG
//! * [`Colorizer`]: the colors of depth
//! * [`small_rgb8`]: an image of light, smaller
//!
//! It does not depend on a file system, framesets or pages.
#![forbid(unsafe_code)]

mod coding;
mod colors;
mod jpeg;
mod light;
mod picture;
mod shrink;

pub use self::colors::Colorizer;
pub use self::jpeg::{JpegError, PictureError, jpeg, small_depth_jpeg, small_jpeg};
pub use self::light::{DecodeError, LightImage, decode_jpeg, jpeg_size};
pub use self::picture::Picture;
pub use self::shrink::small_rgb8;
