//! Tests that a worker that ends without being reaped, because a debugger traces it, blocks neither the supervisor nor
//! the end of its rig.

use libtest_mimic::Trial;
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::process::Signal;

use crate::endings::{STEADY, started, wait_for_more};
use crate::harness::{Placement, Rig};
use crate::test;

/// A traced worker. Only the tracer, which is the thread that made this, is notified of its end, until this is dropped.
struct Traced(Pid);

impl Traced {
    fn worker(rig: &Rig, process: &str) -> Self {
        let workers = rig.workers();
        let worker = workers.iter().find(|worker| worker.process == process).unwrap();
        let pid = Pid::from_raw(worker.pid.as_raw_nonzero().get());
        ptrace::seize(pid, Options::empty()).unwrap();
        Self(pid)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // Its parent can reap it from here on.
        let _ = waitpid(self.0, None);
    }
}

/// The text of the failure, after the process and before the tracer's name.
fn is_withheld(line: &str) -> bool {
    let tracer = format!("process {} (`", std::process::id());
    line.contains("process `front` has ended in an unknown way: ") && line.contains(&tracer)
}

fn killed_while_traced() {
    let mut rig = started(STEADY, Placement::MultiProcess);
    let traced = Traced::worker(&rig, "front");
    rig.kill_worker("front");
    // It is not reaped, but the supervisor reacts: the status answers, and the camera is replaced.
    rig.wait_for("the failure of the camera", |rig| {
        let status = rig.status();
        let front = status.actors.iter().find(|actor| actor.name == "front")?;
        is_withheld(&front.error).then_some(())
    });
    rig.wait_for_stderr("camera `front` is running again");
    wait_for_more(&mut rig, "front");
    drop(traced);
    // The late end of the first process is not that of the second.
    for _ in 0..3 {
        wait_for_more(&mut rig, "front");
    }
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!((ended.code(), ended.report().actor("front").restarts), (Some(0), 1), "{:?}", ended.stderr);
    assert_eq!(ended.stderr.iter().filter(|line| is_withheld(line)).count(), 1, "{:?}", ended.stderr);
    ended.assert_settled();
}

/// Every worker ends in order, but one is not reaped.
fn stopped_while_traced() {
    let rig = started(STEADY, Placement::MultiProcess);
    let _traced = Traced::worker(&rig, "front");
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    ended.assert_said(0, &[]);
    ended.assert_settled();
    assert!(ended.report().actors.iter().all(|actor| actor.state == "finished"));
}

/// One worker is in a stop of its debugger, and ends by force.
fn interrupted_while_traced() {
    let mut rig = started(STEADY, Placement::MultiProcess);
    let traced = Traced::worker(&rig, "front");
    ptrace::interrupt(traced.0).unwrap();
    rig.signal_until_the_end(Signal::INT);
    let ended = rig.finish();
    assert!(matches!(ended.code(), Some(130)), "{:?} {:?}", ended.code(), ended.stderr);
    ended.assert_settled();
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "traced::a_worker_is_killed_and_not_reaped", killed_while_traced);
    test(trials, "traced::a_rig_ends_without_a_worker_that_is_not_reaped", stopped_while_traced);
    test(
        trials,
        "traced::a_second_interrupt_ends_a_rig_with_a_worker_that_is_not_reaped",
        interrupted_while_traced,
    );
}
