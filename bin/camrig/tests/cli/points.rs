//! Compares every point of a PLY file with the depth image, through real processes.

use std::fs;
use std::path::Path;

use crate::program::Test;

const TOPOLOGY: &str = r#"
[camera.c]
driver = "synthetic"
options = { model = "d405", depth = "424x240@30", color = "424x240@30", paced = false }

[processor.points]
kind = "pointcloud"
inputs = ["c"]
overflow = "block"

[processor.files]
kind = "snapshot"
inputs = ["points"]
overflow = "block"
options = { folder = "points", every = 1 }

[processor.pictures]
kind = "snapshot"
inputs = ["c"]
overflow = "block"
options = { folder = "pictures", every = 1, depth16 = true }
"#;

/// x, y, z and color.
type Vertex = ([f32; 3], [u8; 3]);

/// Splits a PLY file into its header and vertices.
fn parse(file: &[u8]) -> (String, Vec<Vertex>) {
    let end = b"end_header\n";
    let header = file.windows(end.len()).position(|window| window == end).unwrap() + end.len();
    let (header, vertices) = file.split_at(header);
    let (vertices, rest) = vertices.as_chunks::<15>();
    assert!(rest.is_empty());
    let vertex = |bytes: &[u8; 15]| {
        let parts = bytes.as_chunks::<4>().0;
        ([parts[0], parts[1], parts[2]].map(f32::from_le_bytes), [bytes[12], bytes[13], bytes[14]])
    };
    (String::from_utf8(header.to_vec()).unwrap(), vertices.iter().map(vertex).collect())
}

/// Returns the pixels of a PNG as it stores them.
fn decode(path: &Path) -> Vec<u8> {
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    let mut png = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; png.output_buffer_size().unwrap()];
    png.next_frame(&mut pixels).unwrap();
    pixels
}

/// Compares the points of a frameset with its pictures, and returns the file of the points.
#[track_caller]
fn points_are_those_of_the_pictures(folder: &Path, number: u64) -> Vec<u8> {
    let file = |name: String| folder.join(name);
    let ply = fs::read(file(format!("points/c-{number:06}-points.ply"))).unwrap();
    let (header, vertices) = parse(&ply);
    let depth = decode(&file(format!("pictures/c-{number:06}-depth16.png")));
    let color = decode(&file(format!("pictures/c-{number:06}-color.png")));
    // Both streams of a D405 come from the same imager, so a point has the color of its own pixel.
    let pixels = depth.as_chunks::<2>().0.iter().zip(color.as_chunks::<3>().0);
    let seen = pixels.map(|(depth, color)| (u16::from_be_bytes(*depth), *color));
    let seen: Vec<_> = seen.filter(|&(units, _)| units > 0).collect();
    assert!(header.contains(&format!("element vertex {}\n", seen.len())), "{header}");
    assert_eq!(vertices.len(), seen.len());
    for (([x, y, z], rgb), (units, color)) in vertices.into_iter().zip(seen) {
        assert!((z - f32::from(units) * 0.0001).abs() < 1e-7 && rgb == color, "{z} {units} {rgb:?}");
        assert!(x.abs() <= z * 0.95 && y.abs() <= z * 0.56, "{x} {y} {z} is beyond 87 x 58 degrees");
    }
    ply
}

/// Makes the folders of both processors.
fn make_folders(test: &Test) {
    for name in ["points", "pictures"] {
        fs::create_dir(test.folder().join(name)).unwrap();
    }
}

#[test]
fn every_placement_writes_the_same_points() {
    let mut written = Vec::new();
    for placement in ["in-process", "multi-process"] {
        let args = ["run", "t.toml", "--framesets", "3", "--placement", placement];
        let test = Test::new().topology(TOPOLOGY).args(args);
        make_folders(&test);
        test.run();
        for number in 0..3 {
            written.push(points_are_those_of_the_pictures(test.folder(), number));
        }
    }
    let (in_process, multi_process) = written.split_at(3);
    assert!(in_process == multi_process, "the placements differ");
}

/// Both processors decode the same pixels of a JPEG image.
#[test]
fn every_color_format_colors_the_points() {
    for format in ["bgr8", "rgba8", "bgra8", "yuyv", "uyvy", "mjpeg"] {
        let color_format = format!("paced = false, color_format = \"{format}\"");
        let topology = TOPOLOGY.replace("paced = false", &color_format);
        let test = Test::new().topology(topology).args(["run", "t.toml", "--framesets", "2"]);
        make_folders(&test);
        test.run();
        points_are_those_of_the_pictures(test.folder(), 1);
    }
}

#[test]
fn points_without_a_calibration_are_an_error() {
    // A camera without depth.
    let topology = TOPOLOGY.replace("depth = \"424x240@30\"", "depth = \"off\"");
    let topology = topology.replace("kind = \"pointcloud\"", "kind = \"pointcloud\"\nrestart = { max = 0 }");
    let test = Test::new().topology(&topology).args(["run", "t.toml", "--framesets", "3"]);
    make_folders(&test);
    let error = "\
error: `points` cannot read `c`: it has no depth
 --> t.toml:9:11
  |
9 | inputs = [\"c\"]
  |           ^^^
";
    let test = test.stderr(error).status(78);
    test.run();
    test.args(["check", "t.toml"]).run();
}
