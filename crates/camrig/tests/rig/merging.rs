//! Tests that the merged points of a calibrated rig are the same in every placement, and that every frameset is accounted for.

use std::io::Write;

use libtest_mimic::Trial;
use tempfile::NamedTempFile;

use crate::harness::{Placement, Plan};
use crate::test;

const FRAMESETS: &str = "300";

const CALIBRATION: &str = "version = 1\nroot = 'left'\n\
    [camera.left]\nserial = '1'\ntranslation_meters = [0, 0, 0]\nquaternion_xyzw = [0, 0, 0, 1]\n\
    [camera.right]\nserial = '2'\ntranslation_meters = [0.5, 0, 3]\nquaternion_xyzw = [0, 1, 0, 0]\n";

/// Two cameras that lose framesets, and a reader that checks and digests their merged points.
const TOPOLOGY: &str = "
[camera.left]
driver = 'synthetic'
process = 'left'
options = { model = 'any', serial = '1', paced = false, color = '96x64@30', depth = '64x48@30', drop_rate = 0.05 }

[camera.right]
driver = 'synthetic'
process = 'right'
options = { model = 'any', serial = '2', paced = false, color = '96x64@30', depth = '64x48@30', drop_rate = 0.05 }

[processor.cloud]
kind = 'merge'
process = 'left'
inputs = ['left', 'right']
overflow = 'block'
match = { window_millis = 14, clock = 'hardware' }

[processor.verify]
kind = 'verify'
process = 'verify'
inputs = ['cloud']
overflow = 'block'
options = { digest = true, content = false }
";

fn same_in_every_placement() {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(CALIBRATION.as_bytes()).unwrap();
    let topology = format!("calibration = '{}'\n{TOPOLOGY}", file.path().display());
    let [first, others @ ..] = Placement::WITH_ONE_THREAD.map(|placement| {
        let ended = Plan::new(&topology, placement).arguments(&["--framesets", FRAMESETS]).run();
        ended.assert_said(0, &[]);
        ended.assert_settled();
        // Each lost frameset leaves one of the other camera without a partner.
        let merged = ended.report().link("cloud", "verify").delivered;
        assert!((240..300).contains(&merged), "{merged}");
        ended.stdout
    });
    assert!(first.starts_with("verify: cloud: ") && first.contains(" framesets, digest "), "{first}");
    for other in others {
        assert_eq!(other, first);
    }
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "merging::same_in_every_placement", same_in_every_placement);
}
