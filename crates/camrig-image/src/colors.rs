//! The colors of depth: near is red, far is blue, no depth is black.
//!
//! The colormap is Turbo (Anton Mikhailov, "Turbo, An Improved Rainbow Colormap for Visualization", Google AI
//! Blog, 2019), computed with the polynomial of degree 5 that Ruofei Du fitted to it and that was published with it
//! (<https://gist.github.com/mikhailov-work/0d177465a8151eb6ede1768d51d476c7>).

use camrig_frame::DepthView;

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
            // Omits both dark ends of Turbo, so that far depth does not look like no depth.
            turbo(0.9 - 0.8 * index as f32 / 255.0)
        });
        Some(Self { min_meters, max_meters, palette })
    }

    /// Returns the color of one depth.
    pub fn color_of(&self, meters: f32) -> [u8; 3] {
        let far = (meters - self.min_meters) / (self.max_meters - self.min_meters);
        self.palette[(far.clamp(0.0, 1.0) * 255.0).round() as usize]
    }

    /// Returns the image as RGB8, 3 bytes per pixel, row by row without padding.
    pub fn to_rgb8(&self, depth: &DepthView<'_>) -> Vec<u8> {
        let color = |meters: Option<f32>| meters.map_or(Self::NONE, |meters| self.color_of(meters));
        let mut rgb =
            Vec::with_capacity(depth.frame().width() as usize * depth.frame().height() as usize * 3);
        depth.iter_meters().for_each(|meters| rgb.extend(color(meters)));
        rgb
    }
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
    use super::*;

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
