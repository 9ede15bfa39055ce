//! A mesh as a PLY file: binary, little endian.

use std::io::{self, Write};

use camrig::frame::Point;

use super::Mesh;

/// Writes a mesh in metres. Vertices have colors when any of them has; those without are then black.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write_ply(mesh: &Mesh, mut to: impl Write) -> io::Result<()> {
    let Mesh { vertices, triangles } = mesh;
    let is_colored = vertices.iter().any(|vertex| vertex.rgb.is_some());
    let colors =
        if is_colored { "property uchar red\nproperty uchar green\nproperty uchar blue\n" } else { "" };
    write!(
        to,
        "ply\nformat binary_little_endian 1.0\n\
         comment meters, in the coordinates of the root camera: x to the right, y down, z forward\n\
         element vertex {}\nproperty float x\nproperty float y\nproperty float z\n{colors}\
         element face {}\nproperty list uchar int vertex_indices\nend_header\n",
        vertices.len(),
        triangles.len(),
    )?;
    for Point { meters, rgb } in vertices {
        to.write_all(meters.map(f32::to_le_bytes).as_flattened())?;
        if is_colored {
            to.write_all(&rgb.unwrap_or_default())?;
        }
    }
    for triangle in triangles {
        to.write_all(&[3])?;
        to.write_all(triangle.map(u32::to_le_bytes).as_flattened())?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_has_vertices_and_faces() {
        let vertex = |meters, rgb| Point { meters, rgb };
        let vertices = vec![
            vertex([0.0, 0.0, 1.0], Some([1, 2, 3])),
            vertex([0.5, 0.0, 1.0], None),
            vertex([0.0, 0.5, 1.0], None),
        ];
        let mut mesh = Mesh { vertices, triangles: vec![[0, 1, 2]] };
        let written = |mesh: &Mesh| {
            let mut file = Vec::new();
            write_ply(mesh, &mut file).unwrap();
            let end = b"end_header\n";
            let at = file.windows(end.len()).position(|bytes| bytes == end).unwrap() + end.len();
            (String::from_utf8(file[..at].to_vec()).unwrap(), file[at..].to_vec())
        };
        let (header, data) = written(&mesh);
        let expected = "ply\nformat binary_little_endian 1.0\n\
            comment meters, in the coordinates of the root camera: x to the right, y down, z forward\n\
            element vertex 3\nproperty float x\nproperty float y\nproperty float z\n\
            property uchar red\nproperty uchar green\nproperty uchar blue\n\
            element face 1\nproperty list uchar int vertex_indices\nend_header\n";
        assert_eq!(header, expected);
        let floats = |numbers: [f32; 3]| numbers.map(f32::to_le_bytes).concat();
        let points = [
            [&floats([0.0, 0.0, 1.0])[..], &[1, 2, 3]].concat(),
            [&floats([0.5, 0.0, 1.0])[..], &[0, 0, 0]].concat(),
            [&floats([0.0, 0.5, 1.0])[..], &[0, 0, 0]].concat(),
        ];
        let face = [&[3][..], &[0_u32, 1, 2].map(u32::to_le_bytes).concat()].concat();
        assert_eq!(data, [points.concat(), face.clone()].concat());
        mesh.vertices[0].rgb = None;
        let (header, data) = written(&mesh);
        assert_eq!(
            header,
            expected.replace("property uchar red\nproperty uchar green\nproperty uchar blue\n", "")
        );
        assert_eq!(data.len(), 36 + face.len());
    }
}
