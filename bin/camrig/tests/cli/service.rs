//! Tests of `camrig run` as a service: its notifications for the service manager, and priorities that a service may not have.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{RECORDED, Test, program};

#[test]
fn a_service_manager_is_told_that_a_rig_runs_and_still_does() {
    let test = Test::new().topology(RECORDED);
    // A path in the test's folder is longer than the name of a socket may be.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut rig = program()
        .args(["run", "t.toml"])
        .current_dir(test.folder())
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "3000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let receive = || {
        let mut text = [0; 64];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    assert_eq!([receive(), receive(), receive()], ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    kill_process(Pid::from_child(&rig), Signal::TERM).unwrap();
    assert!(rig.wait().unwrap().success());
}

#[test]
fn a_service_manager_that_is_not_there_is_named() {
    let test = Test::new().topology(RECORDED).args(["run", "t.toml", "--framesets", "1"]);
    let (_, stderr, status) = test.output_of("NOTIFY_SOCKET=nowhere exec \"$@\"");
    assert!(
        stderr.contains("warning: NOTIFY_SOCKET `nowhere`: expected a path, or `@` and a name\n"),
        "{stderr}"
    );
    assert_eq!(status, Some(0));
}

#[test]
fn a_priority_that_the_system_refuses_is_named_with_the_limit() {
    let topology = |setting: &str| {
        format!("[camera.front]\ndriver = \"synthetic\"\nprocess = \"eye\"\n\n[process.eye]\n{setting}\n")
    };
    for (setting, name, limit) in [("fifo = 10", "fifo", "-r"), ("nice = -5", "nice", "-e")] {
        let test = Test::new().topology(topology(setting)).args(["check", "t.toml"]);
        // Also where the tests run as root.
        let root = "setpriv --bounding-set -sys_nice --inh-caps -sys_nice";
        let drop = if rustix::process::geteuid().is_root() { root } else { "" };
        let line = format!("exec prlimit --nice=0 --rtprio=0 {drop} \"$@\"");
        let (_, stderr, status) = test.output_of(&line);
        let refused = format!("the system refuses `{name}`: ");
        let need = format!("it needs CAP_SYS_NICE, or a higher limit (`ulimit {limit}`)");
        assert!(
            stderr.starts_with("error: process `eye` cannot be scheduled like this\n")
                && stderr.contains(&refused)
                && stderr.contains(&need),
            "{stderr}"
        );
        assert_eq!(status, Some(78), "{setting}");
    }
}
