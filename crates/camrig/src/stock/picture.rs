//! Frames as PNG files: color, colorized depth, and raw depth.
//!
//! This module only encodes; the caller decides the file's name and folder.

use std::io;

use camrig_frame::{ColorView, DepthView, Frame};
use png::{BitDepth, ColorType};

use super::colorize::Colorizer;

/// Keyword of the text chunk in a depth file that gives the depth unit in metres. Without it, the values of a D405
/// could not be distinguished from those of other models.
const DEPTH_UNIT_KEYWORD: &str = "Depth unit meters";

/// A frame prepared for encoding as PNG.
pub struct Picture<'a> {
    frame: Frame<'a>,
    format: (ColorType, BitDepth),
    pixels: Vec<u8>,
    depth_unit_meters: Option<f32>,
}

impl<'a> Picture<'a> {
    /// A color or infrared frame, as red, green and blue.
    pub fn color(color: &ColorView<'a>) -> Self {
        Self::rgb8(color.frame(), color.to_rgb8())
    }

    /// Depth mapped to colors, for viewing.
    pub fn colorized(depth: &DepthView<'a>, colors: &Colorizer) -> Self {
        Self::rgb8(depth.frame(), colors.to_rgb8(depth))
    }

    /// The raw depth values, 16 bits each, with the depth unit.
    pub fn depth16(depth: &DepthView<'a>) -> Self {
        // PNG stores the high byte first.
        let pixels = depth.iter_units().flat_map(u16::to_be_bytes).collect();
        let format = (ColorType::Grayscale, BitDepth::Sixteen);
        Self { frame: depth.frame(), format, pixels, depth_unit_meters: Some(depth.unit_meters()) }
    }

    fn rgb8(frame: Frame<'a>, pixels: Vec<u8>) -> Self {
        Self { frame, format: (ColorType::Rgb, BitDepth::Eight), pixels, depth_unit_meters: None }
    }

    /// Encodes the picture as a PNG file.
    ///
    /// # Errors
    /// If the frame has no pixels, or their size does not match the format.
    pub fn to_png(&self) -> io::Result<Vec<u8>> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.frame.width(), self.frame.height());
        let (color_type, bit_depth) = self.format;
        encoder.set_color(color_type);
        encoder.set_depth(bit_depth);
        // A slow processor drops framesets; disk space is less critical.
        encoder.set_compression(png::Compression::Fast);
        if let Some(meters) = self.depth_unit_meters {
            encoder.add_text_chunk(DEPTH_UNIT_KEYWORD.to_owned(), meters.to_string())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(file)
    }
}
