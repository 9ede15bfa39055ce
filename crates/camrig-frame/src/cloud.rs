//! Point clouds: depth images converted to 3D points, each with its color from the color image.
#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]

use pulp::{Arch, Simd, WithSimd};

use crate::points::POINT_BYTES;
use crate::projection::{FRACTIONLESS, LANES};
use crate::{
    ColorView, DensePoints, DepthView, Distortion, Extrinsics, Frame, FrameHeader, Intrinsics,
    MAX_SIDE_PIXELS, Payload, PixelFormat, Point, Role, Stream, StreamInfo,
};

/// Points that are placed together. The compiler makes no vector instructions of shorter loops.
const PLACED: usize = 64;

/// A point is occluded by another if it is this many columns of the color image behind it. The tolerance absorbs the noise of
/// depth.
const HIDDEN_COLUMNS: f32 = 1.0;

/// Converts the depth images of one camera to point clouds.
///
/// Everything that depends only on the calibration is precomputed.
#[derive(Clone, Debug)]
pub struct PointCloud {
    lens: Intrinsics,
    /// One in this many columns, and in this many rows, gives points.
    step: usize,
    rays: Rays,
    color: Option<ColorEye>,
}

/// Directions of pixels: x and y at distance 1.
#[derive(Clone, Debug)]
struct Rays {
    columns: usize,
    rows: usize,
    /// Of one row if all rows have the same ones.
    xs: Vec<f32>,
    /// One for each row if `xs` are those of one row.
    ys: Vec<f32>,
}

impl Rays {
    /// Returns those of one in `step` columns and rows of a lens that is projective.
    fn new(lens: &Intrinsics, step: usize) -> Self {
        let (columns, rows) = ((0..lens.width).step_by(step), (0..lens.height).step_by(step));
        let (width, height) = (columns.len(), rows.len());
        let pixels = rows.flat_map(|y| columns.clone().map(move |x| [x as f32, y as f32]));
        let (mut xs, mut ys): (Vec<f32>, Vec<f32>) =
            pixels.filter_map(|pixel| lens.deproject(pixel, 1.0)).map(|[x, y, _]| (x, y)).unzip();
        // So of every lens without distortion. Reading all of them would take longer than the arithmetic.
        let are_equal = |(one, other): (&f32, &f32)| one.to_bits() == other.to_bits();
        let is_grid = xs.chunks_exact(width.max(1)).all(|row| row.iter().zip(&xs).all(are_equal))
            && ys.chunks_exact(width.max(1)).all(|row| row.iter().zip(&row[1..]).all(are_equal));
        if is_grid {
            xs.truncate(width);
            ys = ys.into_iter().step_by(width.max(1)).collect();
        }
        Self { columns: width, rows: height, xs, ys }
    }

    /// Returns those of a row; `equal` is memory for some of them.
    fn row<'a>(&'a self, row: usize, equal: &'a mut Vec<f32>) -> RowRays<'a> {
        let (begin, end) = (row * self.columns, (row + 1) * self.columns);
        if self.xs.len() == self.columns && self.ys.len() == self.rows {
            equal.clear();
            equal.resize(self.columns, self.ys[row]);
            return RowRays { xs: &self.xs, ys: equal };
        }
        RowRays { xs: &self.xs[begin..end], ys: &self.ys[begin..end] }
    }
}

/// Directions of the pixels of a row.
#[derive(Clone, Copy)]
struct RowRays<'a> {
    xs: &'a [f32],
    ys: &'a [f32],
}

/// Position and lens of the color sensor.
#[derive(Clone, Copy, Debug)]
struct ColorEye {
    lens: Intrinsics,
    from_depth: Extrinsics,
}

impl PointCloud {
    /// Creates a converter for the frames of these streams; without `color`, points have no color.
    ///
    /// # Errors
    /// If the calibration of a stream is unknown, or is that of a fisheye lens, or that of depth is for another image size or has a
    /// side above [`MAX_SIDE_PIXELS`].
    pub fn new(depth: &StreamInfo, color: Option<&StreamInfo>) -> Result<Self, PointCloudError> {
        Self::decimated(depth, color, 1)
    }

    /// Creates a converter that takes one of `step` columns of one of `step` rows, at least 1: see [`Self::len`].
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn decimated(
        depth: &StreamInfo,
        color: Option<&StreamInfo>,
        step: u32,
    ) -> Result<Self, PointCloudError> {
        let lens = lens_of(depth)?;
        check_declared_size(depth, &lens)?;
        let step = step.max(1) as usize;
        let rays = Rays::new(&lens, step);
        let eye = |color: &StreamInfo| {
            let to_depth = color.to_depth.ok_or(PointCloudError::NoTransform(color.stream))?;
            Ok(ColorEye { lens: lens_of(color)?, from_depth: to_depth.inverse() })
        };
        Ok(Self { lens, step, rays, color: color.map(eye).transpose()? })
    }

    /// Returns the number of points of a depth image, with those of pixels without depth.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.rays.columns * self.rays.rows
    }

    /// Returns the header of the points of a depth frame, in the stream [`Stream::POINTS`].
    pub fn header(depth: &FrameHeader) -> FrameHeader {
        let (width, height) = depth.payload.size().unwrap_or_default();
        let payload = Payload::Points { width, height };
        FrameHeader { stream: Stream::POINTS, role: Role::Points, payload, ..*depth }
    }

    /// Returns the declaration of the stream of points made from these depth frames.
    pub fn stream(depth: &StreamInfo) -> StreamInfo {
        let header = Self::header(&depth.largest());
        StreamInfo { stream: header.stream, role: header.role, payload: header.payload, ..*depth }
    }

    /// Writes the points of a depth image in the format of [`Self::header`], [`Self::len`] of them, with the colors of
    /// `color`. A point that is occluded in the color image has no color.
    ///
    /// # Errors
    /// If the size of an image does not match the calibration, or the length of `points` does not match the header.
    pub fn write(
        &self,
        depth: &DepthView<'_>,
        color: Option<&ColorView<'_>>,
        points: &mut [u8],
    ) -> Result<(), PointCloudError> {
        check_size(depth.frame(), &self.lens)?;
        let (points, rest) = points.as_chunks_mut::<POINT_BYTES>();
        if points.len() != self.len() || !rest.is_empty() {
            return Err(PointCloudError::Length);
        }
        self.place_colored(depth, color, points, |_| {})
    }

    /// Writes x, y and z in metres of the points of a depth image, [`Self::len`] of them; zeros for pixels without depth. They
    /// are the coordinates of [`Self::write`].
    ///
    /// # Errors
    /// If the size of the image does not match the calibration, or the length of `points` is another one.
    pub fn write_meters(
        &self,
        depth: &DepthView<'_>,
        points: &mut [[f32; 3]],
    ) -> Result<(), PointCloudError> {
        check_size(depth.frame(), &self.lens)?;
        if points.len() != self.len() {
            return Err(PointCloudError::Length);
        }
        self.place(depth, points, |_| {});
        Ok(())
    }

    /// Returns the points of those pixels of a depth image that have depth, with the colors of `color`, as [`Self::write`]
    /// writes them.
    ///
    /// # Errors
    /// If the size of an image does not match the calibration.
    pub fn dense(
        &self,
        depth: &DepthView<'_>,
        color: Option<&ColorView<'_>>,
    ) -> Result<DensePoints, PointCloudError> {
        check_size(depth.frame(), &self.lens)?;
        let (mut dense, columns) = (DensePoints::default(), self.rays.columns);
        dense.meters.reserve_exact(self.len());
        dense.rgb.reserve_exact(self.len());
        if color.is_none() {
            let row = &mut vec![[0.0; 3]; columns];
            self.place(depth, row, |points| dense.append(points, |&meters| (meters, [0; 3])));
            return Ok(dense);
        }
        let row = &mut vec![[0; POINT_BYTES]; columns];
        self.place_colored(depth, color, row, |points| dense.append(points, Point::parts_of))?;
        Ok(dense)
    }

    /// As [`Self::place`], with colors.
    fn place_colored(
        &self,
        depth: &DepthView<'_>,
        color: Option<&ColorView<'_>>,
        memory: &mut [[u8; POINT_BYTES]],
        mut placed: impl FnMut(&mut [[u8; POINT_BYTES]]),
    ) -> Result<(), PointCloudError> {
        let colored = self.color.as_ref().zip(color);
        if let Some((eye, color)) = colored {
            check_size(color.frame(), &eye.lens)?;
        }
        let colored = colored.map(|(eye, color)| (eye, color.rgb8()));
        let (arch, mut seen) = (Arch::new(), Vec::new());
        self.place(depth, memory, |points| {
            if let Some((eye, (rgb8, stride))) = &colored {
                arch.dispatch(Painting { eye, rgb8, stride: *stride, points: &mut *points, seen: &mut seen });
            }
            placed(points);
        });
        Ok(())
    }

    /// Writes the points of a depth image into memory for all rows, or for one that is used again, and calls `placed` with each
    /// row.
    fn place<P: Placed>(&self, depth: &DepthView<'_>, memory: &mut [P], mut placed: impl FnMut(&mut [P])) {
        let z16 = depth.frame().payload().pixel_format() == Some(PixelFormat::Z16);
        let mut others = depth.rows_meters().step_by(self.step);
        let (arch, unit_meters, mut equal) = (Arch::new(), depth.unit_meters(), Vec::new());
        let columns = self.rays.columns;
        for (y, row) in depth.frame().rows().step_by(self.step).enumerate() {
            let begin = y * columns % memory.len().max(1);
            let points = &mut memory[begin..begin + columns];
            let rays = self.rays.row(y, &mut equal);
            if z16 {
                let units = row.as_chunks::<2>().0;
                if self.step == 1 {
                    arch.dispatch(Placing { points: &mut *points, rays, units, unit_meters });
                } else {
                    let units = units.iter().step_by(self.step);
                    place(points, rays, units.map(|units| meters(*units, unit_meters)));
                }
            } else if let Some(depths) = others.next() {
                place(points, rays, depths.step_by(self.step).map(Option::unwrap_or_default));
            }
            placed(points);
        }
    }
}

/// Returns a depth in metres. Without depth, 0 units are 0 metres.
#[inline(always)]
fn meters(units: [u8; 2], unit_meters: f32) -> f32 {
    f32::from(u16::from_le_bytes(units)) * unit_meters
}

/// The form in which points are written.
trait Placed: Copy {
    /// Returns a point at these coordinates in metres, without color.
    fn at(meters: [f32; 3]) -> Self;
}

impl Placed for [u8; POINT_BYTES] {
    /// As two numbers of 64 bits, which vectors interleave.
    #[inline(always)]
    fn at(meters: [f32; 3]) -> Self {
        let [x, y, z] = meters.map(|at| u64::from(at.to_bits()));
        let mut bytes = [0; POINT_BYTES];
        let (halves, _) = bytes.as_chunks_mut::<8>();
        halves[0] = (x | y << 32).to_le_bytes();
        halves[1] = z.to_le_bytes();
        bytes
    }
}

impl Placed for [f32; 3] {
    #[inline(always)]
    fn at(meters: [f32; 3]) -> Self {
        meters
    }
}

/// Writes points without color at these depths in metres.
#[inline(always)]
fn place<P: Placed>(points: &mut [P], rays: RowRays<'_>, depths: impl Iterator<Item = f32>) {
    for (((point, x), y), z) in points.iter_mut().zip(rays.xs).zip(rays.ys).zip(depths) {
        // Without depth, all bits are 0: the sum of -0 and 0 is 0.
        *point = P::at([x * z + 0.0, y * z + 0.0, z]);
    }
}

/// A row of points without color, and its depths in units.
struct Placing<'a, P> {
    points: &'a mut [P],
    rays: RowRays<'a>,
    units: &'a [[u8; 2]],
    unit_meters: f32,
}

impl<P: Placed> WithSimd for Placing<'_, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (points, points_left) = self.points.as_chunks_mut::<PLACED>();
        let (xs, xs_left) = self.rays.xs.as_chunks::<PLACED>();
        let (ys, ys_left) = self.rays.ys.as_chunks::<PLACED>();
        let (units, units_left) = self.units.as_chunks::<PLACED>();
        for (((points, xs), ys), units) in points.iter_mut().zip(xs).zip(ys).zip(units) {
            place_each(points, xs, ys, units, self.unit_meters);
        }
        let depths = units_left.iter().map(|units| meters(*units, self.unit_meters));
        place(points_left, RowRays { xs: xs_left, ys: ys_left }, depths);
    }
}

/// Writes points without color together.
#[inline(always)]
fn place_each<P: Placed>(
    points: &mut [P; PLACED],
    xs: &[f32; PLACED],
    ys: &[f32; PLACED],
    units: &[[u8; 2]; PLACED],
    unit_meters: f32,
) {
    let [mut across, mut down, mut depths] = [[0.0; PLACED]; 3];
    for lane in 0..PLACED {
        depths[lane] = meters(units[lane], unit_meters);
    }
    for lane in 0..PLACED {
        across[lane] = xs[lane] * depths[lane] + 0.0;
    }
    for lane in 0..PLACED {
        down[lane] = ys[lane] * depths[lane] + 0.0;
    }
    for lane in 0..PLACED {
        points[lane] = P::at([across[lane], down[lane], depths[lane]]);
    }
}

/// A row of points that get their colors, and memory for the places at which they are seen.
struct Painting<'a> {
    eye: &'a ColorEye,
    rgb8: &'a [u8],
    stride: u32,
    points: &'a mut [[u8; POINT_BYTES]],
    seen: &'a mut Vec<Seen>,
}

impl WithSimd for Painting<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { eye, rgb8, stride, points, seen } = self;
        eye.look(points, stride, seen);
        eye.paint(rgb8, points, seen);
    }
}

/// Where a point is seen.
#[derive(Clone, Copy)]
struct Seen {
    /// The column of color, even outside of the image; not a number if color cannot see the point.
    column: f32,
    /// Where the color of the point begins in the image; farther than its end if the point is not in it.
    offset: u32,
}

impl ColorEye {
    /// Replaces `seen` by where a row of points is seen. Several are projected together.
    #[inline(always)]
    fn look(&self, points: &[[u8; POINT_BYTES]], stride: u32, seen: &mut Vec<Seen>) {
        seen.resize(points.len(), Seen { column: 0.0, offset: 0 });
        for (points, seen) in points.chunks(LANES).zip(seen.chunks_mut(LANES)) {
            let mut meters = [[0.0; LANES]; 3];
            for (lane, point) in points.iter().enumerate() {
                for (axis, at) in meters.iter_mut().zip(Point::from_bytes(point).meters) {
                    axis[lane] = at;
                }
            }
            let [columns, rows] = self.lens.project_each(&self.from_depth, &meters);
            let offsets = offsets(&columns, &rows, &self.lens, stride);
            for (lane, seen) in seen.iter_mut().enumerate() {
                // A point without depth is at zero.
                let column = if meters[2][lane] > 0.0 { columns[lane] } else { f32::NAN };
                *seen = Seen { column, offset: offsets[lane] };
            }
        }
    }

    /// Assigns the colors of the color image to a row of points.
    ///
    /// Seen from a color sensor to the left of depth, near points are shifted to the right, and the farther points next to them
    /// are behind them: their columns decrease although the row continues. The row is therefore traversed from the end at which
    /// near points come first.
    #[inline(always)]
    fn paint(&self, rgb8: &[u8], points: &mut [[u8; POINT_BYTES]], seen: &[Seen]) {
        let points = points.iter_mut().zip(seen);
        if self.from_depth.translation_meters[0] < 0.0 {
            paint_in_order(rgb8, points.rev(), -1.0);
        } else {
            paint_in_order(rgb8, points, 1.0);
        }
    }
}

/// Paints the points of a row in one direction: `forward` is 1 if columns increase in this order, and -1 if they decrease.
#[inline(always)]
fn paint_in_order<'p>(
    rgb8: &[u8],
    points: impl Iterator<Item = (&'p mut [u8; POINT_BYTES], &'p Seen)>,
    forward: f32,
) {
    let mut front = f32::NEG_INFINITY;
    for (bytes, &Seen { column, offset }) in points {
        // False for what is not a number.
        let ahead = column * forward;
        if ahead > front - HIDDEN_COLUMNS
            && let Some(&[red, green, blue]) = rgb8.get(offset as usize..).and_then(<[u8]>::first_chunk)
        {
            bytes[12..].copy_from_slice(&[red, green, blue, u8::MAX]);
        }
        front = front.max(ahead);
    }
}

/// Returns where the nearest pixels begin in an image of RGB8.
#[inline(always)]
fn offsets(columns: &[f32; LANES], rows: &[f32; LANES], lens: &Intrinsics, stride: u32) -> [u32; LANES] {
    let (width, height) = (lens.width as f32, lens.height as f32);
    let mut offsets = [0; LANES];
    for ((offset, column), row) in offsets.iter_mut().zip(columns).zip(rows) {
        // A pixel extends half its size beyond its center. A negative number must not become column 0.
        let [x, y] = [(column + 0.5).floor(), (row + 0.5).floor()];
        let integer = |place: f32| (place + FRACTIONLESS).to_bits().wrapping_sub(FRACTIONLESS.to_bits());
        let begin = integer(y).wrapping_mul(stride).wrapping_add(integer(x).wrapping_mul(3));
        #[expect(
            clippy::needless_bitwise_bool,
            reason = "branches would keep the loop from being vectorized"
        )]
        let inside = (x >= 0.0) & (x < width) & (y >= 0.0) & (y < height);
        *offset = if inside { begin } else { u32::MAX };
    }
    offsets
}

fn lens_of(stream: &StreamInfo) -> Result<Intrinsics, PointCloudError> {
    let lens = stream.intrinsics.ok_or(PointCloudError::NoIntrinsics(stream.stream))?;
    if lens.is_projective() { Ok(lens) } else { Err(PointCloudError::Lens(stream.stream, lens.distortion)) }
}

/// Checks that the calibration of a stream is for its images, and that these have a possible size: what is computed for each
/// pixel of them takes memory before the first frame arrives.
///
/// # Errors
/// If the calibration is for another image size, or a side is above [`MAX_SIDE_PIXELS`].
pub fn check_declared_size(stream: &StreamInfo, lens: &Intrinsics) -> Result<(), PointCloudError> {
    let (image, calibrated) = (stream.payload.size().unwrap_or_default(), (lens.width, lens.height));
    if image != calibrated {
        return Err(PointCloudError::Size { stream: stream.stream, image, calibrated });
    }
    if image.0.max(image.1) > MAX_SIDE_PIXELS {
        return Err(PointCloudError::Side(stream.stream, image.0, image.1));
    }
    Ok(())
}

pub(crate) fn check_size(frame: Frame<'_>, lens: &Intrinsics) -> Result<(), PointCloudError> {
    if (frame.width(), frame.height()) == (lens.width, lens.height) {
        return Ok(());
    }
    let (image, calibrated) = ((frame.width(), frame.height()), (lens.width, lens.height));
    Err(PointCloudError::Size { stream: frame.stream(), image, calibrated })
}

/// An error of the conversion to points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointCloudError {
    /// The intrinsics of the stream are unknown.
    #[error("the intrinsics of {0} are not known")]
    NoIntrinsics(Stream),
    /// The transformation from the stream to depth is unknown.
    #[error("the transform from {0} to depth is not known")]
    NoTransform(Stream),
    /// The lens has an unsupported distortion model.
    #[error(
        "the lens of {0} has the distortion model `{1}`; points can be made with `none`, `brown-conrady`, \
             `modified-brown-conrady` and `inverse-brown-conrady`"
    )]
    Lens(Stream, Distortion),
    /// The memory for the points does not have the size given by their header.
    #[error("the memory for the points has another length than their header")]
    Length,
    /// The declared image is too large.
    #[error("the {0} image has {1}x{2} pixels; each side must be at most {MAX_SIDE_PIXELS}")]
    Side(Stream, u32, u32),
    /// The calibration is for another image size.
    #[error("the {stream} image has {0}x{1} pixels, and its intrinsics are for {2}x{3}", image.0, image.1,
            calibrated.0, calibrated.1)]
    Size {
        /// The stream.
        stream: Stream,
        /// Width and height of the image.
        image: (u32, u32),
        /// Width and height in the calibration.
        calibrated: (u32, u32),
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, PointsView, Timestamp};

    fn stream(stream: Stream, format: PixelFormat, width: u32, height: u32) -> StreamInfo {
        let lens = Intrinsics {
            width,
            height,
            ppx: 1.0,
            ppy: 0.0,
            fx: 2.0,
            fy: 2.0,
            distortion: Distortion::None,
            coefficients: [0.0; 5],
        };
        let profile = crate::StreamProfile::new(width, height, 30).unwrap();
        let to_depth = Some(Extrinsics::IDENTITY);
        StreamInfo { intrinsics: Some(lens), to_depth, ..StreamInfo::image(stream, format, profile) }
    }

    fn header(info: &StreamInfo) -> FrameHeader {
        info.header(7, Timestamp { clock: Clock::Hardware, nanos: 1 })
    }

    #[test]
    fn depth_becomes_points_and_color_is_looked_up() {
        let depth = stream(Stream::DEPTH, PixelFormat::Z16, 3, 1);
        // Two pixels wide, and half a metre to the left of depth: nearer points appear farther to the right.
        let mut color = stream(Stream::COLOR, PixelFormat::Rgb8, 2, 1);
        color.to_depth = Some(Extrinsics { translation_meters: [-0.5, 0.0, 0.0], ..Extrinsics::IDENTITY });
        let (depth_header, color_header) = (header(&depth), header(&color));
        let units: Vec<u8> = [2000_u16, 0, 4000].iter().flat_map(|units| units.to_le_bytes()).collect();
        let depth_view = DepthView::new(Frame::new(&depth_header, &units).unwrap(), 0.001, None).unwrap();
        let color_view = ColorView::new(Frame::new(&color_header, &[1, 2, 3, 4, 5, 6]).unwrap()).unwrap();

        let points_header = PointCloud::header(&depth_header);
        assert_eq!((points_header.size_bytes(), points_header.number), (48, 7));
        let mut bytes = vec![9; 48];
        let mut made = |color_info: Option<&StreamInfo>, color: Option<&ColorView<'_>>| {
            PointCloud::new(&depth, color_info).unwrap().write(&depth_view, color, &mut bytes).unwrap();
            PointsView::new(Frame::new(&points_header, &bytes).unwrap()).unwrap().iter().collect::<Vec<_>>()
        };
        let near = |rgb| Some(Point { meters: [-1.0, 0.0, 2.0], rgb });
        let far = |rgb| Some(Point { meters: [2.0, 0.0, 4.0], rgb });
        // -1 m + 0.5 m at 2 m is column 0.5, which is rounded up; 2.5 m at 4 m is column 2.25, outside.
        assert_eq!(made(Some(&color), Some(&color_view)), [near(Some([4, 5, 6])), None, far(None)]);
        assert_eq!(made(None, Some(&color_view)), [near(None), None, far(None)]);
        assert_eq!(made(Some(&color), None), [near(None), None, far(None)]);
    }

    #[test]
    fn each_point_is_at_the_depth_of_its_pixel() {
        let (width, height) = (37, 5);
        for (format, unit, distortion) in [
            (PixelFormat::Z16, 0.001, Distortion::None),
            (PixelFormat::Z16, 0.25, Distortion::BrownConrady),
            (PixelFormat::Distance, 0.001, Distortion::None),
        ] {
            let mut depth = stream(Stream::DEPTH, format, width, height);
            let lens = depth.intrinsics.unwrap();
            let coefficients = [1e-4, 0.0, 1e-5, 0.0, 0.0];
            depth.intrinsics = Some(Intrinsics { distortion, coefficients, ..lens });
            let header = header(&depth);
            let value = |index: u32| index * 2_654 % 5000 * u32::from(!index.is_multiple_of(7));
            let bytes: Vec<u8> = (0..width * height)
                .map(value)
                .flat_map(|value| match format {
                    PixelFormat::Z16 => (value as u16).to_le_bytes().to_vec(),
                    _ => (value as f32 / 1000.0 - 0.5).to_le_bytes().to_vec(),
                })
                .collect();
            let view = DepthView::new(Frame::new(&header, &bytes).unwrap(), unit, None).unwrap();
            for step in 1..=3 {
                let cloud = PointCloud::decimated(&depth, None, step).unwrap();
                let mut points = vec![9; cloud.len() * POINT_BYTES];
                cloud.write(&view, None, &mut points).unwrap();
                let steps = |side: u32| (0..side).step_by(step as usize);
                let places = steps(height).flat_map(|y| steps(width).map(move |x| (x, y)));
                let expected = places.flat_map(|(x, y)| {
                    let z = view.meters(x, y).unwrap_or_default();
                    let [ray_x, ray_y, _] =
                        depth.intrinsics.unwrap().deproject([x as f32, y as f32], 1.0).unwrap();
                    Point { meters: [ray_x * z + 0.0, ray_y * z + 0.0, z], rgb: None }.to_bytes()
                });
                assert!(points.iter().copied().eq(expected), "{format} {unit} {step}");
                let mut meters = vec![[9.0; 3]; cloud.len()];
                cloud.write_meters(&view, &mut meters).unwrap();
                let bits = |meters: [f32; 3]| meters.map(f32::to_bits);
                let (written, _) = points.as_chunks();
                let expected = written.iter().map(|point| bits(Point::from_bytes(point).meters));
                assert!(meters.into_iter().map(bits).eq(expected), "{format} {unit} {step}");
                assert_dense(&cloud.dense(&view, None).unwrap(), &PointCloud::header(&header), &points, step);
            }
        }
    }

    /// Checks that these are the points in a frame, of which every `step`-th column and row was taken.
    fn assert_dense(dense: &DensePoints, header: &FrameHeader, bytes: &[u8], step: u32) {
        let (width, height) = header.payload.size().unwrap();
        let payload = Payload::Points { width: width.div_ceil(step), height: height.div_ceil(step) };
        let header = FrameHeader { payload, ..*header };
        let view = PointsView::new(Frame::new(&header, bytes).unwrap()).unwrap();
        let points: Vec<_> = view.iter().flatten().collect();
        assert!(points.iter().map(|point| point.meters).eq(dense.meters.iter().copied()));
        assert!(points.iter().map(|point| point.rgb.unwrap_or_default()).eq(dense.rgb.iter().copied()));
        assert_eq!(&view.to_dense(), dense);
    }

    #[test]
    fn a_calibration_does_not_determine_the_memory() {
        let mut depth = stream(Stream::DEPTH, PixelFormat::Z16, 3, 1);
        let huge = 4_000_000;
        let lens = Intrinsics { width: huge, height: huge, ..depth.intrinsics.unwrap() };
        depth.intrinsics = Some(lens);
        let size = |image| PointCloudError::Size { stream: Stream::DEPTH, image, calibrated: (huge, huge) };
        assert_eq!(PointCloud::new(&depth, None).err(), Some(size((3, 1))));
        let color = stream(Stream::COLOR, PixelFormat::Rgb8, 2, 1);
        assert_eq!(crate::AlignDepth::new(&depth, &color).err(), Some(size((3, 1))));
        // Nor does the size in a file.
        depth.payload = Payload::image(PixelFormat::Z16, huge, huge);
        assert_eq!(
            PointCloud::new(&depth, None).err(),
            Some(PointCloudError::Side(Stream::DEPTH, huge, huge))
        );
    }

    #[test]
    fn points_hidden_from_the_color_camera_have_no_color() {
        let depth = stream(Stream::DEPTH, PixelFormat::Z16, 9, 1);
        let depth_header = header(&depth);
        // A near object in columns 3 to 5, in front of a wall.
        let units: Vec<u8> =
            (0..9).flat_map(|x| if (3..6).contains(&x) { 1000_u16 } else { 4000 }.to_le_bytes()).collect();
        let depth_view = DepthView::new(Frame::new(&depth_header, &units).unwrap(), 0.001, None).unwrap();
        let mut color = stream(Stream::COLOR, PixelFormat::Y8, 32, 1);
        let color_header = header(&color);
        let color_view = ColorView::new(Frame::new(&color_header, &[7; 32]).unwrap()).unwrap();
        let mut hidden = |meters_right: f32| {
            // The image starts far to the left, so that it contains every point.
            color.intrinsics.as_mut().unwrap().ppx = 12.0;
            let translation_meters = [meters_right, 0.0, 0.0];
            color.to_depth = Some(Extrinsics { translation_meters, ..Extrinsics::IDENTITY });
            let points_header = PointCloud::header(&depth_header);
            let mut bytes = vec![0; 9 * POINT_BYTES];
            let cloud = PointCloud::new(&depth, Some(&color)).unwrap();
            cloud.write(&depth_view, Some(&color_view), &mut bytes).unwrap();
            assert_dense(&cloud.dense(&depth_view, Some(&color_view)).unwrap(), &points_header, &bytes, 1);
            let points = PointsView::new(Frame::new(&points_header, &bytes).unwrap()).unwrap();
            let columns = points.iter().enumerate().filter(|(_, point)| point.unwrap().rgb.is_none());
            columns.map(|(column, _)| column).collect::<Vec<_>>()
        };
        // The near part is shifted by 2 columns per metre, the wall by half a column: with 2 m, 3 columns
        // apart.
        assert_eq!(hidden(-2.0), [6, 7]);
        assert_eq!(hidden(2.0), [1, 2]);
        assert!(hidden(0.0).is_empty());
    }

    #[test]
    fn without_a_calibration_there_are_no_points() {
        let depth = stream(Stream::DEPTH, PixelFormat::Z16, 2, 1);
        let color = stream(Stream::COLOR, PixelFormat::Rgb8, 2, 1);
        let mut fish_eye = depth;
        fish_eye.intrinsics.as_mut().unwrap().distortion = Distortion::KannalaBrandt4;
        let error = |depth: &StreamInfo, color: &StreamInfo| {
            PointCloud::new(depth, Some(color)).err().unwrap().to_string()
        };
        for (error, message) in [
            (
                error(&StreamInfo { intrinsics: None, ..depth }, &color),
                "the intrinsics of depth are not known",
            ),
            (
                error(&depth, &StreamInfo { intrinsics: None, ..color }),
                "the intrinsics of color are not known",
            ),
            (
                error(&depth, &StreamInfo { to_depth: None, ..color }),
                "the transform from color to depth is not known",
            ),
            (
                error(&fish_eye, &color),
                "the lens of depth has the distortion model `kannala-brandt4`; points can be made with `none`, \
                 `brown-conrady`, `modified-brown-conrady` and `inverse-brown-conrady`",
            ),
        ] {
            assert_eq!(error, message);
        }
        let half = header(&stream(Stream::DEPTH, PixelFormat::Z16, 1, 1));
        let view = DepthView::new(Frame::new(&half, &[0, 0]).unwrap(), 0.001, None).unwrap();
        let error = PointCloud::new(&depth, None).unwrap().write(&view, None, &mut [0; 16]).unwrap_err();
        assert_eq!(error.to_string(), "the depth image has 1x1 pixels, and its intrinsics are for 2x1");
    }
}
