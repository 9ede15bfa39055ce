//! Points as a file of the Point Cloud Library: PCD 0.7, binary, one point for each pixel that has depth.
//!
//! It deliberately does not depend on a file system.

use camrig_frame::{Point, PointsView};

/// Bytes of a point without color: three `f32`.
const POINT_BYTES: usize = 12;
/// Bytes of a color: a 32-bit number, 0x00RRGGBB.
const COLOR_BYTES: usize = 4;

/// Encodes points as a PCD file: binary, a point for each pixel that has depth, in metres. If any of them has a color, those without
/// are black.
pub fn encode(points: &PointsView<'_>) -> Vec<u8> {
    let colored = points.iter().flatten().any(|point| point.rgb.is_some());
    let count = points.iter().flatten().count();
    let (fields, sizes, kinds, counts) = if colored {
        ("x y z rgb", "4 4 4 4", "F F F U", "1 1 1 1")
    } else {
        ("x y z", "4 4 4", "F F F", "1 1 1")
    };
    let header = format!(
        "# .PCD v0.7 - meters; x to the right, y down, z away from the camera\nVERSION 0.7\nFIELDS {fields}\n\
         SIZE {sizes}\nTYPE {kinds}\nCOUNT {counts}\nWIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n\
         POINTS {count}\nDATA binary\n"
    );
    let point_bytes = POINT_BYTES + if colored { COLOR_BYTES } else { 0 };
    let mut file = Vec::with_capacity(header.len() + count * point_bytes);
    file.extend_from_slice(header.as_bytes());
    for Point { meters, rgb } in points.iter().flatten() {
        file.extend(meters.iter().flat_map(|part| part.to_le_bytes()));
        if colored {
            let [red, green, blue] = rgb.unwrap_or_default();
            file.extend([blue, green, red, 0]);
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use camrig_frame::{Frame, FrameHeader, Payload, Stream};

    use super::*;

    #[test]
    fn points_have_colors_when_any_has() {
        let floats = |parts: [f32; 3]| parts.map(f32::to_le_bytes).concat();
        let near = floats([-0.5, 0.25, 1.0]);
        let header = FrameHeader::new(Stream::POINTS, Payload::Points { width: 2, height: 1 });
        for (rest, fields, last) in [
            ([1, 2, 3, 255], "x y z rgb\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\n", &[3, 2, 1, 0][..]),
            ([9, 9, 9, 0], "x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\n", &[]),
        ] {
            let bytes = [&near[..], &rest, &[0; 16]].concat();
            let points = PointsView::new(Frame::new(&header, &bytes).unwrap()).unwrap();
            let text = format!(
                "# .PCD v0.7 - meters; x to the right, y down, z away from the camera\nVERSION 0.7\n\
                 FIELDS {fields}WIDTH 1\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 1\nDATA binary\n"
            );
            assert_eq!(encode(&points), [text.as_bytes(), &near, last].concat());
        }
    }
}
