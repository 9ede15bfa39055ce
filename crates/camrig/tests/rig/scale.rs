//! Tests that all framesets of many cameras, many readers and large frames arrive intact, in any placement.

use std::collections::BTreeSet;
use std::fmt::Write;

use libtest_mimic::Trial;

use crate::harness::{Placement, Plan};
use crate::test;

const CAMERAS: usize = 64;

/// Number of cameras per process in the mixed placement.
const TOGETHER: usize = 8;

fn many_cameras() -> String {
    let mut topology = String::new();
    for camera in 0..CAMERAS {
        write!(
            topology,
            "[camera.c{camera}]\ndriver = 'synthetic'\nprocess = 'p{}'\noptions = {{ model = 'any', seed = {camera}, \
             paced = false, color = '160x120@30', depth = '160x120@30' }}\n",
            camera / TOGETHER
        )
        .unwrap();
    }
    let names: Vec<String> = (0..CAMERAS).map(|camera| format!("'c{camera}'")).collect();
    let inputs = names.join(", ");
    write!(
        topology,
        "[processor.verify]\nkind = 'verify'\nprocess = 'main'\ninputs = [{inputs}]\noverflow = 'block'\n\
         options = {{ digest = true }}\n"
    )
    .unwrap();
    topology
}

/// One stream of the largest size that cameras have.
const LARGE_FRAMES: &str = r#"
[camera.camera]
driver = "synthetic"
process = "camera"
options = { model = "any", seed = 1, paced = false, color = "3840x2160@30", depth = "off" }

[processor.verify]
kind = "verify"
process = "main"
inputs = ["camera"]
overflow = "block"
options = { digest = true }
"#;

/// Runs the topology and returns the distinct lines that `verify` printed about its cameras.
fn digests(topology: &str, placement: Placement, framesets: u64) -> BTreeSet<String> {
    let limit = framesets.to_string();
    let ended = Plan::new(topology, placement).arguments(&["--framesets", &limit]).run();
    ended.assert_said(0, &[]);
    ended.assert_complete(framesets);
    let said = format!(": {framesets} framesets, digest ");
    assert!(ended.stdout.lines().all(|line| line.contains(&said)), "{}", ended.stdout);
    ended.stdout.lines().map(str::to_owned).collect()
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "scale::sixty_four_cameras_in_one_process_and_in_eight", || {
        let topology = many_cameras();
        let in_one = digests(&topology, Placement::InProcess, 10);
        assert_eq!(in_one.len(), CAMERAS, "{in_one:?}");
        assert_eq!(digests(&topology, Placement::Mixed, 10), in_one);
    });
    test(trials, "scale::eight_readers_in_eight_processes", || {
        let mut topology = "[camera.camera]\ndriver = 'pattern'\n".to_owned();
        for reader in 0..8 {
            write!(
                topology,
                "[processor.r{reader}]\nkind = 'addresses'\ninputs = ['camera']\noverflow = 'block'\n\
                 options = {{ expect = 'shared' }}\n"
            )
            .unwrap();
        }
        let ended = Plan::new(&topology, Placement::MultiProcess).arguments(&["--framesets", "200"]).run();
        ended.assert_said(0, &[]);
        ended.assert_complete(200);
        let readers = (0..8).map(|reader| format!("r{reader}: 200 framesets, Shared memory"));
        let copied = "camera: frames by how often they were read: {1: 200}".to_owned();
        let expected: BTreeSet<_> = readers.chain([copied]).collect();
        assert_eq!(ended.stdout.lines().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
    });
    test(trials, "scale::one_stream_of_3840x2160_in_every_placement", || {
        let [one, multi, mixed] = [Placement::InProcess, Placement::MultiProcess, Placement::Mixed]
            .map(|placement| digests(LARGE_FRAMES, placement, 8));
        assert_eq!(one.len(), 1, "{one:?}");
        assert_eq!((&multi, &mixed), (&one, &one));
    });
}
