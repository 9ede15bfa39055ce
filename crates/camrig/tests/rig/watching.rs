//! Tests that a camera that was bumped is named, in every placement.

use libtest_mimic::Trial;

use crate::conformance;
use crate::harness::{Placement, Plan};

/// Ten framesets a second, by the clock of the cameras.
const TOPOLOGY: &str = "
[camera.left]
driver = 'room'
process = 'left'
options = { frames = 300 }

[camera.right]
driver = 'room'
process = 'right'
options = { frames = 300, bumped_at = 180 }

[processor.watch]
kind = 'watch-poses'
process = 'watch'
inputs = ['left', 'right']
overflow = 'block'
match = { window_millis = 20, clock = 'hardware' }
";

fn a_bumped_camera_is_named(placement: Placement) {
    let ended = Plan::new(TOPOLOGY, placement).run();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    ended.assert_settled();
    let watch = ended.report().actor("watch");
    let [warning] = watch.warnings.as_slice() else { panic!("{watch:?}") };
    let said = warning.message.as_str();
    let millimeters =
        said.strip_prefix("camera `right` has moved by ").and_then(|rest| rest.split(' ').next());
    let millimeters: f64 = millimeters.and_then(|number| number.parse().ok()).expect(said);
    assert!(watch.warned == 1 && (millimeters - 20.0).abs() < 0.5, "{watch:?}");
    let logged = format!("processor `watch`: {said}");
    assert!(ended.stderr.iter().any(|line| line.contains(&logged)), "{:?}", ended.stderr);
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    conformance(trials, "watching::a_bumped_camera_is_named", a_bumped_camera_is_named);
}
