//! Tests of the parts of hosts: complete texts.

use camrig::RelayedCamera;
use camrig_frame::{Clock, PixelFormat, Stream};

use super::*;

fn host(name: &str, fingerprint: Option<&str>) -> HostSpec {
    HostSpec {
        name: name.to_owned(),
        address: if fingerprint.is_some() {
            format!("tls/{name}:7447")
        } else {
            "tcp/127.0.0.1:7447".to_owned()
        },
        fingerprint: fingerprint.map(str::to_owned),
        router: false,
        rate_megabits: (name == "arm").then_some(1000),
    }
}

fn parts(text: &str, hosts: &[HostSpec]) -> Vec<(String, String)> {
    let parts = split(text, hosts, &BTreeMap::new(), "r1").unwrap();
    parts.into_iter().map(|part| (part.host.unwrap_or_default(), part.text)).collect()
}

const TEXT: &str = r#"# the lab
placement = "multi-process"

[host.arm]
address = "tls/arm:7447"

[metrics]
listen = "127.0.0.1:9464"

[process.eyes]
nice = -5

[camera.left]            # by the door
driver = "synthetic"
host = "arm"
process = "eyes"
options = { seed = 1 }

[camera.right]
driver = "synthetic"

[processor.fusion]
kind = "match"
inputs = ["left", "right"]
overflow = "block"
queue = 4
match = { window_millis = 17 }
wire = { depth = "zstd", color = "jpeg:90" }

[processor.there]
kind = "verify"
host = "arm"
inputs = ["left", "right"]
"#;

#[test]
fn every_part_is_an_ordinary_topology() {
    let parts = parts(TEXT, &[host("arm", Some("ed25519:K"))]);
    let [(first, own), (second, arm)] = &parts[..] else { panic!("two parts") };
    assert_eq!((first.as_str(), second.as_str()), ("", "arm"));
    let expected = r#"# the lab
placement = "multi-process"

[metrics]
listen = "127.0.0.1:9464"

[camera.right]
driver = "synthetic"

[camera.left]
driver = "wire-in"
options = { key = "camrig/r1/left/main", session = { connect = ["tls/arm:7447"], peers = ["ed25519:K"] }, match_window_millis = 17.0 }

[processor.fusion]
kind = "match"
inputs = ["left", "right"]
overflow = "block"
queue = 4
match = { window_millis = 17 }

[processor.right-to-arm]
kind = "wire-out"
inputs = ["right"]
queue = 2
options = { key = "camrig/r1/right/arm", session = { connect = ["tls/arm:7447"], peers = ["ed25519:K"] }, rate_mbps = 1000 }
"#;
    assert_eq!(own, expected);
    let expected = r#"# the lab
placement = "multi-process"

[process.eyes]
nice = -5

[camera.left]            # by the door
driver = "synthetic"
process = "eyes"
options = { seed = 1 }

[camera.right]
driver = "wire-in"
process = "main"
options = { key = "camrig/r1/right/arm" }

[processor.there]
kind = "verify"
inputs = ["left", "right"]

[processor.left-to-main]
kind = "wire-out"
inputs = ["left"]
overflow = "block"
queue = 4
process = "main"
options = { key = "camrig/r1/left/main", codecs = { color = "jpeg:90", depth = "zstd" }, rate_mbps = 1000 }
"#;
    assert_eq!(arm, expected);
}

#[test]
fn a_part_names_the_hosts_whose_framesets_it_reads() {
    let split = split(TEXT, &[host("arm", None)], &BTreeMap::new(), "r1").unwrap();
    let reads: Vec<_> = split.into_iter().map(|part| part.reads).collect();
    assert_eq!(reads, [vec![Some("arm".to_owned())], vec![None]]);
}

#[test]
fn between_two_agents_the_reader_connects_to_the_producer() {
    let text = "[camera.a]\ndriver = 'synthetic'\nhost = 'arm'\n[camera.own]\ndriver = 'synthetic'\n\
                [processor.p]\nkind = 'verify'\ninputs = ['a']\nhost = 'base'\n";
    let parts = parts(text, &[host("arm", None), host("base", None)]);
    let insecure = "session = { connect = [\"tcp/127.0.0.1:7447\"], insecure = true }";
    assert_eq!(parts[0].1, "[camera.own]\ndriver = 'synthetic'\n");
    assert!(
        parts[1].1.contains("[processor.a-to-base]\nkind = \"wire-out\"") && !parts[1].1.contains("session")
    );
    assert!(parts[2].1.contains(&format!(
        "[camera.a]\ndriver = \"wire-in\"\noptions = {{ key = \"camrig/r1/a/base\", {insecure} }}"
    )));
}

#[test]
fn readers_on_one_host_share_a_crossing() {
    let with = |more: &str| {
        format!(
            "[camera.a]\ndriver = 'synthetic'\nhost = 'arm'\n[processor.p]\nkind = 'verify'\ninputs = ['a']\nqueue = 3\n\
             wire = {{ depth = 'raw' }}\n[processor.q]\nkind = 'verify'\ninputs = ['a']\n{more}\n"
        )
    };
    let hosts = [host("arm", None)];
    let parts = parts(&with("wire = { color = 'jpeg:80' }\nqueue = 5"), &hosts);
    assert_eq!(parts[1].1.matches("wire-out").count(), 1);
    assert!(
        parts[1].1.contains("queue = 5\n") && parts[1].1.contains("{ color = \"jpeg:80\", depth = \"raw\" }")
    );
    let refused = |more: &str| split(&with(more), &hosts, &BTreeMap::new(), "r1").unwrap_err();
    assert_eq!(
        refused("wire = { depth = 'zstd' }"),
        "processor `q`: `a` crosses to the same host for another processor with `depth` as `raw`, not `zstd`: give both the same"
    );
    // The policy that drops least is that of the crossing.
    let overflow = |more: &str| {
        let arm = split(&with(more), &hosts, &BTreeMap::new(), "r1").unwrap().remove(1).text;
        let line = arm
            .split_once("wire-out")
            .unwrap()
            .1
            .lines()
            .find(|line| line.starts_with("overflow"))
            .map(str::to_owned);
        line.unwrap_or_default()
    };
    assert_eq!(overflow("overflow = 'block'"), "overflow = \"block\"");
    assert_eq!(overflow("overflow = 'drop-newest'"), "");
    assert_eq!(
        refused("[camera.a-to-main]\ndriver = 'synthetic'"),
        "actor `a-to-main` has the name of the processor that sends `a` to host `main`: rename it"
    );
}

#[test]
fn a_topology_of_one_host_is_its_own_part() {
    let text = "[camera.a]\ndriver = 'synthetic'\n[processor.p]\nkind = 'verify'\ninputs = ['a']\n";
    assert_eq!(parts(text, &[]), [(String::new(), text.to_owned())]);
}

#[test]
fn a_host_without_actors_has_no_part() {
    let text =
        "[camera.a]\ndriver = 'synthetic'\nhost = 'main'\n[host.arm]\naddress = 'tcp/127.0.0.1:7447'\n";
    assert_eq!(
        parts(text, &[host("arm", None)]),
        [(String::new(), "[camera.a]\ndriver = 'synthetic'\n".to_owned())]
    );
}

#[test]
fn an_agent_runs_no_command() {
    let text = "[process.x]\ncommand = ['sh']\n[camera.a]\ndriver = 'synthetic'\nprocess = 'x'\n";
    assert_eq!(
        for_agent(text, Path::new("/id")).err().unwrap(),
        "process `x` has a command; an agent runs the drivers and kinds of its own program only"
    );
    let text = text.replace("command = ['sh']", "nice = 1");
    assert_eq!(for_agent(&text, Path::new("/id")).unwrap().text, text);
}

#[test]
fn agents_get_the_poses() {
    let text = format!("calibration = \"rig.calib.toml\"\n{TEXT}");
    let [own, arm] = &parts(&text, &[host("arm", None)])[..] else { panic!("two parts") };
    assert!(own.1.starts_with("calibration = \"rig.calib.toml\"\n"));
    let read = |file: &Path| {
        assert_eq!(file, Path::new("rig.calib.toml"));
        Ok("version = 1\nroot = 'left'\n".to_owned())
    };
    let part = for_agent(&with_calibration(&arm.1, read).unwrap(), Path::new("/id")).unwrap();
    let document: DocumentMut = part.text.parse().unwrap();
    let file = document["calibration"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "version = 1\nroot = 'left'\n");
    // A topology reads it once.
    drop(part);
    assert!(!Path::new(&file).exists());
    let refused = with_calibration(&arm.1, |_| Err("is a folder".to_owned())).unwrap_err();
    assert_eq!(refused, "calibration `rig.calib.toml` is a folder");
}

#[test]
fn sessions_with_pinned_peers_get_the_identity() {
    let own = &parts(TEXT, &[host("arm", Some("ed25519:K"))])[0].1;
    let identified = with_identity(own, Path::new("/id.pem")).unwrap();
    let added = ", identity = \"/id.pem\" }";
    assert_eq!(identified.matches(added).count(), 2, "{identified}");
    assert_eq!(identified.replace(added, " }"), *own);
    let insecure = &parts(TEXT, &[host("arm", None)])[0].1;
    assert_eq!(with_identity(insecure, Path::new("/id.pem")).unwrap(), *insecure);
}

#[test]
fn a_reader_knows_what_was_declared() {
    let profile = |stream, format: PixelFormat| DeviceProfile {
        stream,
        format: format.into(),
        profile: "64x48@30".parse().unwrap(),
    };
    let camera = |name: &str, clock| RelayedCamera { name: name.to_owned(), clock };
    let options = |declaration: Declaration| {
        let declarations = [("left".to_owned(), declaration)].into();
        let own = split(TEXT, &[host("arm", None)], &declarations, "r1").unwrap().remove(0).text;
        let line = own.lines().find(|line| line.contains("/left/main")).unwrap().to_owned();
        line.split_once("match_window_millis = 17.0").unwrap().1.to_owned()
    };
    let own = Declaration { cameras: vec![camera("left", None)], streams: Vec::new() };
    assert_eq!(options(own.clone()), " }");
    let streams = vec![profile(Stream::DEPTH, PixelFormat::Z16), profile(Stream::COLOR, PixelFormat::Rgb8)];
    assert_eq!(
        options(Declaration { streams, ..own }),
        r#", streams = { depth = "z16 64x48@30", color = "rgb8 64x48@30" } }"#
    );
    let cameras = vec![camera("eye", Some(Clock::Hardware)), camera("left", None)];
    assert_eq!(
        options(Declaration { cameras, streams: Vec::new() }),
        r#", cameras = ["eye", "left"], clocks = { eye = "hardware" } }"#
    );
}
