//! Tests of signals, with a recording that has its index only if the rig ended in order.

use std::process::Stdio;

use rustix::process::Signal;

use crate::program::{RECORDED, Running, Test, wait_for, without_ending};

/// Sends a signal, and waits until the program has received it: the kernel merges a pending signal with an equal one.
fn deliver(rig: &Running, signal: Signal) {
    rig.signal(signal);
    wait_for("a signal", || {
        // A program that has ended has no such file.
        let status = std::fs::read_to_string(format!("/proc/{}/status", rig.pid())).unwrap_or_default();
        let pending = status.lines().filter_map(|line| {
            let mask = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        });
        let bit = 1 << (signal.as_raw() - 1);
        pending.map(|mask| mask & bit).all(|bits| bits == 0).then_some(())
    });
}

/// Checks that a rig ends in order when it gets these signals immediately one after another.
#[track_caller]
fn ends_in_order(signals: &[Signal]) {
    for placement in ["in-process", "multi-process"] {
        let mut test = Test::new().topology(RECORDED).args(["run", "t.toml", "--placement", placement]);
        let rig = test.start(Stdio::null(), Stdio::null());
        let recording = test.folder().join("rig.mcap");
        wait_for("a recording", || {
            std::fs::metadata(&recording).is_ok_and(|file| file.len() > 100_000).then_some(())
        });
        for &signal in signals {
            deliver(&rig, signal);
        }
        assert_eq!(rig.code(), Some(0), "{signals:?}");
        test.set_args(&["recording", "info", "rig.mcap"]);
        let (stdout, stderr, status) = test.output();
        assert_eq!((stderr.as_str(), status), ("", Some(0)));
        assert!(stdout.contains("with an index"), "{stdout}");
    }
}

#[test]
fn a_terminal_that_closes_ends_a_rig_in_order() {
    ends_in_order(&[Signal::HUP, Signal::HUP]);
}

#[test]
fn termination_after_a_hangup_ends_a_rig_in_order() {
    ends_in_order(&[Signal::HUP, Signal::TERM]);
}

#[test]
fn termination_twice_ends_a_rig_in_order() {
    ends_in_order(&[Signal::TERM, Signal::TERM]);
}

#[test]
fn a_key_press_that_arrives_twice_ends_a_rig_in_order() {
    ends_in_order(&[Signal::INT, Signal::INT]);
}

/// `nohup` ignores SIGHUP, and so does a rig that it starts.
#[test]
fn an_ignored_hangup_stays_ignored() {
    let test = Test::new().topology(RECORDED).args(["run", "t.toml"]);
    let line = "trap '' HUP; \"$@\" & rig=$!; until [ -s rig.mcap ]; do :; done; \
                kill -HUP $rig; size=$(stat -c %s rig.mcap); \
                until [ \"$(stat -c %s rig.mcap)\" -gt $((size + 100000)) ]; do :; done; \
                kill -TERM $rig; wait $rig";
    let (stdout, stderr, code) = test.output_of(line);
    assert!(stdout.starts_with("record: ") && stdout.lines().count() == 1, "{stdout}");
    assert_eq!((without_ending(&stderr).as_str(), code), ("", Some(0)));
}
