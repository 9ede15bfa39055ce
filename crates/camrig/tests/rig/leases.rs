//! Tests that framesets outlive their producer as long as a reader holds them.

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::endings::KILLED;
use crate::harness::{Placement, Plan};
use crate::test;

/// A processor that holds its first framesets, and checks them again with each new one.
const KEEPER: &str = "
[camera.front]
driver = 'pattern'
process = 'front'
slots = 6
options = { pause_millis = 1 }
[processor.keeper]
kind = 'keep'
process = 'keeper'
inputs = ['front']
options = { keep = 3 }
";

/// The camera's process is killed while a reader holds its framesets. The next instance has slots of its own.
fn killed_while_its_framesets_are_kept(placement: Placement) {
    let mut rig = Plan::new(KEEPER, placement).start();
    rig.wait_for_stdout("kept framesets", |lines| lines.contains(&"keeper: keeps 3"));
    let beats = "keeper: looked at all ";
    rig.kill_worker("front");
    rig.wait_for_stderr("camera `front` is running again");
    let until_now = rig.highest(beats);
    // More than could have been queued before: these are from the new instance.
    rig.wait_for(beats, |rig| (rig.highest(beats) > until_now + 10).then_some(()));
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    let failed = format!("ERROR main: camera `front` failed: process `front` {KILLED}; it is restarted");
    let again = "WARN  main: camera `front` is running again";
    ended.assert_said(0, &[&failed, again]);
    ended.assert_settled();
    assert!(ended.stdout.lines().any(|line| line == "keeper: kept 3 to the end"), "{}", ended.stdout);
    let link = ended.report().link("front", "keeper");
    assert_eq!(link.produced, ended.report().actor("front").produced);
    assert!(!link.dropped.contains_key("refused"), "{link:?}");
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    for placement in [Placement::MultiProcess, Placement::Mixed] {
        let name = placement.name();
        test(trials, format!("leases::a_camera_is_killed_while_its_framesets_are_kept::{name}"), move || {
            killed_while_its_framesets_are_kept(placement);
        });
    }
}
