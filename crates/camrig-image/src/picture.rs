//! Frames as PNG files: color, gray, depth units, and depth in colors.

use std::borrow::Cow;
use std::io;

use camrig_frame::{ColorView, DType, DepthView, Frame, PixelFormat};
use png::{BitDepth, ColorType};

use crate::Colorizer;
use crate::shrink::{size, step};

/// The keyword of the text chunk that holds the depth unit in metres. Depth units differ between models.
const DEPTH_UNIT_KEYWORD: &str = "Depth unit meters";

/// The content of a PNG file.
pub struct Picture<'a> {
    width: u32,
    height: u32,
    format: (ColorType, BitDepth),
    /// Rows without padding, 16-bit numbers with the high byte first.
    pixels: Cow<'a, [u8]>,
    depth_unit_meters: Option<f32>,
}

impl<'a> Picture<'a> {
    /// Returns a color or infrared frame as red, green and blue.
    pub fn color(color: &ColorView<'a>) -> Self {
        let frame = color.frame();
        if frame.payload().pixel_format() == Some(PixelFormat::Rgb8) {
            return Self::rgb8(frame, without_padding(frame));
        }
        Self::rgb8(frame, color.to_rgb8())
    }

    /// Returns depth in colors.
    pub fn colorized(depth: &DepthView<'a>, colors: &Colorizer) -> Self {
        Self::rgb8(depth.frame(), colors.to_rgb8(depth))
    }

    /// Returns depth units with 16 bits each, and the depth unit as a text chunk.
    pub fn depth16(depth: &DepthView<'_>) -> Self {
        let pixels: Vec<_> = depth.iter_units().flat_map(u16::to_be_bytes).collect();
        let format = (ColorType::Grayscale, BitDepth::Sixteen);
        let picture = Self::new(depth.frame(), format, pixels);
        Self { depth_unit_meters: Some(depth.unit_meters()), ..picture }
    }

    /// Returns depth with 16 bits, this many units in a metre, and the depth unit as a text chunk. Depth of more than
    /// 65535 units counts as missing.
    pub fn depth_scaled(depth: &DepthView<'_>, units_per_meter: f32) -> Self {
        let unit = |meters: f32| Some((meters * units_per_meter).round()).filter(|&units| units <= 65535.0);
        // The cast of a number in this range is exact.
        let units = |meters: Option<f32>| meters.and_then(unit).unwrap_or(0.0) as u16;
        let pixels: Vec<_> = depth.iter_meters().flat_map(|meters| units(meters).to_be_bytes()).collect();
        let format = (ColorType::Grayscale, BitDepth::Sixteen);
        let picture = Self::new(depth.frame(), format, pixels);
        Self { depth_unit_meters: Some(1.0 / units_per_meter), ..picture }
    }

    /// Returns a frame with its own numbers: color as red, green and blue, anything else in gray with 8 or 16 bits. `None`
    /// when the frame is not an image, or PNG does not have its numbers.
    pub fn plain(frame: Frame<'a>) -> Option<Self> {
        let format = frame.payload().pixel_format()?;
        if let Some(color) = ColorView::new(frame).filter(|_| format.is_colored()) {
            return Some(Self::color(&color));
        }
        match (format.element(), format.channels()) {
            (DType::U8, 1) => {
                Some(Self::new(frame, (ColorType::Grayscale, BitDepth::Eight), without_padding(frame)))
            }
            (DType::U16, 1) => {
                let mut pixels = without_padding(frame).into_owned();
                pixels.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair.reverse());
                Some(Self::new(frame, (ColorType::Grayscale, BitDepth::Sixteen), pixels))
            }
            _ => None,
        }
    }

    /// Returns the numbers of an 8-bit gray frame, about `width` pixels wide but no wider than the frame. It skips pixels
    /// instead of averaging them: a mean of two classes would be another class. `None` for another format.
    pub fn small_classes(frame: Frame<'_>, width: u32) -> Option<Self> {
        if frame.payload().pixel_format()? != PixelFormat::Y8 {
            return None;
        }
        let step = step(frame, width);
        let (columns, rows) = size(frame, step);
        let row =
            |row: &'_ [u8]| row.iter().copied().step_by(step).take(columns as usize).collect::<Vec<_>>();
        let pixels: Vec<_> = frame.rows().step_by(step).take(rows as usize).flat_map(row).collect();
        let format = (ColorType::Grayscale, BitDepth::Eight);
        Some(Self { width: columns, height: rows, format, pixels: pixels.into(), depth_unit_meters: None })
    }

    fn rgb8(frame: Frame<'_>, pixels: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::new(frame, (ColorType::Rgb, BitDepth::Eight), pixels)
    }

    fn new(frame: Frame<'_>, format: (ColorType, BitDepth), pixels: impl Into<Cow<'a, [u8]>>) -> Self {
        let pixels = pixels.into();
        Self { width: frame.width(), height: frame.height(), format, pixels, depth_unit_meters: None }
    }

    /// Returns the file.
    ///
    /// # Errors
    /// When the frame has no pixels.
    pub fn to_png(&self) -> io::Result<Vec<u8>> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width, self.height);
        let (color_type, bit_depth) = self.format;
        encoder.set_color(color_type);
        encoder.set_depth(bit_depth);
        // A slow processor drops framesets, so speed matters more than size: a filter chosen for each row takes half as long
        // again, for files that are a tenth smaller.
        encoder.set_compression(png::Compression::Fastest);
        if let Some(meters) = self.depth_unit_meters {
            encoder.add_text_chunk(DEPTH_UNIT_KEYWORD.to_owned(), meters.to_string())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(file)
    }
}

/// Returns the rows of an image, one after another, without a copy if they are contiguous. Byte by byte the copy would take
/// longer than the compression.
fn without_padding(frame: Frame<'_>) -> Cow<'_, [u8]> {
    let row_bytes: usize = frame.rows().next().map_or(0, <[u8]>::len);
    let bytes = frame.bytes();
    if row_bytes * frame.height() as usize == bytes.len() {
        return Cow::Borrowed(bytes);
    }
    let rows: Vec<&[u8]> = frame.rows().collect();
    Cow::Owned(rows.concat())
}
