//! Points with their colors, and frames of them.

use crate::{Frame, Payload};

/// Size of one point in a frame, in bytes.
pub(crate) const POINT_BYTES: usize = crate::POINT_BYTES as usize;

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

    /// Decodes a point as the parts of [`DensePoints`].
    pub(crate) fn parts_of(bytes: &[u8; POINT_BYTES]) -> ([f32; 3], [u8; 3]) {
        let Self { meters, rgb } = Self::from_bytes(bytes);
        (meters, rgb.unwrap_or_default())
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

    /// Returns the points of pixels that have depth.
    pub fn to_dense(&self) -> DensePoints {
        let mut dense = DensePoints::default();
        for row in self.frame.rows() {
            dense.append(row.as_chunks().0, Point::parts_of);
        }
        dense
    }
}

/// The points of pixels that have depth, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DensePoints {
    /// Their x, y and z, as those of [`Point::meters`].
    pub meters: Vec<[f32; 3]>,
    /// Red, green and blue of each; black if it has no color.
    pub rgb: Vec<[u8; 3]>,
}

impl DensePoints {
    /// Appends those points that are not at zero.
    pub(crate) fn append<P>(&mut self, points: &[P], read: impl Fn(&P) -> ([f32; 3], [u8; 3])) {
        let mut end = self.meters.len();
        self.meters.resize(end + points.len(), [0.0; 3]);
        self.rgb.resize(end + points.len(), [0; 3]);
        // Without depth, the next point is written to the same place: a branch would often be predicted wrongly.
        for point in points {
            let (meters, rgb) = read(point);
            (self.meters[end], self.rgb[end]) = (meters, rgb);
            end += usize::from(meters.iter().any(|&at| at != 0.0));
        }
        self.meters.truncate(end);
        self.rgb.truncate(end);
    }
}
