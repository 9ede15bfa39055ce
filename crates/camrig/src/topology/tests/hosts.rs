//! Tests of other hosts, and of the actors on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{refused, registry};
use crate::hosts::{
    HostDevices, HostPlan, HostSpec, Hosts, LinkPlan, PreparedHosts, StreamNeed, WholeTopology,
};
use crate::registry::Registry;
use crate::topology::{Probe, StartTime, Topology};

struct NoAgents;

impl Hosts for NoAgents {
    fn prepare(&self, _: &WholeTopology) -> Result<Box<dyn PreparedHosts>, Vec<String>> {
        unreachable!("a topology connects to nothing")
    }

    fn devices(&self, _: &[HostSpec]) -> Vec<(String, Result<HostDevices, String>)> {
        unreachable!("a topology connects to nothing")
    }

    fn plan(&self, _: &WholeTopology) -> Result<Vec<(String, HostPlan)>, Vec<String>> {
        unreachable!("a topology connects to nothing")
    }

    fn network(
        &self,
        _: &WholeTopology,
        _: &BTreeMap<String, Vec<StreamNeed>>,
    ) -> Result<Vec<LinkPlan>, String> {
        unreachable!("a topology does not plan")
    }
}

fn reaching() -> Registry {
    let mut registry = registry();
    registry.set_hosts(Arc::new(NoAgents));
    registry
}

/// Returns the problems of a topology as text, in a program that reaches hosts; empty without any.
fn problems(text: &str) -> String {
    Topology::parse("t.toml", text, None, &reaching())
        .map_or_else(|problems| problems.render(false), |_| String::new())
}

const RIGHT: &str = r#"[host.arm]
address = "tls/10.0.0.12:7447"
fingerprint = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
rate_megabits = 2500

[camera.left]
driver = "even"
host = "arm"
options = { serial = 2 }

[camera.own]
driver = "of-its-program"
host = "arm"
options = { anything = true }

[processor.p]
kind = "idle"
inputs = ["left"]
wire = { depth = "zstd", color = "jpeg:90" }
"#;

#[test]
fn a_program_without_hosts_names_the_feature() {
    refused(
        "[host.arm]\naddress = \"tcp/127.0.0.1:7447\"\n\n[camera.left]\ndriver = \"even\"\nhost = \"arm\"\n\
         options = { serial = 2 }\n\n[processor.p]\nkind = \"idle\"\ninputs = [\"left\"]\n",
        r"
error: this program cannot reach host `arm`
 --> t.toml:1:7
  |
1 | [host.arm]
  |       ^^^ it was built without the feature `hosts`
",
    );
}

#[test]
fn hosts_are_read() {
    let topology = Topology::parse("t.toml", RIGHT, None, &reaching()).unwrap();
    let [arm] = topology.hosts() else { panic!("one host") };
    assert_eq!(
        (arm.name.as_str(), arm.address.as_str(), arm.rate_megabits),
        ("arm", "tls/10.0.0.12:7447", Some(2500))
    );
    let hosts: Vec<_> = topology.actors().iter().map(|actor| actor.host.as_deref()).collect();
    // An agent checks the driver that this program does not have.
    assert_eq!(hosts, [Some("arm"), Some("arm"), None]);
}

#[test]
fn the_first_host_has_a_name() {
    let text = RIGHT.replace("kind = \"idle\"", "kind = \"idle\"\nhost = \"main\"");
    let topology = Topology::parse("t.toml", &text, None, &reaching()).unwrap();
    assert_eq!(topology.actors()[2].host, None);
}

#[test]
fn devices_of_other_hosts_are_not_looked_for_here() {
    let missing = RIGHT.replace("serial = 2", "serial = 3");
    let probed = |text: &str| {
        Topology::parse_and_probe("t.toml", text, None, &reaching(), Probe::Every, StartTime::default())
            .map(drop)
    };
    assert!(probed(&missing).is_ok());
    let here = missing.replacen("host = \"arm\"\n", "", 1);
    assert!(probed(&here).unwrap_err().render(false).contains("serial 3 is not attached"));
}

#[test]
fn hosts_and_their_actors_are_checked() {
    for (from, to, title, label) in [
        (
            "host = \"arm\"\noptions = { serial",
            "host = \"amr\"\noptions = { serial",
            "actor `left` is on unknown host `amr`",
            "did you mean `arm`?",
        ),
        (
            "jpeg:90",
            "jpeg:0",
            "`color` of `wire` of processor `p` has unknown codec `jpeg:0`",
            "`jpeg:QUALITY`",
        ),
        ("\"zstd\"", "1", "`depth` of `wire` of processor `p` is an integer", "must be a string"),
        ("tls/10", "tcp/10", "`address` of host `arm` does not use TLS", "expected `tls/HOST:PORT`"),
        ("ed25519:", "sha256:", "`fingerprint` of host `arm` is not a fingerprint", "--new-identity"),
        ("2500", "0", "`rate_megabits` of host `arm` is out of range", "must be 1 to 400000"),
        (
            "kind = \"idle\"",
            "kind = \"idle\"\nhost = \"arm\"",
            "no actor is on the host where the rig is started",
            "no `host`",
        ),
        (
            "kind = \"idle\"",
            "kind = \"idle\"\nprocess = \"own\"\n[process.own]\ncommand = [\"worker\"]",
            "process `own` of host `arm` has a command",
            "of its own program only",
        ),
        ("serial = 2 }", "serial = 2 }\nprocess = \"p\"", "", ""),
        ("kind = \"idle\"", "kind = \"idle\"\nprocess = \"eyes\"", "", ""),
    ] {
        let said = problems(&RIGHT.replacen(from, to, 1));
        assert_eq!(said.is_empty(), title.is_empty(), "{said}");
        assert!(said.contains(title) && said.contains(label), "{title}: {said}");
    }
    let shared = RIGHT.replace("kind = \"idle\"", "kind = \"idle\"\nprocess = \"eyes\"");
    let said = problems(&shared.replace("serial = 2 }", "serial = 2 }\nprocess = \"eyes\""));
    assert!(said.contains("`p` cannot share process `eyes` with `left`"), "{said}");
    // An actor can be moved there while the rig runs.
    let idle = format!("{RIGHT}[host.base]\naddress = \"tcp/localhost:1\"\n");
    assert_eq!(problems(&idle), "");
    let said = problems(&idle.replace("host.base", "host.main"));
    assert!(said.contains("a host cannot be called `main`") && said.contains("another name"), "{said}");
}

#[test]
fn actors_of_a_thread_are_on_one_host() {
    let text = RIGHT.replacen("host = \"arm\"", "host = \"arm\"\nthread = \"eye\"", 1);
    assert_eq!(problems(&text), "");
    let apart = text.replace("kind = \"idle\"", "kind = \"idle\"\nthread = \"eye\"");
    assert!(problems(&apart).starts_with("error: actors of thread `eye` are on different hosts\n"));
}

#[test]
fn codecs_are_of_streams_that_an_input_has() {
    let mut registry = Registry::new();
    registry.set_hosts(Arc::new(NoAgents));
    let problems = |text: &str| {
        let parsed = Topology::parse("t.toml", text, None, &registry);
        parsed.map_or_else(|problems| problems.render(false), |_| String::new())
    };
    let synthetic = RIGHT.replace("\"even\"", "\"synthetic\"").replace("serial = 2", "model = \"d405\"");
    let synthetic = synthetic.replace("\"idle\"", "\"stats\"");
    assert_eq!(problems(&synthetic), "");
    let wrong = synthetic.replace("color = \"jpeg", "colour = \"jpeg");
    let said = problems(&wrong);
    assert!(said.contains("`wire` of processor `p` has stream `colour`, which no input publishes"), "{said}");
    assert!(said.contains("did you mean `color`?"), "{said}");
    // The streams of a driver that this program does not have are unknown.
    assert_eq!(problems(&wrong.replace("[\"left\"]", "[\"left\", \"own\"]")), "");
}
