//! Encodes frames as pictures: PNG and JPEG files, and depth in colors.
//!
//! * [`Picture`]: a frame as a PNG file: color, gray, depth units with 16 bits, depth in colors
//! * [`jpeg()`], [`small_jpeg`], [`small_depth_jpeg`]: a frame as a JPEG, in its own size or smaller
//! * [`Colorizer`]: the colors of depth
//!
//! It knows no file system, no frameset and no page.
#![forbid(unsafe_code)]

mod colors;
mod jpeg;
mod picture;

pub use self::colors::Colorizer;
pub use self::jpeg::{JpegError, jpeg, small_depth_jpeg, small_jpeg};
pub use self::picture::Picture;
