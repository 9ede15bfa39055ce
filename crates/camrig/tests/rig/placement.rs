//! Tests that a topology gives the same framesets in every placement.

use std::collections::BTreeSet;

use libtest_mimic::Trial;

use crate::harness::{Placement, Plan};
use crate::test;

const FRAMESETS: u64 = 500;

const SIX_CAMERAS: &str = r#"
[camera.front]
driver = "synthetic"
process = "front"
options = { model = "any", seed = 1, paced = false, color = "160x120@30", depth = "160x120@30" }

[camera.rear]
driver = "synthetic"
process = "main"
options = { model = "any", seed = 2, paced = false, color = "120x80@30", depth = "160x120@30", color_format = "bgr8" }

[camera.left]
driver = "synthetic"
process = "sides"
options = { model = "any", seed = 3, paced = false, color = "160x120@30", depth = "80x60@30", infrared = "80x60@30" }

[camera.right]
driver = "synthetic"
process = "sides"
options = { model = "any", seed = 4, paced = false, color = "96x64@60", depth = "96x64@60", color_format = "yuyv" }

[camera.top]
driver = "synthetic"
process = "vision"
options = { model = "any", seed = 5, paced = false, color = "160x120@90", depth = "160x120@90", drop_rate = 0.1, accel = 63, gyro = 1000 }

[camera.wrist]
driver = "synthetic"
process = "wrist"
options = { model = "any", seed = 6, paced = false, color = "96x64@30", depth = "96x64@30", accel = 100, gyro = 200 }

[processor.verify]
kind = "verify"
process = "vision"
inputs = ["front", "rear", "left", "right", "top", "wrist"]
overflow = "block"
options = { digest = true }
"#;

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "placement::six_cameras_are_the_same_in_every_placement", || {
        let framesets = FRAMESETS.to_string();
        let run = |placement: Placement| {
            let ended = Plan::new(SIX_CAMERAS, placement).arguments(&["--framesets", &framesets]).run();
            ended.assert_said(0, &[]);
            ended.assert_complete(FRAMESETS);
            assert_eq!(ended.report().links.len(), 6);
            let between = |link: &&crate::harness::Link| link.placement == "multi-process";
            let between = ended.report().links.iter().filter(between).count();
            let expected = match placement {
                Placement::InProcess => 0,
                Placement::MultiProcess => 6,
                Placement::Mixed => 5,
            };
            assert_eq!(between, expected, "{:#?}", ended.report().links);
            ended.stdout
        };
        let digests = run(Placement::InProcess);
        let cameras: BTreeSet<_> = digests
            .lines()
            .map(|line| {
                line.strip_prefix("verify: ").unwrap().split_once(": 500 framesets, digest ").unwrap()
            })
            .collect();
        let distinct: BTreeSet<_> = cameras.iter().map(|(_, digest)| digest).collect();
        assert_eq!((cameras.len(), distinct.len()), (6, 6), "{digests}");
        assert_eq!(run(Placement::MultiProcess), digests);
        assert_eq!(run(Placement::Mixed), digests);
    });
}
