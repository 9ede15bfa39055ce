//! Tests of one crossing between two rigs on this machine, over 127.0.0.1.

use std::net::TcpListener;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::cable::Cable;
use crate::harness::{Ended, Placement, Plan, Rig};
use crate::test;

/// Returns an address at which no process listens.
pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Returns the topology of the host of the camera. It listens.
fn sender(address: &str, codecs: &str, overflow: &str) -> String {
    format!(
        r#"
        [camera.left]
        driver  = "synthetic"
        options = {{ model = "any", depth = "160x120@60", color = "160x120@60", gyro = 200 }}
        slots   = 12

        [processor.here]
        kind     = "verify"
        inputs   = ["left"]
        overflow = "block"
        options  = {{ digest = true }}

        [processor.left-to-main]
        kind     = "wire-out"
        inputs   = ["left"]
        overflow = "{overflow}"
        options  = {{ key = "test/left", session = {{ listen = ["tcp/{address}"] }}, codecs = {{ {codecs} }} }}
        "#
    )
}

/// Returns the topology of the host that reads.
fn receiver(address: &str) -> String {
    format!(
        r#"
        [camera.left]
        driver  = "wire-in"
        options = {{ key = "test/left", session = {{ connect = ["tcp/{address}"] }} }}
        slots   = 12

        [processor.there]
        kind     = "verify"
        inputs   = ["left"]
        overflow = "block"
        options  = {{ digest = true }}
        "#
    )
}

/// Returns the framesets that the sender took from its link, and those that the receiver published and lost.
fn accounts(sender: &Ended, receiver: &Ended) -> (u64, u64, u64) {
    let delivered = sender.report().link("left", "left-to-main").delivered;
    let camera = receiver.report().actor("left");
    let lost = camera.lost_by_reason.get("wire").copied().unwrap_or(0);
    assert_eq!(camera.lost, lost, "only the wire loses: {camera:?}");
    (delivered, camera.produced, lost)
}

/// Frames arrive unchanged, whichever end starts first.
fn lossless(codec: &str, receiver_first: bool) {
    let address = free_address();
    let codecs = format!("depth = \"{codec}\", color = \"{codec}\", gyro = \"{codec}\"");
    let (sends, receives) = (sender(&address, &codecs, "block"), receiver(&address));
    let sends = || Plan::new(&sends, Placement::MultiProcess).arguments(&["--framesets", "90"]).start();
    let receives = || Plan::new(&receives, Placement::MultiProcess).start();
    let (sends, receives) = if receiver_first {
        let receives = receives();
        (sends(), receives)
    } else {
        let mut sends = sends();
        published(&mut sends, 2);
        (sends, receives())
    };
    let (sends, receives) = (sends.finish(), receives.finish());
    assert_eq!(accounts(&sends, &receives), (90, 90, 0));
    let digest =
        |ended: &Ended| ended.stdout.lines().find(|line| line.starts_with("verify: left")).map(str::to_owned);
    assert!(digest(&sends).is_some_and(|line| line.starts_with("verify: left: 90 framesets, digest ")));
    assert_eq!(digest(&sends), digest(&receives));
    sends.assert_settled();
    receives.assert_complete(90);
}

/// Waits until the camera has published this many framesets.
fn published(rig: &mut Rig, framesets: u64) {
    rig.wait_for("framesets of `left`", |rig| {
        let status = rig.status();
        let camera = status.actors.iter().find(|actor| actor.name == "left")?;
        (camera.produced >= framesets).then_some(())
    });
}

/// A process at one end is killed repeatedly: each frameset counts once.
fn killed(kills: impl Fn(&Rig, &Rig)) {
    let address = free_address();
    let (sends, receives) = (sender(&address, "color = \"raw\"", "drop-oldest"), receiver(&address));

    let sends = Plan::new(&sends, Placement::MultiProcess).start();
    let mut receives = Plan::new(&receives, Placement::MultiProcess).start();
    let mut seen = 0;
    for _ in 0..3 {
        seen += 20;
        published(&mut receives, seen);
        kills(&sends, &receives);
        seen = receives.status().actors.iter().find(|actor| actor.name == "left").unwrap().produced;
    }
    published(&mut receives, seen + 20);
    sends.signal(Signal::INT);
    let (sends, receives) = (sends.finish(), receives.finish());
    let (delivered, published, lost) = accounts(&sends, &receives);
    assert_eq!(delivered, published + lost);
    assert!(published >= 80, "{published}");
}

/// While the cable is cut, the queue drops, and framesets on their way are lost; after that framesets come again.
fn cut() {
    let address = free_address();
    let cable = Cable::to(&address);
    let mut sends =
        Plan::new(&sender(&address, "color = \"raw\"", "drop-oldest"), Placement::MultiProcess).start();
    let mut receives = Plan::new(&receiver(&cable.address), Placement::MultiProcess).start();
    published(&mut receives, 20);
    cable.set_whole(false);
    sends.wait_for_stderr("framesets wait for it");
    sends.wait_for("drops at the sender", |rig| {
        let status = rig.status();
        let link = status.links.iter().find(|link| link.to == "left-to-main")?;
        (link.dropped.values().sum::<u64>() >= 60).then_some(())
    });
    let before = receives.status().actors.iter().find(|actor| actor.name == "left").unwrap().produced;
    cable.set_whole(true);
    published(&mut receives, before + 60);
    sends.signal(Signal::INT);
    let (sends, receives) = (sends.finish(), receives.finish());
    let (delivered, published, lost) = accounts(&sends, &receives);
    assert_eq!(delivered, published + lost);
    assert!(lost <= 8, "no more than a window is lost: {lost}");
    sends.assert_settled();
}

/// Framesets whose receiver has ended are lost, and counted by the sender.
fn receiver_ends() {
    let address = free_address();
    let mut sends =
        Plan::new(&sender(&address, "color = \"raw\"", "drop-oldest"), Placement::MultiProcess).start();
    let mut receives = Plan::new(&receiver(&address), Placement::MultiProcess).start();
    published(&mut receives, 20);
    receives.signal(Signal::INT);
    let receives = receives.finish();
    sends.wait_for("framesets without a receiver", |rig| {
        let status = rig.status();
        let link = status.links.iter().find(|link| link.to == "left-to-main")?;
        (link.delivered >= receives.report().actor("left").produced + 60).then_some(())
    });
    sends.signal(Signal::INT);
    let sends = sends.finish();
    let (delivered, published, lost) = accounts(&sends, &receives);
    let without = sends.report().actor("left-to-main").lost_by_reason.get("wire").copied().unwrap_or(0);
    assert_eq!(delivered, published + lost + without);
    sends.assert_settled();
}

/// On the thread of its camera the sender would hold it up whenever it waits for credit.
fn sender_on_the_thread_of_its_camera() {
    let thread = |line: &str| format!("{line}\n        thread = \"eye\"");
    let topology = ["[camera.left]", "[processor.left-to-main]"]
        .into_iter()
        .fold(sender("127.0.0.1:1", "", "block"), |text, line| text.replace(line, &thread(line)));
    let ended = Plan::new(&topology, Placement::Mixed).run();
    let refused = "error: processor `left-to-main` cannot be on thread `eye`";
    assert_eq!((ended.code(), ended.stderr[0].as_str()), (Some(78), refused), "{:?}", ended.stderr);
}

/// The streams that the options name are those of the camera before there is a sender.
fn declared() {
    let streams = r#"test/left", streams = { color = "rgb8 160x120@60", depth = "z16 160x120@60" }"#;
    let receives = receiver(&free_address()).replace("test/left\"", streams);
    let mut receives = Plan::new(&receives, Placement::MultiProcess).start();
    let names = receives.wait_for("the streams of `left`", |rig| {
        let status = rig.status();
        let camera = status.actors.into_iter().find(|actor| actor.name == "left")?;
        let names: Vec<_> = camera.streams.into_iter().map(|stream| stream.stream).collect();
        (!names.is_empty()).then_some(names)
    });
    assert_eq!(names, ["color", "depth"]);
    receives.signal(Signal::INT);
    receives.finish();
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    for (codec, receiver_first) in [("raw", true), ("zstd", false), ("delta", true), ("raw", false)] {
        let first = if receiver_first { "receiver" } else { "sender" };
        test(trials, format!("crossing::{codec}_keeps_every_byte_{first}_first"), move || {
            lossless(codec, receiver_first);
        });
    }
    test(trials, "crossing::a_receiver_that_is_killed_loses_what_is_counted", || {
        killed(|_, receives| receives.kill_worker("left"));
    });
    test(trials, "crossing::a_sender_that_is_killed_loses_what_is_counted", || {
        killed(|sends, _| sends.kill_worker("left-to-main"));
    });
    test(trials, "crossing::what_has_no_receiver_any_more_is_lost_and_counted", receiver_ends);
    test(trials, "crossing::a_receiver_without_a_sender_has_the_declared_streams", declared);
    test(trials, "crossing::a_cut_cable_loses_at_most_a_window", cut);
    test(
        trials,
        "crossing::a_sender_on_the_thread_of_its_camera_is_refused",
        sender_on_the_thread_of_its_camera,
    );
}
