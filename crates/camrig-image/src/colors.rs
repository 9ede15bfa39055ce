//! The colors of depth: near is red, far is blue, no depth is black.
//!
//! The colormap is Turbo (Anton Mikhailov, "Turbo, An Improved Rainbow Colormap for Visualization", Google AI
//! Blog, 2019), computed with the polynomial of degree 5 that Ruofei Du fitted to it and that was published with it
//! (<https://gist.github.com/mikhailov-work/0d177465a8151eb6ede1768d51d476c7>).

use camrig_frame::{DepthView, PixelFormat};

use crate::shrink::size;

/// The colors of depth within a range of metres. Depths outside of the range have the color of its nearer end.
pub struct Colorizer {
    min_meters: f32,
    max_meters: f32,
    /// From near to far.
    palette: [[u8; 3]; 256],
}

impl Colorizer {
    /// The color of a pixel without depth.
    pub const NONE: [u8; 3] = [0; 3];

    /// Creates colors from `min_meters`, red, to `max_meters`, blue. Returns `None` unless
    /// 0 <= minimum < maximum < infinity.
    pub fn new(min_meters: f32, max_meters: f32) -> Option<Self> {
        // The comparisons refuse NaN too.
        if !(0.0 <= min_meters && min_meters < max_meters && max_meters.is_finite()) {
            return None;
        }
        let palette = std::array::from_fn(|index| {
            // Omits both dark ends of the Turbo color map, so that far depth does not look like missing depth.
            turbo(0.9 - 0.8 * index as f32 / 255.0)
        });
        Some(Self { min_meters, max_meters, palette })
    }

    /// Returns the color of one depth.
    pub fn color_of(&self, meters: f32) -> [u8; 3] {
        let far = (meters - self.min_meters) / (self.max_meters - self.min_meters);
        let place = far.clamp(0.0, 1.0) * 255.0;
        // Rounded, by the cast, which drops the fraction: a call of `round` takes most of the time.
        let below = place as u8;
        let rounds_up = place - f32::from(below) >= 0.5;
        self.palette[usize::from(below) + usize::from(rounds_up)]
    }

    /// Returns the image as RGB8, 3 bytes per pixel, row by row without padding.
    pub fn to_rgb8(&self, depth: &DepthView<'_>) -> Vec<u8> {
        self.of_each(depth, 1)
    }

    /// Returns the color of the first pixel in every square of `step` pixels, as [`Self::to_rgb8`] does. Drops incomplete
    /// squares at the right and the bottom.
    pub(crate) fn of_each(&self, depth: &DepthView<'_>, step: usize) -> Vec<u8> {
        let frame = depth.frame();
        let (width, height) = size(frame, step);
        let row_bytes = width as usize * 3;
        let mut rgb = vec![0; height as usize * row_bytes];
        let table = self.table(depth, width as usize * height as usize);
        let rows = (0..).zip(frame.rows()).step_by(step).zip(rgb.chunks_exact_mut(row_bytes.max(1)));
        for ((y, row), colors) in rows {
            let (colors, _) = colors.as_chunks_mut::<3>();
            match &table {
                Some(table) if step == 1 => table.write(row, colors),
                Some(table) => {
                    let depths = row.as_chunks::<2>().0.iter().step_by(step);
                    depths.zip(colors).for_each(|(depth, color)| *color = table.color_of(*depth));
                }
                None => {
                    for (x, color) in (0..).step_by(step).zip(colors) {
                        *color = depth.meters(x, y).map_or(Self::NONE, |meters| self.color_of(meters));
                    }
                }
            }
        }
        rgb
    }

    /// Returns the colors of all depth units; `None` for depth in metres, and where fewer `pixels` would use them.
    fn table(&self, depth: &DepthView<'_>, pixels: usize) -> Option<Table> {
        if depth.frame().payload().pixel_format() != Some(PixelFormat::Z16) {
            return None;
        }
        let unit_meters = depth.unit_meters();
        // One more, since both this and the product below are rounded. The cast saturates.
        let farthest = ((self.max_meters / unit_meters).ceil() as u16).saturating_add(1);
        if usize::from(farthest) > pixels {
            return None;
        }
        let color = |units: u16| self.color_of(f32::from(units) * unit_meters);
        Some(Table(std::iter::once(Self::NONE).chain((1..=farthest).map(color)).map(packed).collect()))
    }
}

/// The color of each number of depth units; the last one is that of all larger numbers.
struct Table(Vec<u32>);

/// The pixels that are written at a time: their colors are whole words.
const PIXELS: usize = 4;

impl Table {
    fn get(&self, depth: [u8; 2]) -> u32 {
        let units = usize::from(u16::from_le_bytes(depth));
        self.0[units.min(self.0.len() - 1)]
    }

    fn color_of(&self, depth: [u8; 2]) -> [u8; 3] {
        let [red, green, blue, _] = self.get(depth).to_le_bytes();
        [red, green, blue]
    }

    /// Writes the colors of a row of depth units.
    fn write(&self, row: &[u8], colors: &mut [[u8; 3]]) {
        let (depths, _) = row.as_chunks::<2>();
        let ((depths, last), (colors, last_colors)) =
            (depths.as_chunks::<PIXELS>(), colors.as_chunks_mut::<PIXELS>());
        for (depths, colors) in depths.iter().zip(colors) {
            let [a, b, c, d] = depths.map(|depth| self.get(depth));
            let words = [a | b << 24, b >> 8 | c << 16, c >> 16 | d << 8];
            let bytes = colors.as_flattened_mut().as_chunks_mut::<4>().0;
            bytes.iter_mut().zip(words).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
        }
        last.iter().zip(last_colors).for_each(|(depth, color)| *color = self.color_of(*depth));
    }
}

fn packed([red, green, blue]: [u8; 3]) -> u32 {
    u32::from_le_bytes([red, green, blue, 0])
}

/// Returns Turbo at `x`, from 0, dark blue, to 1, dark red.
fn turbo(x: f32) -> [u8; 3] {
    const RED: [f32; 6] = [0.135_721_38, 4.615_392_6, -42.660_323, 132.131_08, -152.942_4, 59.286_38];
    const GREEN: [f32; 6] = [0.091_402_61, 2.194_188_4, 4.842_966_6, -14.185_033, 4.277_298_6, 2.829_566];
    const BLUE: [f32; 6] = [0.106_673_3, 12.641_946, -60.582_05, 110.362_77, -89.903_11, 27.348_25];
    [RED, GREEN, BLUE].map(|coefficients| {
        let value = coefficients.iter().rev().fold(0.0, |sum, coefficient| sum * x + coefficient);
        (value.clamp(0.0, 1.0) * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use camrig_frame::{Frame, FrameHeader, Stream};

    use super::*;

    /// Returns the place of a depth in the palette, rounded by the function for it.
    fn rounded(colors: &Colorizer, meters: f32) -> [u8; 3] {
        let far = (meters - colors.min_meters) / (colors.max_meters - colors.min_meters);
        colors.palette[(far.clamp(0.0, 1.0) * 255.0).round() as usize]
    }

    #[test]
    fn every_depth_has_the_color_of_its_rounded_place() {
        for (min, max) in [(0.0, 1.0), (0.3, 4.0), (0.25, 0.251), (0.0, 1e9), (3.0, 1e-3 + 3.0)] {
            let colors = Colorizer::new(min, max).unwrap();
            for step in 0..200_000_u32 {
                let meters = min + (max - min) * (step as f32 / 150_000.0 - 0.1);
                assert_eq!(colors.color_of(meters), rounded(&colors, meters), "{meters} of {min} to {max}");
            }
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0] {
                assert_eq!(colors.color_of(odd), rounded(&colors, odd), "{odd}");
            }
        }
    }

    /// All numbers of units, in images that use a table and in those that are too small for one.
    #[test]
    fn an_image_has_the_color_of_each_of_its_depths() {
        for (width, height, stride) in [(257, 256, 520), (31, 3, 62), (1, 1, 2)] {
            let payload = camrig_frame::Payload::Image {
                format: PixelFormat::Z16,
                width,
                height,
                stride_bytes: stride,
            };
            let header = FrameHeader::new(Stream::DEPTH, payload);
            let mut pixels = vec![0xee; (stride * height) as usize];
            for (y, row) in (0..height).zip(pixels.chunks_exact_mut(stride as usize)) {
                for (x, pixel) in (0..width).zip(row.as_chunks_mut::<2>().0) {
                    *pixel = ((y * width + x) as u16).to_le_bytes();
                }
            }
            for (unit, min, max) in
                [(0.001, 0.3, 4.0), (0.0001, 0.1, 0.5), (1.0, 0.0, 0.5), (1e-6, 0.0, 9.0), (0.0, 0.0, 1.0)]
            {
                let depth = DepthView::new(Frame::new(&header, &pixels).unwrap(), unit, None).unwrap();
                let colors = Colorizer::new(min, max).unwrap();
                for step in 1..=4 {
                    let places = (0..height / step).flat_map(|y| (0..width / step).map(move |x| (x, y)));
                    let color = |(x, y)| {
                        let meters = depth.meters(x * step, y * step);
                        meters.map_or(Colorizer::NONE, |meters| rounded(&colors, meters))
                    };
                    let expected: Vec<u8> = places.flat_map(color).collect();
                    assert!(colors.of_each(&depth, step as usize) == expected, "{width}, {unit}, {step}");
                }
            }
        }
    }

    #[test]
    fn turbo_is_near_its_published_table() {
        // Entries of the table to which the polynomial was fitted, within this tolerance:
        // https://gist.github.com/mikhailov-work/ee72ba4191942acecc03fe6da94fc73f
        for (index, table) in [(64, [0.15844, 0.73551, 0.92305]), (128, [0.64362, 0.98999, 0.23356])] {
            let fitted = turbo(index as f32 / 255.0);
            for (channel, expected) in fitted.iter().zip(table) {
                assert!((f32::from(*channel) / 255.0 - expected).abs() < 0.08, "{index}: {fitted:?}");
            }
        }
    }

    #[test]
    fn near_is_red_far_is_blue_and_depths_outside_have_the_color_of_an_end() {
        let colors = Colorizer::new(0.5, 2.5).unwrap();
        let ([near, _, near_blue], [far_red, _, far]) = (colors.color_of(0.5), colors.color_of(2.5));
        assert!(near > 150 && near_blue < 30 && far > 200 && far_red < 90, "{:?}", colors.palette);
        assert_eq!(colors.color_of(0.0), colors.color_of(0.5));
        assert_eq!(colors.color_of(65.0), colors.color_of(2.5));
        assert_ne!(colors.color_of(1.4), colors.color_of(1.6));
        assert!(!colors.palette.contains(&Colorizer::NONE));
    }

    #[test]
    fn an_empty_or_infinite_range_is_refused() {
        for (min, max) in
            [(1.0, 1.0), (2.0, 1.0), (-0.1, 1.0), (f32::NAN, 1.0), (0.1, f32::NAN), (0.0, f32::INFINITY)]
        {
            assert!(Colorizer::new(min, max).is_none(), "{min} {max}");
        }
    }
}
