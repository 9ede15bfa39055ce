//! Tests that no frameset gets lost without being counted, on any link, with any overflow, in any placement.

use std::fmt::Write;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::harness::{Ended, Placement, Plan};
use crate::{conformance, conformance_with_one_thread};

const FRAMESETS: u64 = 600;

/// One driver that writes into slots, and one that owns its frames.
const DRIVERS: [(&str, &str); 2] =
    [("synthetic", "{ model = 'any', paced = false, color = 'off', depth = '32x24@30' }"), ("pattern", "{}")];

/// The numbers that a `count` processor prints.
struct Counted {
    framesets: u64,
    missing: u64,
    next: u64,
}

fn counted(ended: &Ended, processor: &str) -> Counted {
    let start = format!("{processor} of camera: ");
    // A processor that received nothing prints nothing.
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or("0 0 0");
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [framesets, missing, next] = numbers[..] else { panic!("{line}") };
    Counted { framesets, missing, next }
}

/// Checks that a processor's own counts equal the counters of its link.
fn assert_counted(ended: &Ended, processor: &str) -> Counted {
    let link = ended.report().link("camera", processor);
    let counted = counted(ended, processor);
    assert_eq!(counted.framesets, link.delivered, "{link:?}");
    // Missing before the last received frameset, plus dropped after it.
    assert_eq!(counted.missing + link.produced - counted.next, link.dropped_of_all_reasons(), "{link:?}");
    counted
}

fn slow_beside_quick(placement: Placement, overflow: &str) {
    for (driver, options) in DRIVERS {
        // The slow processor waits for facts, not for time: two of three framesets have to be dropped.
        let slowness = match overflow {
            "block" => "{ pause_millis = 1 }".to_owned(),
            _ => format!("{{ lag = 3, total = {FRAMESETS} }}"),
        };
        let topology = format!(
            "[camera.camera]\ndriver = '{driver}'\nprocess = 'together'\noptions = {options}\n\
             [processor.slow]\nkind = 'count'\nprocess = 'main'\ninputs = ['camera']\n\
             overflow = '{overflow}'\noptions = {slowness}\n\
             [processor.quick]\nkind = 'count'\nprocess = 'together'\ninputs = ['camera']\noverflow = 'block'\n"
        );
        let framesets = FRAMESETS.to_string();
        let ended = Plan::new(&topology, placement).arguments(&["--framesets", &framesets]).run();
        ended.assert_said(0, &[]);
        ended.assert_settled();
        assert_eq!(ended.report().actor("camera").produced, FRAMESETS);
        let (slow, quick) = (ended.report().link("camera", "slow"), ended.report().link("camera", "quick"));
        assert_eq!((slow.produced, quick.produced), (FRAMESETS, FRAMESETS));
        assert!(quick.dropped.is_empty() && quick.delivered == FRAMESETS, "{quick:?}");
        assert_counted(&ended, "quick");
        let seen = assert_counted(&ended, "slow");
        if overflow == "block" {
            assert!(slow.dropped.is_empty() && slow.delivered == FRAMESETS, "{slow:?}");
        } else {
            assert_eq!(slow.dropped.keys().collect::<Vec<_>>(), [overflow], "{slow:?}");
            assert!(slow.dropped[overflow] > FRAMESETS / 2, "{slow:?}");
        }
        if overflow == "drop-oldest" {
            assert_eq!(seen.next, FRAMESETS, "the newest frameset was dropped");
        }
    }
}

/// Readers as quick as the camera, so that both ends access a slot at the same time.
fn race(placement: Placement) {
    const FRAMESETS: u64 = 5000;
    for (driver, options) in DRIVERS {
        let mut topology =
            format!("[camera.camera]\ndriver = '{driver}'\noptions = {options}\nprocess = 'together'\n");
        let readers = [
            ("oldest", "drop-oldest", "main"),
            ("newest", "drop-newest", "together"),
            ("far", "drop-oldest", "far"),
        ];
        for (name, overflow, process) in readers {
            write!(
                topology,
                "[processor.{name}]\nkind = 'count'\nprocess = '{process}'\ninputs = ['camera']\n\
                 overflow = '{overflow}'\nqueue = 1\n"
            )
            .unwrap();
        }
        let framesets = FRAMESETS.to_string();
        let ended = Plan::new(&topology, placement).arguments(&["--framesets", &framesets]).run();
        ended.assert_said(0, &[]);
        ended.assert_settled();
        for (name, overflow, _) in readers {
            let link = ended.report().link("camera", name);
            assert_eq!(link.produced, FRAMESETS);
            assert!(link.dropped.keys().all(|reason| reason == overflow), "{link:?}");
            let seen = assert_counted(&ended, name);
            assert!(overflow == "drop-newest" || seen.next == FRAMESETS, "the newest was dropped: {link:?}");
        }
    }
}

fn keeper(placement: Placement) {
    for (driver, options) in DRIVERS {
        let topology = format!(
            "[camera.camera]\ndriver = '{driver}'\nprocess = 'together'\nslots = 4\noptions = {options}\n\
             [processor.keeper]\nkind = 'count'\nprocess = 'main'\ninputs = ['camera']\noptions = {{ keep = 4 }}\n\
             [processor.other]\nkind = 'count'\nprocess = 'together'\ninputs = ['camera']\n"
        );
        let mut rig = Plan::new(&topology, placement).start();
        rig.wait_for_stdout("a keeper of all slots", |lines| lines.contains(&"keeper: no slot is left"));
        rig.signal(Signal::TERM);
        let ended = rig.finish();
        ended.assert_said(0, &[]);
        ended.assert_settled();
        for processor in ["keeper", "other"] {
            let link = ended.report().link("camera", processor);
            assert_eq!(link.produced, ended.report().actor("camera").produced);
            assert!(link.dropped["no-slot"] > 0, "{link:?}");
            let reasons = ["no-slot", "drop-oldest"];
            assert!(link.dropped.keys().all(|reason| reasons.contains(&reason.as_str())), "{link:?}");
            assert_counted(&ended, processor);
        }
        assert_eq!(ended.report().link("camera", "keeper").delivered, 4);
    }
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    for overflow in ["block", "drop-oldest", "drop-newest"] {
        conformance(
            trials,
            &format!("accounting::a_slow_reader_beside_a_quick_one::{overflow}"),
            move |placement| {
                slow_beside_quick(placement, overflow);
            },
        );
    }
    conformance_with_one_thread(trials, "accounting::readers_as_quick_as_the_camera", race);
    conformance(trials, "accounting::a_reader_that_keeps_every_slot", keeper);
}
