//! Tests of the settings of a camera, and of refused ones.

use camrig::Driver;
use realsense_sys as rs2;

use super::software::{Identity, Scene, SoftwareCamera, SoftwareOption};
use super::{SCENE, Scratch, open_among, options, refusal, wait};
use crate::RealSense;
use crate::driver::{Grabbed, Grabber};
use crate::sys::OptionKind;

const fn option(of_color: bool, option: rs2::rs2_option, range: [f32; 4]) -> SoftwareOption {
    SoftwareOption { of_color, option, range, writable: true }
}

const EXPOSURE: SoftwareOption =
    option(false, rs2::rs2_option_RS2_OPTION_EXPOSURE, [1.0, 200_000.0, 1.0, 8500.0]);
const AUTO: SoftwareOption =
    option(false, rs2::rs2_option_RS2_OPTION_ENABLE_AUTO_EXPOSURE, [0.0, 1.0, 1.0, 1.0]);
const PRESET: SoftwareOption = option(false, rs2::rs2_option_RS2_OPTION_VISUAL_PRESET, [0.0, 5.0, 1.0, 0.0]);

/// A camera with the sensors and some options of a D435.
pub(super) const D435: Scene = Scene {
    identity: Identity::D435,
    options: &[
        EXPOSURE,
        AUTO,
        PRESET,
        option(false, rs2::rs2_option_RS2_OPTION_LASER_POWER, [0.0, 360.0, 30.0, 150.0]),
        option(true, rs2::rs2_option_RS2_OPTION_EXPOSURE, [1.0, 10_000.0, 1.0, 156.0]),
        option(true, rs2::rs2_option_RS2_OPTION_HUE, [-180.0, 180.0, 1.0, 0.0]),
        SoftwareOption {
            writable: false,
            ..option(false, rs2::rs2_option_RS2_OPTION_ASIC_TEMPERATURE, [-40.0, 125.0, 0.0, 0.0])
        },
    ],
    ..SCENE
};

/// A camera with the only sensor of a D405.
pub(super) const D405: Scene = Scene { one_sensor: true, options: &[EXPOSURE, AUTO, PRESET], ..SCENE };

pub(super) const ANY: &str = "any = true\ndepth = '64x48@60'\n";

/// Returns the value of `name` on the depth sensor (0) or the color sensor (1) once the camera is set up.
fn set(scene: Scene, settings: &str, sensor: usize, name: &str) -> f32 {
    let camera = SoftwareCamera::new(scene);
    let open = open_among(&options(&format!("{ANY}{settings}")), &[&camera]).unwrap();
    open.option(sensor, OptionKind::named(name).unwrap())
}

#[test]
#[allow(clippy::float_cmp, reason = "these are whole numbers")]
fn options_go_to_the_sensor_that_has_them() {
    assert_eq!(set(D435, "set = { exposure = 9000 }", 0, "exposure"), 9000.0);
    assert_eq!(set(D435, "set = { exposure = 9000 }", 1, "exposure"), 156.0);
    assert_eq!(set(D435, "set_color = { exposure = 200 }", 0, "exposure"), 8500.0);
    assert_eq!(set(D435, "set_color = { exposure = 200 }", 1, "exposure"), 200.0);
    // Only the color sensor has it.
    assert_eq!(set(D435, "set = { hue = -7.0 }", 1, "hue"), -7.0);
    assert_eq!(set(D435, "set = { enable_auto_exposure = false }", 0, "enable_auto_exposure"), 0.0);
    for name in ["high accuracy", "High Accuracy", "high-accuracy", "high_accuracy"] {
        assert_eq!(
            set(D435, &format!("set = {{ visual_preset = '{name}' }}"), 0, "visual_preset"),
            3.0,
            "{name}"
        );
    }
    assert_eq!(set(D405, "set_color = { exposure = 200 }", 0, "exposure"), 200.0);
}

#[test]
fn options_that_a_camera_does_not_have_are_refused() {
    for (scene, settings, message) in [
        (
            D435,
            "set = { exposure = 0 }",
            "option `exposure` of camera `000000000043` is 0: it must be 1 to 200000 in steps of 1",
        ),
        (
            D435,
            "set_color = { exposure = 20000 }",
            "option `exposure` of camera `000000000043` is 20000: it must be 1 to 10000 in steps of 1",
        ),
        (
            D435,
            "set = { laser_power = 31 }",
            "option `laser_power` of camera `000000000043` is 31: it must be 0 to 360 in steps of 30",
        ),
        (
            D435,
            "set = { laser_power = true }",
            "option `laser_power` of camera `000000000043` is true: it must be 0 to 360 in steps of 30",
        ),
        (
            D435,
            "set = { exposure = 'long' }",
            "option `exposure` of camera `000000000043` is \"long\": it must be 1 to 200000 in steps of 1",
        ),
        (
            D435,
            "set = { visual_preset = 'best' }",
            "option `visual_preset` of camera `000000000043` is \"best\": expected one of: \"custom\", \"default\", \
             \"hand\", \"high accuracy\", \"high density\", \"medium density\"",
        ),
        (
            D435,
            "set = { asic_temperature = 20 }",
            "option `asic_temperature` of camera `000000000043` is read-only",
        ),
        (
            D435,
            "set_color = { laser_power = 30 }",
            "camera `000000000043` (Intel RealSense D435) has no option `laser_power`: it has: `exposure`, \
             `frames_queue_size`, `hue`",
        ),
        (
            D405,
            "set = { laser_power = 30 }",
            "camera `000000000042` (Intel RealSense D405) has no option `laser_power`: a D405 has no laser",
        ),
        (
            D405,
            "set = { emitter_enabled = true }",
            "camera `000000000042` (Intel RealSense D405) has no option `emitter_enabled`: a D405 has no laser",
        ),
        (
            D405,
            "set = { exposure = 9000 }\nset_color = { exposure = 200 }",
            "option `exposure` is both in `set` and in `set_color`, and camera `000000000042` (Intel RealSense D405) \
             has it once: its color comes from the depth sensor",
        ),
    ] {
        let refused = refusal(&options(&format!("{ANY}{settings}")), &[scene]);
        assert_eq!(refused.to_string(), message);
        assert!(!refused.is_unavailable());
    }
}

#[test]
fn every_refused_option_is_named() {
    let refused = refusal(
        &options(&format!("{ANY}set = {{ exposure = 0, laser_power = 31 }}\nset_color = {{ hue = 181 }}")),
        &[D435],
    );
    assert_eq!(
        refused.to_string(),
        "option `exposure` of camera `000000000043` is 0: it must be 1 to 200000 in steps of 1; \
         option `laser_power` of camera `000000000043` is 31: it must be 0 to 360 in steps of 30; \
         option `hue` of camera `000000000043` is 181: it must be -180 to 180 in steps of 1"
    );
}

/// Returns the options of a D435 with this role in a hardware sync.
const SYNCED: Scene = Scene {
    options: &[option(false, rs2::rs2_option_RS2_OPTION_INTER_CAM_SYNC_MODE, [0.0, 260.0, 1.0, 0.0])],
    ..D435
};

#[test]
#[allow(clippy::float_cmp, reason = "these are whole numbers")]
fn a_slave_runs_before_its_master_is_started() {
    for (sync, mode) in [("master", 1.0), ("slave", 2.0)] {
        assert_eq!(set(SYNCED, &format!("sync = '{sync}'"), 0, "inter_cam_sync_mode"), mode);
    }
    let slave = options(&format!("{ANY}sync = 'slave'"));
    let camera = SoftwareCamera::new(SYNCED);
    let mut grabber = Grabber::new(open_among(&slave, &[&camera]).unwrap());
    // Like the driver when it opens a slave, ...
    grabber.start().unwrap();
    camera.send_depth(0);
    camera.send_depth(1);
    // ... and when the rig starts. Only framesets from now on count.
    grabber.start().unwrap();
    camera.send_depth(2);
    let Ok(Grabbed::FrameSet { headers, .. }) = wait(&mut grabber) else { panic!() };
    assert_eq!(headers[0].number, 2);
}

#[test]
fn hardware_sync_is_refused_by_cameras_without_it() {
    assert_eq!(
        refusal(&options(&format!("{ANY}sync = 'master'")), &[D405]).to_string(),
        "camera `000000000042` (Intel RealSense D405) has no option `inter_cam_sync_mode`: a D405 has no hardware \
         sync",
    );
    let by_hand = options(&format!("{ANY}set = {{ inter_cam_sync_mode = 1 }}"));
    assert_eq!(
        RealSense::check(&by_hand).unwrap_err().to_string(),
        "`inter_cam_sync_mode` is not for `set`: use `sync = \"master\"` or `sync = \"slave\"`",
    );
    let recorded = options("file = 'a.bag'\nsync = 'slave'");
    assert_eq!(
        RealSense::check(&recorded).unwrap_err().to_string(),
        "`sync` is for a live camera, not for a `file`",
    );
}

#[test]
fn a_preset_is_read_before_anything_is_set() {
    let file = Scratch::new("preset.json");
    let preset = || {
        let path = file.0.display();
        refusal(&options(&format!("{ANY}preset = '{path}'")), &[D435])
            .to_string()
            .replace(&path.to_string(), "FILE")
    };
    assert_eq!(preset(), "preset `FILE` does not exist");
    std::fs::write(&file.0, "{ \"device\": {} ").unwrap();
    assert_eq!(
        preset(),
        "preset `FILE` is not JSON as realsense-viewer exports it: EOF while parsing an object at line 1 column 15"
    );
    std::fs::write(&file.0, "[1]").unwrap();
    assert_eq!(
        preset(),
        "preset `FILE` is not JSON as realsense-viewer exports it: invalid type: sequence, expected a map at line 1 \
         column 0"
    );
    std::fs::write(&file.0, "{ \"device\": {} }").unwrap();
    // Software cameras accept none.
    assert_eq!(preset(), "camera `000000000043` (Intel RealSense D435) takes no preset");
}

#[test]
fn a_region_of_auto_exposure_needs_a_sensor_that_has_it() {
    let refused = |toml: &str| refusal(&options(&format!("{ANY}{toml}")), &[D435]).to_string();
    assert_eq!(
        refused("exposure_region = [0, 0, 9, 9]"),
        "`exposure_region`: camera `000000000043` (Intel RealSense D435) has no region of auto exposure there",
    );
    assert_eq!(
        refused("exposure_region_color = [0, 0, 9, 9]"),
        "`exposure_region_color`: camera `000000000043` (Intel RealSense D435) has no region of auto exposure there",
    );
}
