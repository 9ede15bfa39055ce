//! Tests of processors that publish: their readers see the same framesets as readers of a camera.

use libtest_mimic::Trial;

use crate::harness::{Ended, Placement, Plan};
use crate::{conformance, conformance_with_one_thread};

const FRAMESETS: u64 = 200;

const SYNTHETIC: &str = "[camera.camera]\ndriver = 'synthetic'\nprocess = 'camera'\n\
    options = { model = 'any', paced = false, color = '48x32@30', depth = '64x48@30' }\n";

fn run(topology: &str, placement: Placement) -> Ended {
    let framesets = FRAMESETS.to_string();
    let ended = Plan::new(topology, placement).arguments(&["--framesets", &framesets]).run();
    ended.assert_said(0, &[]);
    ended.assert_complete(FRAMESETS);
    ended
}

/// Returns a processor with one input.
fn processor(name: &str, kind: &str, process: &str, input: &str, options: &str) -> String {
    format!(
        "[processor.{name}]\nkind = '{kind}'\nprocess = '{process}'\ninputs = ['{input}']\noverflow = 'block'\n\
         options = {options}\n"
    )
}

fn halves(placement: Placement) {
    let topology = "[camera.camera]\ndriver = 'pattern'\nprocess = 'camera'\n".to_owned()
        + &processor("halver", "halve", "halver", "camera", "{}")
        + &processor("check", "check-half", "main", "halver", "{}");
    let ended = run(&topology, placement);
    assert!(ended.stdout.contains("check: halves of camera\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("check: 200 halves\n"), "{}", ended.stdout);
    assert_eq!(ended.report().actor("halver").produced, FRAMESETS);
}

/// Two cameras without losses, whose matches become framesets of a processor's own.
fn mosaics(placement: Placement) {
    let camera = |name: &str| {
        format!(
            "[camera.{name}]\ndriver = 'synthetic'\nprocess = '{name}'\n\
             options = {{ model = 'any', paced = false, color = 'off', depth = '64x48@30' }}\n"
        )
    };
    let topology = camera("left")
        + &camera("right")
        + "[processor.mosaic]\nkind = 'mosaic'\nprocess = 'right'\ninputs = ['left', 'right']\n\
           overflow = 'block'\nmatch = { window_millis = 14, clock = 'hardware' }\n"
        + &processor("check", "check-mosaic", "main", "mosaic", "{}");
    let ended = run(&topology, placement);
    assert_eq!(ended.stdout, "check: 200 mosaics\n");
    // It writes into its slots.
    assert_eq!(ended.report().actor("mosaic").copied, 0);
}

/// Checks that `verify` prints equal digests for the framesets read from `camera` and from the end of a chain. A digest
/// covers the camera's name and the order of its framesets.
fn assert_same_from_both_ends(ended: &Ended) {
    let verified: Vec<_> = ended.stdout.lines().filter(|line| line.starts_with("verify: ")).collect();
    assert_eq!(verified.len(), 2, "{}", ended.stdout);
    assert_eq!(verified[0], verified[1]);
    assert!(verified[0].starts_with("verify: camera: 200 framesets, digest "), "{}", verified[0]);
}

fn chain(placement: Placement) {
    let topology = SYNTHETIC.to_owned()
        + &processor("near", "verify", "main", "camera", "{ digest = true }")
        + &processor("first", "pass-on", "first", "camera", "{}")
        + &processor("second", "pass-on", "second", "first", "{}")
        + &processor("far", "verify", "camera", "second", "{ digest = true }");
    assert_same_from_both_ends(&run(&topology, placement));
}

/// An actix actor, with a timer or without, between a camera and `verify`.
fn relay(placement: Placement, timer: bool) {
    let topology = SYNTHETIC.to_owned()
        + &processor("near", "verify", "main", "camera", "{ digest = true }")
        + &processor("relay", "relay", "relay", "camera", &format!("{{ timer = {timer} }}"))
        + &processor("far", "verify", "main", "relay", "{ digest = true }");
    let ended = run(&topology, placement);
    assert_same_from_both_ends(&ended);
    let ticked = if timer { "ticked" } else { "never ticked" };
    let said = format!("relay: 200 framesets, 200 messages, {ticked}\n");
    assert!(ended.stdout.contains(&said), "{}", ended.stdout);
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    conformance_with_one_thread(trials, "forwarding::a_processor_derives_framesets", halves);
    conformance(trials, "forwarding::a_processor_publishes_framesets_of_its_own", mosaics);
    conformance_with_one_thread(trials, "forwarding::a_chain_of_three", chain);
    conformance_with_one_thread(trials, "forwarding::an_actix_actor", |placement| relay(placement, false));
    conformance_with_one_thread(trials, "forwarding::an_actix_actor_with_a_timer", |placement| {
        relay(placement, true);
    });
}
