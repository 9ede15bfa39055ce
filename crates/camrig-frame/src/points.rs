//! Point clouds: depth images converted to 3D points, each with its color from the color image.
#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]

use pulp::{Arch, Simd, WithSimd};

use crate::projection::{FRACTIONLESS, LANES};
use crate::{
    ColorView, DepthView, Distortion, Extrinsics, Frame, FrameHeader, Intrinsics, Payload, PixelFormat, Role,
    Stream, StreamInfo,
};

/// Size of one point in a frame, in bytes.
const POINT_BYTES: usize = crate::POINT_BYTES as usize;

/// Points that are placed together.
const PLACED: usize = 8;

/// A point is occluded by another if it is this many columns of the color image behind it. The tolerance absorbs the noise of
/// depth.
const HIDDEN_COLUMNS: f32 = 1.0;

/// One point of a point cloud.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Position in metres, in the coordinates of the depth stream: +X right, +Y down, +Z away from the camera. Merged points
    /// are in the coordinates of the rig's root camera.
    pub meters: [f32; 3],
    /// Red, green and blue; `None` if the point is not visible in the color image.
    pub rgb: Option<[u8; 3]>,
}

impl Point {
    /// Encodes the point in the format of [`Payload::Points`].
    pub fn to_bytes(self) -> [u8; POINT_BYTES] {
        let mut bytes = [0; POINT_BYTES];
        for (to, from) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(self.meters) {
            *to = from.to_le_bytes();
        }
        if let Some([red, green, blue]) = self.rgb {
            bytes[12..].copy_from_slice(&[red, green, blue, u8::MAX]);
        }
        bytes
    }

    /// Decodes a point of [`Payload::Points`]. All zeros mean a pixel without depth.
    pub fn from_bytes(bytes: &[u8; POINT_BYTES]) -> Self {
        let (parts, _) = bytes.as_chunks::<4>();
        let [red, green, blue, known] = parts[3];
        Self {
            meters: [parts[0], parts[1], parts[2]].map(f32::from_le_bytes),
            rgb: (known != 0).then_some([red, green, blue]),
        }
    }
}

/// A frame of points, in rows like the depth image from which it was made.
#[derive(Clone, Copy, Debug)]
pub struct PointsView<'a> {
    frame: Frame<'a>,
}

impl<'a> PointsView<'a> {
    /// Creates a view; returns `None` if the payload is not [`Payload::Points`].
    pub fn new(frame: Frame<'a>) -> Option<Self> {
        matches!(frame.payload(), Payload::Points { .. }).then_some(Self { frame })
    }

    /// Returns the underlying frame.
    pub fn frame(&self) -> Frame<'a> {
        self.frame
    }

    /// Iterates over all pixels, row by row; `None` for pixels without depth, whose coordinates are all 0.
    pub fn iter(&self) -> impl Iterator<Item = Option<Point>> + use<'a> {
        let points = self.frame.rows().flat_map(|row| row.as_chunks::<POINT_BYTES>().0);
        points
            .map(Point::from_bytes)
            .map(|point| Some(point).filter(|point| point.meters.iter().any(|&at| at != 0.0)))
    }
}

/// Converts the depth images of one camera to point clouds.
///
/// Everything that depends only on the calibration is precomputed.
#[derive(Clone, Debug)]
pub struct PointCloud {
    lens: Intrinsics,
    /// One in this many columns, and in this many rows, gives points.
    step: usize,
    /// Direction of each of these pixels: x and y at distance 1.
    rays: Vec<[f32; 2]>,
    color: Option<ColorEye>,
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
    /// If the calibration of a stream is unknown, or is that of a fisheye lens.
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
        let step = step.max(1) as usize;
        let (columns, rows) = ((0..lens.width).step_by(step), (0..lens.height).step_by(step));
        let pixels = rows.flat_map(|y| columns.clone().map(move |x| [x as f32, y as f32]));
        let rays = pixels.filter_map(|pixel| lens.deproject(pixel, 1.0)).map(|[x, y, _]| [x, y]).collect();
        let eye = |color: &StreamInfo| {
            let to_depth = color.to_depth.ok_or(PointCloudError::NoTransform(color.stream))?;
            Ok(ColorEye { lens: lens_of(color)?, from_depth: to_depth.inverse() })
        };
        Ok(Self { lens, step, rays, color: color.map(eye).transpose()? })
    }

    /// Returns the number of points of a depth image, with those of pixels without depth.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.rays.len()
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
        let colored = self.color.as_ref().zip(color);
        if let Some((eye, color)) = colored {
            check_size(color.frame(), &eye.lens)?;
        }
        let colored = colored.map(|(eye, color)| (eye, color.rgb8()));
        let (points, rest) = points.as_chunks_mut::<POINT_BYTES>();
        if points.len() != self.rays.len() || !rest.is_empty() {
            return Err(PointCloudError::Length);
        }
        let width = (self.lens.width as usize).div_ceil(self.step);
        let rows = points.chunks_exact_mut(width).zip(self.rays.chunks_exact(width));
        let z16 = depth.frame().payload().pixel_format() == Some(PixelFormat::Z16);
        let mut others = depth.rows_meters().step_by(self.step);
        let (arch, mut seen) = (Arch::new(), Vec::new());
        for ((points, rays), row) in rows.zip(depth.frame().rows().step_by(self.step)) {
            if z16 {
                let units = row.as_chunks::<2>().0.iter();
                let meters = |units: &[u8; 2]| match u16::from_le_bytes(*units) {
                    0 => 0.0,
                    units => f32::from(units) * depth.unit_meters(),
                };
                match self.step {
                    1 => {
                        let (units, unit_meters) = (units.as_slice(), depth.unit_meters());
                        arch.dispatch(Placing { points: &mut *points, rays, units, unit_meters });
                    }
                    step => place(points, rays, units.step_by(step).map(meters)),
                }
            } else if let Some(depths) = others.next() {
                place(points, rays, depths.step_by(self.step).map(Option::unwrap_or_default));
            }
            if let Some((eye, (rgb8, stride))) = &colored {
                arch.dispatch(Painting { eye, rgb8, stride: *stride, points, seen: &mut seen });
            }
        }
        Ok(())
    }
}

/// Writes points without color at these depths in metres.
fn place(points: &mut [[u8; POINT_BYTES]], rays: &[[f32; 2]], depths: impl Iterator<Item = f32>) {
    for ((point, [x, y]), z) in points.iter_mut().zip(rays).zip(depths) {
        // Without depth, all bits are 0: the sum of -0 and 0 is 0.
        *point = Point { meters: [x * z + 0.0, y * z + 0.0, z], rgb: None }.to_bytes();
    }
}

/// A row of points without color, and its depths in units.
struct Placing<'a> {
    points: &'a mut [[u8; POINT_BYTES]],
    rays: &'a [[f32; 2]],
    units: &'a [[u8; 2]],
    unit_meters: f32,
}

impl WithSimd for Placing<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (points, points_left) = self.points.as_chunks_mut::<PLACED>();
        let (rays, rays_left) = self.rays.as_chunks::<PLACED>();
        let (units, units_left) = self.units.as_chunks::<PLACED>();
        for ((points, rays), units) in points.iter_mut().zip(rays).zip(units) {
            place_each(points, rays, units, self.unit_meters);
        }
        let meters = |units: &[u8; 2]| f32::from(u16::from_le_bytes(*units)) * self.unit_meters;
        place(points_left, rays_left, units_left.iter().map(meters));
    }
}

/// Writes each point as two numbers of 64 bits, which vectors interleave.
#[inline(always)]
fn place_each(
    points: &mut [[u8; POINT_BYTES]; PLACED],
    rays: &[[f32; 2]; PLACED],
    units: &[[u8; 2]; PLACED],
    unit_meters: f32,
) {
    let mut meters = [0.0; PLACED];
    for (meters, units) in meters.iter_mut().zip(units) {
        *meters = f32::from(u16::from_le_bytes(*units)) * unit_meters;
    }
    let mut halves = [[0_u64; 2]; PLACED];
    for (halves, ([x, y], z)) in halves.iter_mut().zip(rays.iter().zip(meters)) {
        let [x, y, z] = [x * z + 0.0, y * z + 0.0, z].map(|at| u64::from(at.to_bits()));
        *halves = [x | y << 32, z];
    }
    for (point, halves) in points.iter_mut().zip(halves) {
        let (to, _) = point.as_chunks_mut::<8>();
        to[0] = halves[0].to_le_bytes();
        to[1] = halves[1].to_le_bytes();
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

fn check_size(frame: Frame<'_>, lens: &Intrinsics) -> Result<(), PointCloudError> {
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
    use crate::{Clock, Timestamp};

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
        for (format, unit) in
            [(PixelFormat::Z16, 0.001), (PixelFormat::Z16, 0.25), (PixelFormat::Distance, 0.001)]
        {
            let depth = stream(Stream::DEPTH, format, width, height);
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
            }
        }
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
