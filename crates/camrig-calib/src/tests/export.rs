//! Tests of the file of a calibrated rig, and of its exports.

use std::collections::BTreeMap;

use camrig_frame::{Distortion, Intrinsics, Stream};

use super::*;
use crate::lens::Lens;
use crate::{ExportFormat, Identity, RigCalibration};

/// A rig of two cameras whose depth is 15 mm beside color.
fn rig() -> RigCalibration {
    let mut stage = Stage::new(arc(2, 30.0));
    stage.show(&[0, 1], 0.0, 12, 0.0);
    let solution = stage.calibrate().unwrap();
    let beside = Pose { translation_meters: [0.015, 0.0, 0.0], ..Pose::IDENTITY };
    let identity = |camera: usize| Identity {
        name: ["left", "right"][camera].to_owned(),
        serial: format!("00{camera}"),
        model: "Intel RealSense D435".to_owned(),
        stream: Stream::COLOR,
        intrinsics: intrinsics(camera),
        stream_to_camera: beside,
        depth_ratio: None,
    };
    let date = "2026-11-29T04:00:00Z".to_owned();
    RigCalibration::new(
        std::slice::from_ref(&stage.board),
        &[identity(0), identity(1)],
        0,
        &solution,
        None,
        date,
    )
}

/// The numbers of a text, in their order.
fn numbers(text: &str) -> Vec<f64> {
    let words = text.split(|at: char| !(at.is_ascii_digit() || at == '-' || at == '.'));
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let rig = rig();
    assert_eq!(RigCalibration::from_toml(&rig.to_toml()).unwrap(), rig);
    let refused = |from: &str, to: &str| {
        let text = rig.to_toml().replacen(from, to, 1);
        RigCalibration::from_toml(&text).unwrap_err().to_string()
    };
    assert_eq!(refused("version = 1", "version = 2"), "it has version 2; this program reads version 1");
    assert_eq!(refused("root = \"left\"", "root = \"rear\""), "its root `rear` is not one of its cameras");
    assert!(refused("serial = ", "number = ").starts_with("unknown field `number`"));
    let text = rig.to_toml().replacen("quaternion_xyzw = [", "quaternion_xyzw = [9", 1);
    let error = RigCalibration::from_toml(&text).unwrap_err().to_string();
    assert_eq!(error, "the quaternion of camera `left` does not have the length 1");
}

/// Names are written into XML, JSON, YAML and lines of a shell.
#[test]
fn names_that_a_topology_refuses_are_refused() {
    let text = rig().to_toml().replace("camera.right", r#"camera."a\"/><x y=\"; b""#);
    let error = RigCalibration::from_toml(&text).unwrap_err().to_string();
    assert!(error.ends_with("cannot be the name of a camera"), "{error}\n{text}");
    let text = rig().to_toml().replace("stream = \"color\"", "stream = \"color;x\"");
    let error = RigCalibration::from_toml(&text).unwrap_err().to_string();
    assert!(error.contains("is not the name of a stream"), "{error}");
}

#[test]
fn poses_are_those_of_depth() {
    let rig = rig();
    let (left, right) = (&rig.camera["left"], &rig.camera["right"]);
    assert_eq!(left.pose(), Pose::IDENTITY);
    // Color of the left camera is where its depth is 15 mm to the right.
    let between = left.stream_pose().inverse().after(&right.stream_pose());
    let (meters, radians) = Stage::new(arc(2, 30.0)).truth(1).inverse().after(&between).size();
    assert!(meters < 1e-6 && radians < 1e-6, "{meters} {radians}");
    assert!((left.stream_pose().translation_meters[0] - 0.015).abs() < 1e-12);
}

#[test]
fn every_format_has_the_same_pose() {
    let rig = rig();
    let right = &rig.camera["right"];
    let texts: BTreeMap<_, _> =
        ExportFormat::ALL.into_iter().map(|(name, format)| (name, rig.export(format))).collect();
    let near = |found: &[f64], expected: &[f64]| {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    };
    let after = |text: &str, word: &str| text.split_once(word).map(|(_, rest)| rest.to_owned()).unwrap();
    let urdf = after(&texts["urdf"], "xyz=");
    near(&numbers(&urdf)[..3], &right.translation_meters);
    near(&numbers(&urdf)[3..6], &right.pose().roll_pitch_yaw());
    let ros2: Vec<_> = texts["ros2"].split_whitespace().filter_map(|word| word.parse::<f64>().ok()).collect();
    near(&ros2[..3], &right.translation_meters);
    near(&ros2[3..], &right.quaternion_xyzw);
    // Kalibr leads from the camera before, COLMAP from the root, to the stream.
    let from_left = right.stream_pose().inverse().after(&rig.camera["left"].stream_pose());
    near(&numbers(&after(&texts["kalibr"], "T_cn_cnm1:"))[..16], from_left.matrix().as_flattened());
    let colmap = numbers(&after(&texts["colmap"], "cam_from_rig_rotation"));
    let [x, y, z, w] = from_left.quaternion_xyzw;
    near(&colmap[..4], &[w, x, y, z]);
    near(&colmap[4..7], &from_left.translation_meters);
    // Open3D has the inverse pose by columns, NeRF the pose with Y and Z turned over.
    let open3d = numbers(&after(&after(&texts["open3d"], "\"right\""), "\"extrinsic\""));
    let inverse = right.stream_pose().inverse().matrix();
    near(&open3d[..16], &std::array::from_fn::<f64, 16, _>(|at| inverse[at % 4][at / 4]));
    let nerf = numbers(&after(&after(&texts["nerf"], "right.png"), "transform_matrix"));
    let matrix = right.stream_pose().matrix().map(|[x, y, z, origin]| [x, -y, -z, origin]);
    near(&nerf[..16], matrix.as_flattened());
}

#[test]
fn every_format_has_the_lens_as_far_as_it_can() {
    let rig = rig();
    let given = intrinsics(0);
    let [k1, k2, p1, p2, k3] = given.coefficients;
    let center = [given.ppx + 0.5, given.ppy + 0.5];
    let colmap = rig.export(ExportFormat::Colmap);
    let full = format!(
        "\"FULL_OPENCV\", \"camera_params\": [{}, {}, {}, {}, {k1}, {k2}, {p1}, {p2}, {k3}, 0, 0, 0]",
        given.fx, given.fy, center[0], center[1]
    );
    assert!(colmap.contains(&full), "{colmap}");
    assert!(colmap.contains("\"OPENCV\", ") && colmap.contains(", 0, 0, 0, 0]"), "{colmap}");
    assert!(
        rig.export(ExportFormat::Nerf)
            .contains(&format!("\"k2\": {k2}, \"p1\": {p1}, \"p2\": {p2}, \"k3\": {k3}"))
    );
    // Kalibr has no third radial coefficient: the others make up for it.
    let kalibr = rig.export(ExportFormat::Kalibr);
    let found = numbers(kalibr.split_once("distortion_coeffs: ").unwrap().1);
    let coefficients = [found[0] as f32, found[1] as f32, found[2] as f32, found[3] as f32, 0.0];
    let lens = |coefficients| Lens::new(&Intrinsics { coefficients, ..given }).unwrap();
    let error = |coefficients| {
        let corner = lens(given.coefficients).ray(nalgebra::Vector2::zeros());
        let pixel = lens(coefficients).project(&nalgebra::Point3::new(corner.x, corner.y, 1.0));
        pixel.unwrap().norm()
    };
    let dropped = error([k1, k2, p1, p2, 0.0]);
    assert!(error(coefficients) < 0.4 && dropped > 2.0, "{} {dropped}", error(coefficients));
    let errors = |format| rig.lens_errors(format).map(|(_, error)| error).collect::<Vec<_>>();
    assert_eq!(rig.camera["right"].intrinsics.distortion, Distortion::None);
    let [left, right] = errors(ExportFormat::Kalibr)[..] else { panic!() };
    assert!(left > 0.1 && left < 0.4 && right == 0.0, "{left} {right}");
    let [left, right] = errors(ExportFormat::Open3d)[..] else { panic!() };
    assert!(left > 3.0 && right == 0.0, "{left} {right}");
    for format in [ExportFormat::Colmap, ExportFormat::Nerf, ExportFormat::Urdf] {
        assert_eq!(errors(format), [0.0; 2]);
    }
}
