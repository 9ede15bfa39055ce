//! Tests of every step of the supervisor's recovery with a RealSense camera.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::cameras::{Behaviour, FILE, SKIPPED};
use crate::conformance;
use crate::harness::{Ended, Placement, Plan, Rig};
use crate::librealsense::{TAKES_REGIONS, TAKES_RESETS};

const RIG: &str = "
[camera.front]
driver = 'realsense'
process = 'front'
options = { serial = '000000000042', depth = '64x48@90' }
stall_timeout_millis = 2000
restart = { max = 9, backoff_millis = 10, backoff_max_millis = 20 }
[camera.rear]
driver = 'realsense'
process = 'rear'
options = { serial = '000000000043', depth = '64x48@90' }
[processor.pulse]
kind = 'pulse'
process = 'main'
inputs = ['front', 'rear']
";

const STALLS: &str = "WARN  main: camera `front` has delivered nothing for 2000 ms";
pub(crate) const AGAIN: &str = "WARN  main: camera `front` is running again";

/// The errors of the camera.
const NOTHING: &str = "delivered nothing within its `stall_timeout_millis`";
pub(crate) const UNPLUGGED: &str = "camera `000000000042` was unplugged";
const ABSENT: &str = "no RealSense camera with serial `000000000042` is connected; connected: `000000000043` (Intel \
                      RealSense D435 at USB port 2-2)";

/// Returns a log line of the supervisor.
pub(crate) fn fails(reason: &str, follows: &str) -> String {
    format!("ERROR main: camera `front` failed: {reason}; {follows}")
}

/// The file that controls the cameras, removed with its folder at the end.
pub(crate) struct File {
    path: PathBuf,
    _folder: TempDir,
}

impl File {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = Self { path: folder.path().join("cameras"), _folder: folder };
        control.set(Behaviour::Streams);
        control
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        behaviour.set(&self.path);
    }

    /// Returns whether this behaviour is set, also by another process.
    fn has_set(&self, behaviour: Behaviour) -> bool {
        behaviour.is_set(&self.path)
    }
}

/// Waits until more framesets of each camera arrive, some of which were made after this call.
pub(crate) fn wait_for_more(rig: &mut Rig) {
    for camera in ["front", "rear", "front", "rear"] {
        let start = format!("pulse {camera} ");
        let until_now = rig.highest(&start);
        rig.wait_for(&start, |rig| (rig.highest(&start) > until_now).then_some(()));
    }
}

/// Stops the rig, and checks that it logged exactly these lines and that its front camera had these restarts and errors.
fn end(rig: Rig, said: &[&str], restarts: u64, errors: &[&str]) -> Ended {
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    ended.assert_said(0, said);
    ended.assert_settled();
    let report = ended.report();
    let (front, rear) = (report.actor("front"), report.actor("rear"));
    assert_eq!((&*front.state, front.restarts, &*front.errors), ("finished", restarts, &*own(errors)));
    assert_eq!((&*rear.state, rear.restarts, &*rear.errors), ("finished", 0, &*own(&[])));
    for link in &report.links {
        assert_eq!(link.produced, report.actor(&link.from).produced, "{link:?}");
    }
    ended
}

fn own(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

/// A stalled camera is restarted, then reset, which software cameras refuse: then it is reopened without a reset. An
/// unplugged one is waited for, whether librealsense notices or not, and continues when its serial is back.
fn every_step(placement: Placement) {
    let control = File::new();
    let mut rig = Plan::new(RIG, placement).environment(FILE, control.path().to_str().unwrap()).start();
    wait_for_more(&mut rig);

    control.set(Behaviour::Silent);
    let refused = "camera `000000000042` cannot be reset: hardware_reset is not implemented for this device!; it is \
                   opened again without a reset";
    rig.wait_for_stderr(refused);
    control.set(Behaviour::Streams);
    rig.wait_for_stderr_times(AGAIN, 2);
    wait_for_more(&mut rig);

    // Twice, because a camera that came back can be unplugged again.
    let waits = fails(UNPLUGGED, "waiting for its device");
    for time in 1..=2 {
        control.set(Behaviour::Unplugged);
        rig.wait_for_stderr_times(&waits, time);
        control.set(Behaviour::Streams);
        rig.wait_for_stderr_times(AGAIN, 2 + time);
        wait_for_more(&mut rig);
    }

    control.set(Behaviour::Vanished);
    let misses = fails(ABSENT, "waiting for its device");
    rig.wait_for_stderr(&misses);
    control.set(Behaviour::Streams);
    rig.wait_for_stderr_times(AGAIN, 5);
    wait_for_more(&mut rig);

    let process = if placement == Placement::InProcess { "main" } else { "front" };
    let (restarted, reset) =
        (fails(NOTHING, "it is restarted"), fails(NOTHING, "its device is reset, and it is restarted"));
    let refused = format!("WARN  {process}/front: {refused}");
    let said = [
        STALLS, &restarted, AGAIN, // a restart does not help
        STALLS, &reset, &refused, AGAIN, // a reset is refused
        &waits, AGAIN, // unplugged
        &waits, AGAIN, // unplugged again
        STALLS, &restarted, &misses, AGAIN, // unplugged, and librealsense does not report it
    ];
    end(rig, &said, 5, &[NOTHING, NOTHING, UNPLUGGED, UNPLUGGED, NOTHING, ABSENT]);
}

/// A camera that accepts a reset disappears for a while, is waited for, and found again.
fn reset_helps(placement: Placement) {
    let control = File::new();
    let plan = Plan::new(RIG, placement).environment(FILE, control.path().to_str().unwrap());
    let mut rig = plan.environment(TAKES_RESETS, "1").start();
    wait_for_more(&mut rig);

    control.set(Behaviour::Silent);
    let misses = fails(ABSENT, "waiting for its device");
    rig.wait_for_stderr(&misses);
    control.set(Behaviour::Streams);
    rig.wait_for_stderr_times(AGAIN, 2);
    wait_for_more(&mut rig);

    let (restarted, reset) =
        (fails(NOTHING, "it is restarted"), fails(NOTHING, "its device is reset, and it is restarted"));
    let said = [STALLS, &restarted, AGAIN, STALLS, &reset, &misses, AGAIN];
    end(rig, &said, 2, &[NOTHING, NOTHING, ABSENT]);
}

/// A camera with `reset` is reset before it is opened, once; its restart does not reset it again.
fn reset_at_the_start(placement: Placement) {
    let control = File::new();
    let rig = RIG.replace("serial = '000000000042',", "serial = '000000000042', reset = true,");
    let plan = Plan::new(&rig, placement).environment(FILE, control.path().to_str().unwrap());
    let mut rig = plan.environment(TAKES_RESETS, "1").start();
    // The reset detaches the camera.
    rig.wait_for("the reset", |_| control.has_set(Behaviour::Unplugged).then_some(()));
    control.set(Behaviour::Streams);
    wait_for_more(&mut rig);

    let waits = fails(UNPLUGGED, "waiting for its device");
    control.set(Behaviour::Unplugged);
    rig.wait_for_stderr(&waits);
    control.set(Behaviour::Streams);
    rig.wait_for_stderr(AGAIN);
    wait_for_more(&mut rig);
    end(rig, &[&waits, AGAIN], 1, &[UNPLUGGED]);
}

/// Skipped and repeated frames of a camera are in the report, each with its reason.
fn losses(placement: Placement) {
    let control = File::new();
    let mut rig = Plan::new(RIG, placement).environment(FILE, control.path().to_str().unwrap()).start();
    wait_for_more(&mut rig);
    for behaviour in [Behaviour::Skips, Behaviour::Repeats] {
        control.set(behaviour);
        wait_for_more(&mut rig);
    }
    let ended = end(rig, &[], 0, &[]);
    let lost = |camera: &str, reason: &str| {
        ended.report().actor(camera).lost_by_reason.get(reason).copied().unwrap_or_default()
    };
    assert_eq!((lost("front", "device"), lost("front", "repeated")), (SKIPPED.into(), 1));
    assert_eq!((lost("rear", "device"), lost("rear", "repeated")), (0, 0));
}

/// A camera that refuses its region of auto exposure until it has streamed for a while gets it then.
fn region(placement: Placement) {
    let control = File::new();
    let taken = control.path().with_extension("region");
    let rig = RIG.replacen("depth = '64x48@90'", "depth = '64x48@90', exposure_region = [1, 2, 30, 40]", 1);
    let plan = Plan::new(&rig, placement).environment(FILE, control.path().to_str().unwrap());
    let mut rig = plan.environment(TAKES_REGIONS, taken.to_str().unwrap()).start();
    rig.wait_for("a region", |_| (fs::read_to_string(&taken).ok()? == "1 2 30 40").then_some(()));
    wait_for_more(&mut rig);
    end(rig, &[], 0, &[]);
}

/// Notifications of a camera are logged, each once although its number differs, and by the camera that sent them.
fn notifications(placement: Placement) {
    let control = File::new();
    let mut rig = Plan::new(RIG, placement).environment(FILE, control.path().to_str().unwrap()).start();
    wait_for_more(&mut rig);
    control.set(Behaviour::Notifies);
    let mut expected = Vec::new();
    for (process, serial) in [("front", "000000000042"), ("rear", "000000000043")] {
        let process = if placement == Placement::InProcess { "main" } else { process };
        let reports = format!("{process}: camera `{serial}`: librealsense reports:");
        let last = format!("WARN  {reports} the projector is hot");
        rig.wait_for_stderr(&last);
        expected.extend([format!("ERROR {reports} depth stream failure 7"), last]);
    }
    rig.signal(Signal::TERM);
    let mut ended = rig.finish();
    assert_eq!(ended.code(), Some(0));
    // Each camera notifies on a thread of its own.
    ended.stderr.sort();
    expected.sort();
    assert_eq!(ended.stderr, expected);
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    conformance(trials, "recovery::every_step", every_step);
    conformance(trials, "recovery::a_reset_helps", reset_helps);
    conformance(trials, "recovery::a_reset_at_the_start", reset_at_the_start);
    conformance(trials, "recovery::losses_have_reasons", losses);
    conformance(trials, "recovery::a_region_is_set_when_the_camera_streams", region);
    conformance(trials, "recovery::notifications_are_logged_once_by_camera", notifications);
}
