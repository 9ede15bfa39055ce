//! Recordings of a rig over two hosts are those of one host: over 127.0.0.1, in real processes.

use std::path::Path;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::agents::{Program, agent};
use crate::crossing::free_address;
use crate::same::{digests, on_one_host};
use crate::test;

/// Framesets of each camera.
const FRAMESETS: &str = "45";

/// Two cameras, one on each host, and a recorder of both on each host. Recordings are called `near` and `far`.
fn topology(folder: &Path, address: Option<&str>, codec: &str) -> String {
    let camera = |name: &str, place: &str, options: &str| {
        format!(
            "[camera.{name}]\ndriver = 'synthetic'\n{place}\noptions = {{ model = 'any', paced = false, depth = '64x48@60', \
             color = '64x48@60', {options} }}\n"
        )
    };
    let recorder = |name: &str, place: &str| {
        let file = folder.join(format!("{name}.mcap"));
        format!(
            "[processor.{name}]\nkind = 'record'\n{place}\ninputs = ['there', 'here']\noverflow = 'block'\n\
             wire = {{ depth = '{codec}', color = '{codec}', gyro = '{codec}', infrared-1 = '{codec}' }}\n\
             options = {{ file = '{}' }}\n",
            file.display()
        )
    };
    let on_arm = "host = 'arm'";
    let text = camera("there", on_arm, "seed = 5, gyro = 200")
        + &camera("here", "", "seed = 6, infrared = '64x48@60'")
        + &recorder("near", "")
        + &recorder("far", on_arm);
    let text = match address {
        Some(address) => format!("[host.arm]\naddress = 'tcp/{address}'\n{text}"),
        None => on_one_host(&text),
    };
    let path = folder.join("rig.toml").display().to_string();
    std::fs::write(&path, text).unwrap();
    path
}

/// Returns the digests of a recording, with the number of framesets of each camera.
fn replayed(folder: &Path, name: &str) -> Vec<String> {
    let file = folder.join(format!("{name}.mcap")).display().to_string();
    let camera = |name: &str| {
        format!("[camera.{name}]\ndriver = 'replay'\noptions = {{ file = '{file}', paced = false }}\n")
    };
    let check = "[processor.check]\nkind = 'verify'\ninputs = ['there', 'here']\noverflow = 'block'\n\
                 options = { digest = true, content = false }\n";
    let path = folder.join("replay.toml").display().to_string();
    std::fs::write(&path, camera("there") + &camera("here") + check).unwrap();
    let mut run = Program::start(folder, "replay", &["run", &path]);
    let (code, stdout) = run.finish();
    assert_eq!(code, Some(0), "{name}: {}", run.stderr());
    digests(&stdout)
}

/// Returns the digests of both recordings of a run.
fn recorded(folder: &Path, path: &str, agent: Option<&Program>) -> [Vec<String>; 2] {
    let mut run = Program::start(folder, "run", &["run", path, "--framesets", FRAMESETS]);
    let (code, _) = run.finish();
    assert_eq!(code, Some(0), "{}{}", run.stderr(), agent.map(Program::stderr).unwrap_or_default());
    ["near", "far"].map(|name| {
        let digests = replayed(folder, name);
        std::fs::remove_file(folder.join(format!("{name}.mcap"))).unwrap();
        digests
    })
}

fn same() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [near, far] = recorded(folder, &topology(folder, None, "raw"), None);
    assert_eq!(near, far);
    let is_whole = |line: &String| line.contains(&format!(": {FRAMESETS} framesets, digest "));
    assert!(near.len() == 2 && near.iter().all(is_whole), "{near:?}");
    let address = free_address();
    let mut agent = agent(folder, "agent", &["--listen", &format!("tcp/{address}")]);
    for codec in ["raw", "zstd", "delta"] {
        let path = topology(folder, Some(&address), codec);
        assert_eq!(recorded(folder, &path, Some(&agent)), [near.clone(), near.clone()], "{codec}");
    }
    agent.signal(Signal::TERM);
    assert_eq!(agent.finish().0, Some(0), "{}", agent.stderr());
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "recordings::recordings_of_two_hosts_are_those_of_one", same);
}
