//! Points as a PLY file: binary, little endian, one vertex for each pixel that has depth.
//!
//! The format is Greg Turk's ("The PLY Polygon File Format", 1994), as most 3D programs read it. It
//! deliberately does not depend on a file system.

use camrig_frame::{Point, PointsView};

/// The bytes of a vertex: three `f32` and three `u8`.
const VERTEX_BYTES: usize = 15;

/// Points as a PLY file: binary, little endian, a vertex for each pixel that has depth, in metres. Vertices have colors
/// when any of the points has; those without are then black.
pub fn encode(points: &PointsView<'_>) -> Vec<u8> {
    let colored = points.iter().flatten().any(|point| point.rgb.is_some());
    let count = points.iter().flatten().count();
    let colors = if colored { "property uchar red\nproperty uchar green\nproperty uchar blue\n" } else { "" };
    let mut file = Vec::with_capacity(256 + count * VERTEX_BYTES);
    file.extend_from_slice(
        format!(
            "ply\nformat binary_little_endian 1.0\n\
             comment meters; x to the right, y down, z away from the camera\n\
             element vertex {count}\nproperty float x\nproperty float y\nproperty float z\n{colors}end_header\n"
        )
        .as_bytes(),
    );
    for Point { meters, rgb } in points.iter().flatten() {
        file.extend(meters.iter().flat_map(|part| part.to_le_bytes()));
        if colored {
            file.extend_from_slice(&rgb.unwrap_or_default());
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use camrig_frame::{Frame, FrameHeader, Payload, Stream};

    use super::*;

    /// Points of one row: x, y, z and further fields.
    fn file(points: &[([f32; 3], [u8; 4])]) -> Vec<u8> {
        let bytes: Vec<u8> = points
            .iter()
            .flat_map(|(meters, rest)| meters.iter().flat_map(|part| part.to_le_bytes()).chain(*rest))
            .collect();
        let points = Payload::Points { width: points.len() as u32, height: 1 };
        let header = FrameHeader::new(Stream::POINTS, points);
        encode(&PointsView::new(Frame::new(&header, &bytes).unwrap()).unwrap())
    }

    #[test]
    fn a_vertex_for_each_point_that_there_is() {
        let points = [
            ([0.0, 0.0, 0.0], [0; 4]),
            ([-0.5, 0.25, 1.0], [1, 2, 3, 255]),
            ([0.5, -0.25, 2.0], [9, 9, 9, 0]),
        ];
        let header = "ply\nformat binary_little_endian 1.0\n\
            comment meters; x to the right, y down, z away from the camera\n\
            element vertex 2\nproperty float x\nproperty float y\nproperty float z\n";
        let colors = "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n";
        let floats = |parts: [f32; 3]| parts.map(f32::to_le_bytes).concat();
        let (near, far) = (floats([-0.5, 0.25, 1.0]), floats([0.5, -0.25, 2.0]));
        let expected = [header.as_bytes(), colors.as_bytes(), &near, &[1, 2, 3], &far, &[0, 0, 0]].concat();
        assert_eq!(file(&points), expected);

        let without_color = points.map(|(meters, _)| (meters, [0; 4]));
        assert_eq!(file(&without_color), [header.as_bytes(), b"end_header\n", &near, &far].concat());
    }
}
