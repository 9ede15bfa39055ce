//! A calibrated rig in the formats of other programs.
//!
//! All poses are of optical coordinates: X points right, Y down, Z forward.

use std::fmt::Write;

use camrig_frame::{Distortion, Intrinsics};
use nalgebra::{Matrix2, Point3, Vector2};

use crate::lens::Lens;
use crate::{CalibratedCamera, Optics, Pose, RigCalibration};

/// Number of pixels, in each direction of an image, at which lenses are compared.
const COMPARED: u32 = 25;

/// A format of another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// A robot description: one link for each camera, fixed to that of the root.
    Urdf,
    /// Kalibr's `camchain.yaml`.
    Kalibr,
    /// `Open3D`: a JSON document with a pinhole camera for each camera.
    Open3d,
    /// `NeRF`: a `transforms.json`.
    Nerf,
    /// COLMAP's `rig_config.json`.
    Colmap,
    /// The arguments of ROS 2's `static_transform_publisher`, one line for each camera.
    Ros2,
}

impl ExportFormat {
    /// Every format with its name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("urdf", Self::Urdf),
        ("kalibr", Self::Kalibr),
        ("open3d", Self::Open3d),
        ("nerf", Self::Nerf),
        ("colmap", Self::Colmap),
        ("ros2", Self::Ros2),
    ];
}

impl ExportFormat {
    /// Returns the coefficients of OpenCV's model in this format: k1, k2, p1, p2, k3.
    fn coefficients(self, optics: &Optics) -> [f32; 5] {
        match self {
            // Those of a camera without distortion are not used.
            _ if optics.distortion == Distortion::None => [0.0; 5],
            Self::Kalibr => without_third(optics),
            Self::Open3d => [0.0; 5],
            Self::Urdf | Self::Nerf | Self::Colmap | Self::Ros2 => optics.coefficients,
        }
    }

    fn lens_error(self, optics: &Optics) -> f64 {
        let is = Intrinsics { coefficients: self.coefficients(optics), ..optics.into() };
        let Some(lenses) = Lens::new(&optics.into()).zip(Lens::new(&is)) else { return 0.0 };
        let error = |point| Some((lenses.0.project(&point)? - lenses.1.project(&point)?).norm());
        points(optics).filter_map(error).fold(0.0, f64::max)
    }
}

/// Returns points at distance 1 that a camera sees in all parts of its image.
fn points(optics: &Optics) -> impl Iterator<Item = Point3<f64>> + use<> {
    let last = [optics.width, optics.height].map(|side| f64::from(side.saturating_sub(1)));
    let at = move |axis: usize, step: u32| last[axis] * f64::from(step) / f64::from(COMPARED - 1);
    let pixels = (0..COMPARED).flat_map(move |row| (0..COMPARED).map(move |column| [column, row]));
    let lens = Lens::new(&optics.into());
    pixels.filter_map(move |[column, row]| {
        let ray = lens.as_ref()?.ray(Vector2::new(at(0, column), at(1, row)));
        Some(Point3::new(ray.x, ray.y, 1.0))
    })
}

/// Returns the coefficients without a third radial one that come nearest to those of a camera in all of its image.
fn without_third(optics: &Optics) -> [f32; 5] {
    let [k1, k2, p1, p2, k3] = optics.coefficients;
    if k3 == 0.0 {
        return optics.coefficients;
    }
    let (mut squares, mut along) = (Matrix2::zeros(), Vector2::zeros());
    for point in points(optics) {
        let square = point.coords.xy().norm_squared();
        let slope = Vector2::new(square, square * square) * square.sqrt();
        squares += slope * slope.transpose();
        along += slope * (f64::from(k3) * square.powi(3) * square.sqrt());
    }
    let more = squares.cholesky().map_or_else(Vector2::zeros, |squares| squares.solve(&along));
    [k1 + more.x as f32, k2 + more.y as f32, p1, p2, 0.0]
}

impl RigCalibration {
    /// Writes the rig in another format.
    pub fn export(&self, format: ExportFormat) -> String {
        match format {
            ExportFormat::Urdf => self.urdf(),
            ExportFormat::Kalibr => self.kalibr(),
            ExportFormat::Open3d => self.open3d(),
            ExportFormat::Nerf => self.nerf(),
            ExportFormat::Colmap => self.colmap(),
            ExportFormat::Ros2 => self.ros2(),
        }
    }

    /// Returns for each camera the largest distance of a point's pixel from where its lens in the format has it, in pixels: Kalibr
    /// has two radial coefficients of distortion, and `Open3D` no distortion.
    pub fn lens_errors(&self, format: ExportFormat) -> impl Iterator<Item = (&str, f64)> {
        self.camera.iter().map(move |(name, camera)| (name.as_str(), format.lens_error(&camera.intrinsics)))
    }

    /// Returns the cameras, that of the root first.
    fn root_first(&self) -> impl Iterator<Item = (&String, &CalibratedCamera)> {
        let of_root = self.camera.get_key_value(&self.root);
        of_root.into_iter().chain(self.camera.iter().filter(|(name, _)| **name != self.root))
    }

    fn urdf(&self) -> String {
        let mut text = String::from("<?xml version=\"1.0\"?>\n<robot name=\"rig\">\n");
        for (name, camera) in self.root_first() {
            let _ = writeln!(text, "  <link name=\"{name}\"/>");
            if *name == self.root {
                continue;
            }
            let _ = write!(
                text,
                "  <joint name=\"{root}_to_{name}\" type=\"fixed\">\n    <parent link=\"{root}\"/>\n    \
                 <child link=\"{name}\"/>\n    <origin xyz=\"{}\" rpy=\"{}\"/>\n  </joint>\n",
                spaced(&camera.translation_meters),
                spaced(&camera.pose().roll_pitch_yaw()),
                root = self.root,
            );
        }
        text + "</robot>\n"
    }

    /// Writes `camchain.yaml`: each camera has the transform from the coordinates of the previous one.
    fn kalibr(&self) -> String {
        let mut text = String::new();
        let mut before: Option<Pose> = None;
        for (index, (name, camera)) in self.root_first().enumerate() {
            let optics = &camera.intrinsics;
            let [k1, k2, p1, p2, _] = ExportFormat::Kalibr.coefficients(optics);
            let _ = write!(
                text,
                "cam{index}: # {name}\n  camera_model: pinhole\n  intrinsics: [{}, {}, {}, {}]\n  \
                 distortion_model: radtan\n  distortion_coeffs: [{k1}, {k2}, {p1}, {p2}]\n  \
                 resolution: [{}, {}]\n  rostopic: /{name}/{}/image_raw\n",
                optics.fx, optics.fy, optics.ppx, optics.ppy, optics.width, optics.height, camera.stream,
            );
            let pose = camera.stream_pose();
            if let Some(before) = before.replace(pose) {
                text.push_str("  T_cn_cnm1:\n");
                for row in pose.inverse().after(&before).matrix() {
                    let _ = writeln!(text, "  - [{}]", listed(&row));
                }
            }
        }
        text
    }

    fn open3d(&self) -> String {
        let cameras = self.root_first().map(|(name, camera)| {
            let optics = &camera.intrinsics;
            // By columns, as Open3D writes its matrices.
            let extrinsic = transposed(&camera.stream_pose().inverse().matrix());
            let matrix = [optics.fx, 0.0, 0.0, 0.0, optics.fy, 0.0, optics.ppx, optics.ppy, 1.0];
            format!(
                "    {{\n      \"class_name\": \"PinholeCameraParameters\",\n      \"name\": \"{name}\",\n      \
                 \"extrinsic\": [{}],\n      \"intrinsic\": {{\"width\": {}, \"height\": {}, \
                 \"intrinsic_matrix\": [{}]}},\n      \"version_major\": 1,\n      \"version_minor\": 0\n    }}",
                listed(&extrinsic),
                optics.width,
                optics.height,
                matrix.map(|value| value.to_string()).join(", "),
            )
        });
        let cameras: Vec<_> = cameras.collect();
        format!(
            "{{\n  \"class_name\": \"PinholeCameraTrajectory\",\n  \"parameters\": [\n{}\n  ],\n  \
             \"version_major\": 1,\n  \"version_minor\": 0\n}}\n",
            cameras.join(",\n")
        )
    }

    /// Writes `transforms.json`: the cameras look along -Z with Y up, as those of OpenGL do.
    fn nerf(&self) -> String {
        let frames = self.root_first().map(|(name, camera)| {
            let optics = &camera.intrinsics;
            let turned = camera.stream_pose().matrix().map(|[x, y, z, origin]| [x, -y, -z, origin]);
            let rows = turned.map(|row| format!("[{}]", listed(&row))).join(", ");
            let [k1, k2, p1, p2, k3] = ExportFormat::Nerf.coefficients(optics);
            format!(
                "    {{\"file_path\": \"{name}.png\", \"w\": {}, \"h\": {}, \"fl_x\": {}, \"fl_y\": {}, \"cx\": {}, \
                 \"cy\": {}, \"k1\": {k1}, \"k2\": {k2}, \"p1\": {p1}, \"p2\": {p2}, \"k3\": {k3}, \
                 \"transform_matrix\": [{rows}]}}",
                optics.width,
                optics.height,
                optics.fx,
                optics.fy,
                // The center of the upper left pixel is at half a pixel there.
                optics.ppx + 0.5,
                optics.ppy + 0.5,
            )
        });
        let frames: Vec<_> = frames.collect();
        format!("{{\n  \"camera_model\": \"OPENCV\",\n  \"frames\": [\n{}\n  ]\n}}\n", frames.join(",\n"))
    }

    /// Images of each camera are expected in a folder of its name.
    fn colmap(&self) -> String {
        let cameras = self.root_first().map(|(name, camera)| {
            let optics = &camera.intrinsics;
            let [k1, k2, p1, p2, k3] = ExportFormat::Colmap.coefficients(optics);
            // The coefficients of the denominator are zero.
            let (model, more) =
                if k3 == 0.0 { ("OPENCV", String::new()) } else { ("FULL_OPENCV", format!(", {k3}, 0, 0, 0")) };
            let intrinsics = format!(
                "\"camera_model_name\": \"{model}\", \"camera_params\": [{}, {}, {}, {}, {k1}, {k2}, {p1}, {p2}{more}]",
                optics.fx,
                optics.fy,
                optics.ppx + 0.5,
                optics.ppy + 0.5,
            );
            if *name == self.root {
                return format!("      {{\"image_prefix\": \"{name}/\", \"ref_sensor\": true, {intrinsics}}}");
            }
            let from_root = camera.stream_pose().inverse().after(&self.camera[&self.root].stream_pose());
            let [x, y, z, w] = from_root.quaternion_xyzw;
            format!(
                "      {{\"image_prefix\": \"{name}/\", \"cam_from_rig_rotation\": [{}], \
                 \"cam_from_rig_translation\": [{}], {intrinsics}}}",
                listed(&[w, x, y, z]),
                listed(&from_root.translation_meters),
            )
        });
        let cameras: Vec<_> = cameras.collect();
        format!("[\n  {{\n    \"cameras\": [\n{}\n    ]\n  }}\n]\n", cameras.join(",\n"))
    }

    fn ros2(&self) -> String {
        let mut text = String::new();
        for (name, camera) in self.root_first().skip(1) {
            let ([x, y, z], [qx, qy, qz, qw]) =
                (camera.translation_meters, camera.quaternion_xyzw).map_all(rounded);
            let _ = writeln!(
                text,
                "ros2 run tf2_ros static_transform_publisher --x {x} --y {y} --z {z} --qx {qx} --qy {qy} --qz {qz} \
                 --qw {qw} --frame-id {} --child-frame-id {name}",
                self.root
            );
        }
        text
    }
}

/// Applies a function to all numbers of a translation and a rotation.
trait MapAll {
    fn map_all(self, by: fn(f64) -> f64) -> Self;
}

impl MapAll for ([f64; 3], [f64; 4]) {
    fn map_all(self, by: fn(f64) -> f64) -> Self {
        (self.0.map(by), self.1.map(by))
    }
}

/// Rounds to a nanometre, or less than a millionth of a degree, and leaves no negative zero.
fn rounded(value: f64) -> f64 {
    (value * 1e9).round() / 1e9 + 0.0
}

fn listed(values: &[f64]) -> String {
    values.iter().map(|value| rounded(*value).to_string()).collect::<Vec<_>>().join(", ")
}

fn spaced(values: &[f64]) -> String {
    values.iter().map(|value| rounded(*value).to_string()).collect::<Vec<_>>().join(" ")
}

/// Returns a matrix by its columns.
fn transposed(matrix: &[[f64; 4]; 4]) -> [f64; 16] {
    std::array::from_fn(|at| matrix[at % 4][at / 4])
}
