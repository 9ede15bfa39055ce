//! Depth images as the color sensor would see them.
#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]

use pulp::{Arch, Simd, WithSimd};

use crate::cloud::{check_declared_size, check_size};
use crate::projection::{FRACTIONLESS, LANES};
use crate::{
    ColorView, DepthView, Distortion, Extrinsics, FrameHeader, Intrinsics, Payload, PixelFormat,
    PointCloudError, StreamInfo,
};

/// Maximum width and height of the area in the color image that a pixel of depth covers. A calibration with more is wrong.
const MAX_COVERED: i32 = 32;

/// A column or row outside of every image.
const FAR: f32 = (1 << 22) as f32 - 1.0;

/// Coordinates of pixels that are computed together: all columns, then all rows.
type Lanes<T> = [[T; LANES]; 2];

/// Pairs of sizes, of depth and of color, for which librealsense maps two corners of each pixel although color has no more
/// pixels per angle.
const SPECIAL_SIZES: [[(u32, u32); 2]; 2] = [[(640, 240), (320, 180)], [(640, 480), (640, 360)]];

/// Moves the depth images of one camera into the pixels of its color images, and colors into those of depth.
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
    /// Direction of the upper left corner of each pixel of depth: x and y at distance 1. The last ones may be of no pixel.
    corners: Vec<Lanes<f32>>,
    /// Direction of the lower right corners; empty if a pixel of depth covers at most one of color.
    opposite: Vec<Lanes<f32>>,
    /// Direction of the corners whose color the pixels of depth have, if not `corners`.
    colored: Option<Vec<Lanes<f32>>>,
}

impl AlignDepth {
    /// Creates a converter for the frames of these streams of one camera.
    ///
    /// # Errors
    /// If the calibration of a stream is unknown, is that of a fisheye lens, is for another image size, or has a side above
    /// [`MAX_SIDE_PIXELS`](crate::MAX_SIDE_PIXELS).
    pub fn new(depth: &StreamInfo, color: &StreamInfo) -> Result<Self, PointCloudError> {
        let lens =
            |stream: &StreamInfo| stream.intrinsics.ok_or(PointCloudError::NoIntrinsics(stream.stream));
        let to_depth = color.to_depth.ok_or(PointCloudError::NoTransform(color.stream))?;
        let (depth_lens, color_lens) = (lens(depth)?, lens(color)?);
        for (stream, lens) in [(depth, &depth_lens), (color, &color_lens)] {
            if !lens.is_projective() {
                return Err(PointCloudError::Lens(stream.stream, lens.distortion));
            }
            check_declared_size(stream, lens)?;
        }
        let corners = |offset: f32| rays(&depth_lens, offset);
        let opposite = if covers_several(&depth_lens, &color_lens) { corners(0.5) } else { Vec::new() };
        let is_smaller = color_lens.width < depth_lens.width && color_lens.height < depth_lens.height;
        let (from_depth, colored) = (to_depth.inverse(), is_smaller.then(|| corners(0.5)));
        let corners = corners(-0.5);
        Ok(Self { depth: depth_lens, color: color_lens, from_depth, corners, opposite, colored })
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
        check_size(depth.frame(), &self.depth)?;
        let mut aligned = vec![0_u16; self.color.width as usize * self.color.height as usize];
        let image = Image { align: self, units: &depth.to_units(), unit_meters: depth.unit_meters() };
        Arch::new().dispatch(Aligning(image, &mut aligned));
        let mut pixels = vec![0; aligned.len() * size_of::<u16>()];
        for (pixel, units) in pixels.as_chunks_mut().0.iter_mut().zip(aligned) {
            *pixel = units.to_le_bytes();
        }
        Ok(pixels)
    }

    /// Returns the color of each pixel of a depth image as RGB8, without padding: black where there is no depth, and where the
    /// color image ends. The result is that of librealsense's filter for the other direction.
    ///
    /// # Errors
    /// If the size of an image does not match the calibration.
    pub fn align_color(
        &self,
        depth: &DepthView<'_>,
        color: &ColorView<'_>,
    ) -> Result<Vec<u8>, PointCloudError> {
        check_size(depth.frame(), &self.depth)?;
        check_size(color.frame(), &self.color)?;
        let (rgb8, stride) = color.rgb8();
        let mut aligned = vec![[0; 3]; self.depth.width as usize * self.depth.height as usize];
        let image = Image { align: self, units: &depth.to_units(), unit_meters: depth.unit_meters() };
        Arch::new().dispatch(Coloring { image, rgb8: &rgb8, stride, aligned: &mut aligned });
        Ok(aligned.into_flattened())
    }

    /// Returns the columns and rows of color at which points of depth are seen, even outside of the image. The order of the
    /// operations is that of librealsense, so that they are rounded alike.
    #[inline(always)]
    fn places(&self, rays: &Lanes<f32>, meters: &[f32; LANES]) -> Lanes<i32> {
        let [mut columns, mut rows] = *rays;
        for ((x, y), &meters) in columns.iter_mut().zip(&mut rows).zip(meters) {
            let point = [*x * meters, *y * meters, meters];
            let z = moved(&self.from_depth, point, 2);
            [*x, *y] = [moved(&self.from_depth, point, 0) / z, moved(&self.from_depth, point, 1) / z];
        }
        if self.color.distortion == Distortion::ModifiedBrownConrady {
            for (x, y) in columns.iter_mut().zip(&mut rows) {
                [*x, *y] = distorted(&self.color.coefficients, [*x, *y]);
            }
        }
        [pixels(columns, self.color.fx, self.color.ppx), pixels(rows, self.color.fy, self.color.ppy)]
    }

    /// Puts depth into single pixels that have no nearer depth.
    #[inline(always)]
    fn put(&self, aligned: &mut [u16], [columns, rows]: &Lanes<i32>, units: &[u16]) {
        let (width, height) = (self.color.width, self.color.height);
        let mut places = [usize::MAX; LANES];
        for ((place, &column), &row) in places.iter_mut().zip(columns).zip(rows) {
            // A negative number becomes a large one.
            let (column, row) = (column.cast_unsigned(), row.cast_unsigned());
            if column < width && row < height {
                *place = (row * width + column) as usize;
            }
        }
        for (&place, &units) in places.iter().zip(units) {
            if let Some(place) = aligned.get_mut(place) {
                *place = nearer(*place, units);
            }
        }
    }

    /// Fills a rectangle where there is no nearer depth.
    #[inline(always)]
    fn fill(&self, aligned: &mut [u16], first: [i32; 2], last: [i32; 2], units: u16) {
        let covered = |axis: usize| last[axis].saturating_sub(first[axis]) < MAX_COVERED;
        if !covered(0) || !covered(1) {
            return;
        }
        let (width, height) = (self.color.width as i32, self.color.height as i32);
        for row in first[1].max(0)..=last[1].min(height - 1) {
            for column in first[0].max(0)..=last[0].min(width - 1) {
                let place = &mut aligned[(row * width + column) as usize];
                *place = nearer(*place, units);
            }
        }
    }
}

/// An image of depth in units, and how it is aligned.
#[derive(Clone, Copy)]
struct Image<'a> {
    align: &'a AlignDepth,
    units: &'a [u16],
    unit_meters: f32,
}

/// An image, and the aligned one.
struct Aligning<'a>(Image<'a>, &'a mut [u16]);

impl WithSimd for Aligning<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self(Image { align, units, unit_meters }, aligned) = self;
        for (index, (units, corners)) in units.chunks(LANES).zip(&align.corners).enumerate() {
            let mut meters = [0.0; LANES];
            for (meters, &units) in meters.iter_mut().zip(units) {
                *meters = f32::from(units) * unit_meters;
            }
            let first = align.places(corners, &meters);
            match align.opposite.get(index) {
                None => align.put(aligned, &first, units),
                Some(corners) => {
                    let last = align.places(corners, &meters);
                    for (lane, &units) in units.iter().enumerate().filter(|(_, units)| **units != 0) {
                        let place = |lanes: &Lanes<i32>| [lanes[0][lane], lanes[1][lane]];
                        align.fill(aligned, place(&first), place(&last), units);
                    }
                }
            }
        }
    }
}

/// An image, and its colors.
struct Coloring<'a> {
    image: Image<'a>,
    rgb8: &'a [u8],
    stride: u32,
    aligned: &'a mut [[u8; 3]],
}

impl WithSimd for Coloring<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Image { align, units, unit_meters } = self.image;
        let (width, height) = (align.color.width, align.color.height);
        let corners = align.colored.as_ref().unwrap_or(&align.corners);
        let pixels = units.chunks(LANES).zip(self.aligned.chunks_mut(LANES)).zip(corners);
        for ((units, aligned), corners) in pixels {
            let (mut meters, mut offsets) = ([0.0; LANES], [usize::MAX; LANES]);
            for (meters, &units) in meters.iter_mut().zip(units) {
                *meters = f32::from(units) * unit_meters;
            }
            let [columns, rows] = align.places(corners, &meters);
            for ((offset, (column, row)), &units) in
                offsets.iter_mut().zip(columns.into_iter().zip(rows)).zip(units)
            {
                let (column, row) = (column.cast_unsigned(), row.cast_unsigned());
                if units != 0 && column < width && row < height {
                    *offset = (row * self.stride + column * 3) as usize;
                }
            }
            for (&offset, color) in offsets.iter().zip(aligned) {
                if let Some(&seen) = self.rgb8.get(offset..).and_then(<[u8]>::first_chunk) {
                    *color = seen;
                }
            }
        }
    }
}

/// Returns the direction of a corner of each pixel, `offset` pixels from its center.
fn rays(lens: &Intrinsics, offset: f32) -> Vec<Lanes<f32>> {
    let pixels = (0..lens.height).flat_map(|y| (0..lens.width).map(move |x| [x as f32, y as f32]));
    let mut rays = pixels.map(|[column, row]| {
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
    });
    let lanes = (lens.width as usize * lens.height as usize).div_ceil(LANES);
    let next = |_| {
        let lanes: [[f32; 2]; LANES] = std::array::from_fn(|_| rays.next().unwrap_or_default());
        [lanes.map(|[x, _]| x), lanes.map(|[_, y]| y)]
    };
    (0..lanes).map(next).collect()
}

/// Returns the nearer one of two depths; 0 is no depth.
#[inline(always)]
fn nearer(one: u16, other: u16) -> u16 {
    one.wrapping_sub(1).min(other.wrapping_sub(1)).wrapping_add(1)
}

/// Returns a coordinate of a point that is moved.
#[inline(always)]
fn moved(by: &Extrinsics, [x, y, z]: [f32; 3], axis: usize) -> f32 {
    let (turn, shift) = (&by.rotation, &by.translation_meters);
    turn[axis] * x + (turn[axis + 3] * y + (turn[axis + 6] * z + shift[axis]))
}

/// Returns the columns, or the rows, at these coordinates at distance 1. Those farther away than [`FAR`], and what is not a number,
/// are outside of every image.
#[inline(always)]
fn pixels(places: [f32; LANES], focal: f32, center: f32) -> [i32; LANES] {
    let mut pixels = [0; LANES];
    for (pixel, place) in pixels.iter_mut().zip(places) {
        *pixel = rounded(place * focal + center + 0.5);
    }
    pixels
}

/// Rounds to the nearest integer, and halves to the even one.
#[inline(always)]
fn rounded(number: f32) -> i32 {
    // Also for what is not a number.
    let number = if number > -FAR { number } else { -FAR };
    let number = if number < FAR { number } else { FAR };
    let sum = 1.5 * FRACTIONLESS;
    (number + sum).to_bits().cast_signed() - sum.to_bits().cast_signed()
}

/// Returns the distorted coordinates of a point at distance 1, by the model `modified-brown-conrady`.
#[inline(always)]
fn distorted([k1, k2, p1, p2, k3]: &[f32; 5], [x, y]: [f32; 2]) -> [f32; 2] {
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
    fn a_pixel_of_depth_has_the_color_that_is_seen_there() {
        let depth = stream(Stream::DEPTH, PixelFormat::Z16, (4, 1), 4.0);
        let colors = |width: u8| (0..width).flat_map(|x| [10 + x, 20 + x, 30 + x]).collect::<Vec<_>>();
        let found = |color: &StreamInfo, colors: &[u8], units: [u16; 4]| {
            let (header, color_header) = (depth.largest(), color.largest());
            let pixels: Vec<u8> = units.iter().flat_map(|units| units.to_le_bytes()).collect();
            let view = DepthView::new(Frame::new(&header, &pixels).unwrap(), 0.001, None).unwrap();
            let light = ColorView::new(Frame::new(&color_header, colors).unwrap()).unwrap();
            let aligned = AlignDepth::new(&depth, color).unwrap().align_color(&view, &light).unwrap();
            aligned.chunks_exact(3).map(|color| color[0]).collect::<Vec<_>>()
        };
        let mut color = stream(Stream::COLOR, PixelFormat::Rgb8, (4, 1), 4.0);
        assert_eq!(found(&color, &colors(4), [1, 2, 0, 4]), [10, 11, 0, 13]);
        // Color is 0.25 m to the left, so a point at 1 m is a column further right; the last one is outside.
        color.to_depth = Some(Extrinsics { translation_meters: [-0.25, 0.0, 0.0], ..Extrinsics::IDENTITY });
        assert_eq!(found(&color, &colors(4), [1000, 1000, 9000, 1000]), [11, 12, 12, 0]);
        // Fewer columns, but as many rows.
        let color = stream(Stream::COLOR, PixelFormat::Rgb8, (2, 1), 2.0);
        assert_eq!(found(&color, &colors(2), [1000; 4]), [10, 10, 11, 0]);
    }

    #[test]
    fn every_processor_finds_the_same_colors() {
        let depth = stream(Stream::DEPTH, PixelFormat::Z16, (37, 11), 30.0);
        let units: Vec<u16> =
            (0..37 * 11_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 20) as u16).collect();
        let pixels: Vec<u8> = units.iter().flat_map(|units| units.to_le_bytes()).collect();
        for (width, height) in [(53, 17), (20, 8)] {
            let mut color = stream(Stream::COLOR, PixelFormat::Rgb8, (width, height), width as f32 - 10.0);
            color.to_depth =
                Some(Extrinsics::from_quaternion([0.01, -0.02, 0.03, 1.0], [0.015, 0.001, -0.002]));
            let colors: Vec<u8> = (0..width * height * 3).map(|index| index as u8 | 1).collect();
            let (header, color_header) = (depth.largest(), color.largest());
            let view = DepthView::new(Frame::new(&header, &pixels).unwrap(), 0.001, None).unwrap();
            let light = ColorView::new(Frame::new(&color_header, &colors).unwrap()).unwrap();
            let align = AlignDepth::new(&depth, &color).unwrap();
            assert_eq!(align.colored.is_some(), width < 37);
            let mut plain = vec![[0; 3]; 37 * 11];
            let image = Image { align: &align, units: &units, unit_meters: 0.001 };
            let stride = width * 3;
            Coloring { image, rgb8: &colors, stride, aligned: &mut plain }.with_simd(pulp::Scalar);
            assert_eq!(align.align_color(&view, &light).unwrap(), plain.as_flattened());
            assert!(plain.iter().filter(|color| color[0] != 0).count() > 200);
        }
    }

    /// Random depth, seen by lenses with all models that are not ignored, with and without the instructions of this processor.
    #[test]
    fn every_processor_aligns_alike() {
        let mut depth = stream(Stream::DEPTH, PixelFormat::Z16, (37, 11), 30.0);
        let mut color = stream(Stream::COLOR, PixelFormat::Rgb8, (53, 17), 60.0);
        let coefficients = [0.15, -0.4, 0.001, -0.002, 0.3];
        let turned = Extrinsics::from_quaternion([0.01, -0.02, 0.03, 1.0], [0.015, 0.001, -0.002]);
        color.to_depth = Some(turned);
        let units: Vec<u16> = (0..37 * 11_u32)
            .map(|index| (index.wrapping_mul(2_654_435_761) >> 20) as u16)
            .map(|units| if units % 5 == 0 { 0 } else { units })
            .collect();
        for (of_depth, of_color) in [
            (Distortion::None, Distortion::None),
            (Distortion::InverseBrownConrady, Distortion::ModifiedBrownConrady),
        ] {
            for (stream, distortion) in [(&mut depth, of_depth), (&mut color, of_color)] {
                let lens = stream.intrinsics.unwrap();
                stream.intrinsics = Some(Intrinsics { distortion, coefficients, ..lens });
            }
            let align = AlignDepth::new(&depth, &color).unwrap();
            assert!(!align.opposite.is_empty());
            let mut plain = vec![0; 53 * 17];
            let image = Image { align: &align, units: &units, unit_meters: 0.001 };
            Aligning(image, &mut plain).with_simd(pulp::Scalar);
            assert_eq!(aligned(&depth, &color, &units), plain);
            assert!(plain.iter().filter(|&&units| units != 0).count() > 300);
        }
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
