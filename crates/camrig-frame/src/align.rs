//! Depth images as the color sensor would see them.

use crate::{
    DepthView, Distortion, Extrinsics, FrameHeader, Intrinsics, Payload, PixelFormat, PointCloudError,
    StreamInfo,
};

/// Maximum width and height of the area in the color image that a pixel of depth covers. A calibration with more is wrong.
const MAX_COVERED: i32 = 32;

/// Pairs of sizes, of depth and of color, for which librealsense maps two corners of each pixel although color has no more
/// pixels per angle.
const SPECIAL_SIZES: [[(u32, u32); 2]; 2] = [[(640, 240), (320, 180)], [(640, 480), (640, 360)]];

/// Moves the depth images of one camera into the pixels of its color images.
///
/// The result is that of librealsense's filter `align` on x86, to the last bit where the calibration is the same: it maps the
/// corners of each pixel of depth, fills the area between them in the color image, and keeps the nearest depth. Like the filter
/// it ignores the distortion of color unless its model is `modified-brown-conrady`, and that of depth unless its model is
/// `inverse-brown-conrady`.
#[derive(Clone, Debug)]
pub struct AlignDepth {
    depth: Intrinsics,
    color: Intrinsics,
    from_depth: Extrinsics,
    /// Direction of the upper left corner of each pixel of depth: x and y at distance 1.
    corners: Vec<[f32; 2]>,
    /// Direction of the lower right corners; empty if a pixel of depth covers at most one of color.
    opposite: Vec<[f32; 2]>,
}

impl AlignDepth {
    /// Creates a converter for the frames of these streams of one camera.
    ///
    /// # Errors
    /// If the calibration of a stream is unknown, or is that of a fisheye lens.
    pub fn new(depth: &StreamInfo, color: &StreamInfo) -> Result<Self, PointCloudError> {
        let lens =
            |stream: &StreamInfo| stream.intrinsics.ok_or(PointCloudError::NoIntrinsics(stream.stream));
        let to_depth = color.to_depth.ok_or(PointCloudError::NoTransform(color.stream))?;
        let (depth_lens, color_lens) = (lens(depth)?, lens(color)?);
        for (stream, lens) in [(depth, &depth_lens), (color, &color_lens)] {
            if !lens.is_projective() {
                return Err(PointCloudError::Lens(stream.stream, lens.distortion));
            }
        }
        let corners = |offset: f32| rays(&depth_lens, offset).collect();
        let opposite = if covers_several(&depth_lens, &color_lens) { corners(0.5) } else { Vec::new() };
        let from_depth = to_depth.inverse();
        Ok(Self { depth: depth_lens, color: color_lens, from_depth, corners: corners(-0.5), opposite })
    }

    /// Returns the header of the aligned image of a depth frame.
    pub fn header(&self, depth: &FrameHeader) -> FrameHeader {
        FrameHeader {
            payload: Payload::image(PixelFormat::Z16, self.color.width, self.color.height),
            ..*depth
        }
    }

    /// Returns the declaration of the stream of aligned images. Its coordinates are those of color.
    pub fn stream(&self, depth: &StreamInfo) -> StreamInfo {
        let payload = self.header(&depth.largest()).payload;
        StreamInfo { payload, intrinsics: Some(self.color), ..*depth }
    }

    /// Returns the pixels of a depth image as described by [`Self::header`], in the units of `depth`.
    ///
    /// # Errors
    /// If the size of the image does not match the calibration.
    pub fn align(&self, depth: &DepthView<'_>) -> Result<Vec<u8>, PointCloudError> {
        let (image, lens) = (depth.frame(), &self.depth);
        let (size, calibrated) = ((image.width(), image.height()), (lens.width, lens.height));
        if size != calibrated {
            return Err(PointCloudError::Size { stream: image.stream(), image: size, calibrated });
        }
        let mut aligned = vec![0_u16; self.color.width as usize * self.color.height as usize];
        for (index, units) in depth.iter_units().enumerate().filter(|(_, units)| *units != 0) {
            let meters = f32::from(units) * depth.unit_meters();
            let Some(first) = self.corners.get(index).and_then(|ray| self.pixel(*ray, meters)) else {
                continue;
            };
            let last = match self.opposite.get(index) {
                Some(ray) => self.pixel(*ray, meters),
                None => Some(first),
            };
            if let Some(last) = last {
                self.fill(&mut aligned, first, last, units);
            }
        }
        Ok(aligned.into_iter().flat_map(u16::to_le_bytes).collect())
    }

    /// Returns the column and row of color at which a point of depth is seen, even outside of the image. The order of the
    /// operations is that of librealsense, so that they are rounded alike.
    fn pixel(&self, [x, y]: [f32; 2], meters: f32) -> Option<[i32; 2]> {
        let (turn, shift) = (&self.from_depth.rotation, &self.from_depth.translation_meters);
        let [x, y] = [x * meters, y * meters];
        let [x, y, z] =
            [0, 1, 2].map(|row| turn[row] * x + (turn[row + 3] * y + (turn[row + 6] * meters + shift[row])));
        let [x, y] = distorted(&self.color, [x / z, y / z]);
        let seen = [x * self.color.fx + self.color.ppx, y * self.color.fy + self.color.ppy];
        let seen = seen.map(|place| (place + 0.5).round_ties_even());
        // The casts saturate.
        seen.iter().all(|place| place.is_finite()).then(|| seen.map(|place| place as i32))
    }

    /// Fills a rectangle where there is no nearer depth.
    fn fill(&self, aligned: &mut [u16], first: [i32; 2], last: [i32; 2], units: u16) {
        let covered = |axis: usize| last[axis].saturating_sub(first[axis]) < MAX_COVERED;
        if !covered(0) || !covered(1) {
            return;
        }
        let (width, height) = (self.color.width as i32, self.color.height as i32);
        for row in first[1].max(0)..=last[1].min(height - 1) {
            for column in first[0].max(0)..=last[0].min(width - 1) {
                let place = &mut aligned[(row * width + column) as usize];
                *place = if *place == 0 { units } else { units.min(*place) };
            }
        }
    }
}

/// Returns the direction of a corner of each pixel, `offset` pixels from its center.
fn rays(lens: &Intrinsics, offset: f32) -> impl Iterator<Item = [f32; 2]> + use<'_> {
    let pixels = (0..lens.height).flat_map(|y| (0..lens.width).map(move |x| [x as f32, y as f32]));
    pixels.map(move |[column, row]| {
        let [x, y] = [(column + offset - lens.ppx) / lens.fx, (row + offset - lens.ppy) / lens.fy];
        if lens.distortion != Distortion::InverseBrownConrady {
            return [x, y];
        }
        let [k1, k2, p1, p2, k3] = lens.coefficients;
        let square = x * x + y * y;
        let radial = 1.0 + k1 * square + k2 * square * square + k3 * square * square * square;
        [
            x * radial + 2.0 * p1 * x * y + p2 * (square + 2.0 * x * x),
            y * radial + 2.0 * p2 * x * y + p1 * (square + 2.0 * y * y),
        ]
    })
}

/// Returns the distorted coordinates of a point at distance 1 in the color image.
fn distorted(lens: &Intrinsics, [x, y]: [f32; 2]) -> [f32; 2] {
    if lens.distortion != Distortion::ModifiedBrownConrady {
        return [x, y];
    }
    let [k1, k2, p1, p2, k3] = lens.coefficients;
    let square = x * x + y * y;
    let radial = 1.0 + (k1 * square + (k2 * (square * square) + k3 * (square * (square * square))));
    let [x, y] = [x * radial, y * radial];
    [
        x + (2.0 * (p1 * (x * y)) + p2 * (square + 2.0 * (x * x))),
        y + (2.0 * (p2 * (x * y)) + p1 * (square + 2.0 * (y * y))),
    ]
}

/// Returns whether color has more pixels per angle than depth.
fn covers_several(depth: &Intrinsics, color: &Intrinsics) -> bool {
    let density = |lens: &Intrinsics| {
        let angle = |center: f32, pixels: u32, focal: f32| {
            let center = center + 0.5;
            pixels as f32 / (center.atan2(focal) + (pixels as f32 - center).atan2(focal))
        };
        [angle(lens.ppx, lens.width, lens.fx), angle(lens.ppy, lens.height, lens.fy)]
    };
    let (of_depth, of_color) = (density(depth), density(color));
    let sizes = [(depth.width, depth.height), (color.width, color.height)];
    of_depth[0] < of_color[0] || of_depth[1] < of_color[1] || SPECIAL_SIZES.contains(&sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, Stream, StreamProfile};

    fn stream(stream: Stream, format: PixelFormat, (width, height): (u32, u32), focal: f32) -> StreamInfo {
        let lens = Intrinsics {
            width,
            height,
            ppx: width as f32 / 2.0 - 0.5,
            ppy: height as f32 / 2.0 - 0.5,
            fx: focal,
            fy: focal,
            distortion: Distortion::None,
            coefficients: [0.0; 5],
        };
        let profile = StreamProfile::new(width, height, 30).unwrap();
        let to_depth = Some(Extrinsics::IDENTITY);
        StreamInfo { intrinsics: Some(lens), to_depth, ..StreamInfo::image(stream, format, profile) }
    }

    fn aligned(depth: &StreamInfo, color: &StreamInfo, units: &[u16]) -> Vec<u16> {
        let align = AlignDepth::new(depth, color).unwrap();
        let header = depth.largest();
        let pixels: Vec<u8> = units.iter().flat_map(|units| units.to_le_bytes()).collect();
        let view = DepthView::new(Frame::new(&header, &pixels).unwrap(), 0.001, None).unwrap();
        let aligned = align.align(&view).unwrap();
        assert_eq!(aligned.len() as u64, align.header(&header).size_bytes());
        assert_eq!(align.stream(depth).payload, align.header(&header).payload);
        aligned.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
    }

    #[test]
    fn depth_moves_to_the_pixels_of_color_and_the_nearest_stays() {
        let depth = stream(Stream::DEPTH, PixelFormat::Z16, (8, 1), 8.0);
        let mut color = stream(Stream::COLOR, PixelFormat::Rgb8, (8, 1), 8.0);
        assert_eq!(aligned(&depth, &color, &[1, 2, 3, 4, 0, 6, 7, 8]), [1, 2, 3, 4, 0, 6, 7, 8]);
        // Color is 0.25 m to the left, so a point at 1 m is two columns further right, and one at 2 m one column.
        color.to_depth = Some(Extrinsics { translation_meters: [-0.25, 0.0, 0.0], ..Extrinsics::IDENTITY });
        let units = [2000, 2000, 1000, 2000, 2000, 2000, 2000, 2000];
        assert_eq!(aligned(&depth, &color, &units), [0, 2000, 2000, 0, 1000, 2000, 2000, 2000]);
    }

    #[test]
    fn a_pixel_of_depth_fills_the_area_that_it_covers() {
        let depth = stream(Stream::DEPTH, PixelFormat::Z16, (2, 2), 2.0);
        let color = stream(Stream::COLOR, PixelFormat::Rgb8, (4, 4), 4.0);
        let found = aligned(&depth, &color, &[1000, 0, 0, 3000]);
        // Corners that are halfway between pixels belong to both.
        assert_eq!(found[..4], [1000, 1000, 1000, 0]);
        assert_eq!(found[12..], [0, 0, 3000, 3000]);
    }

    #[test]
    fn a_hostile_calibration_takes_no_time() {
        let depth = stream(Stream::DEPTH, PixelFormat::Z16, (64, 64), 1e-9);
        let color = stream(Stream::COLOR, PixelFormat::Rgb8, (4096, 4096), 1e9);
        assert!(aligned(&depth, &color, &[1000; 64 * 64]).iter().all(|&units| units == 0));
        for focal in [0.0, f32::NAN, f32::INFINITY] {
            let color = stream(Stream::COLOR, PixelFormat::Rgb8, (8, 8), focal);
            aligned(&depth, &color, &[1000; 64 * 64]);
        }
    }
}
