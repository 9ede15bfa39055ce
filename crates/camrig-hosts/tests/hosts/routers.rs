//! Tests of hosts that are connected by routers only: over 127.0.0.1, and in network namespaces; real processes.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::agents::{Crossing, Program, agent_by, identity, program, report, wait};
use crate::namespaces::{Network, inside};
use crate::same::{digests, on_one_host};
use crate::test;

/// Framesets of each camera.
const FRAMESETS: u64 = 60;

/// Returns an address of a router at which no process listens.
fn free_router() -> String {
    format!("quic/{}", UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

/// The hosts of a test and their keys.
struct Site<'t> {
    folder: &'t Path,
    /// `None` if all hosts are this machine.
    network: Option<&'t Network>,
    /// The address of the router of each host.
    routers: &'t dyn Fn(&str) -> String,
}

/// The file of the key of the first host, which every program under test has by default.
const FIRST: &str = "first.pem";

impl Site<'_> {
    /// Returns the command that runs the program on a host.
    fn command(&self, host: &str) -> Command {
        self.network.map_or_else(program, |network| inside(&network.of(host)))
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Starts a router that accepts these keys, and waits until it listens.
    fn router(&self, name: &str, address: &str, connect: Option<&str>, peers: &[&str]) -> Program {
        let mut words = vec!["route", "--listen", address];
        words.extend(connect.iter().flat_map(|other| ["--connect", *other]));
        words.extend(peers.iter().flat_map(|peer| ["--peer", *peer]));
        let file = self.file(&format!("{name}.pem"));
        words.extend(["--identity", &file]);
        let mut router = Program::start_by(self.command("first"), self.folder, name, &words);
        let mut stdout = BufReader::new(router.child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with("router: listens at "), "{line}{}", router.stderr());
        router.child.stdout = Some(stdout.into_inner());
        router
    }

    /// Starts the agent of a host, which is connected to its router.
    fn agent(&self, host: &str, router: &str) -> Program {
        let (address, file) = ((self.routers)(host), self.file(&format!("{host}.pem")));
        let words = ["--connect", &address, "--name", host, "--identity", &file, "--peer", router];
        agent_by(self.command(host), self.folder, host, &words)
    }
}

/// Returns the tables of hosts `arm` and `base`, which are connected to a router.
fn hosts(address: &str, router: &str) -> String {
    let host = |name: &str| {
        format!("[host.{name}]\naddress = \"{address}\"\nrouter = true\nfingerprint = \"{router}\"\n")
    };
    host("arm") + &host("base")
}

/// A camera on `arm` and one on the first host, both read on `base` and on the first host.
fn text(size: &str) -> String {
    format!(
        r#"
        [camera.there]
        driver  = "synthetic"
        host    = "arm"
        options = {{ model = "any", seed = 3, depth = "{size}@60", color = "{size}@60", gyro = 200, paced = false }}

        [camera.here]
        driver  = "synthetic"
        options = {{ model = "any", seed = 4, depth = "{size}@60", color = "{size}@60", paced = false }}

        [processor.near]
        kind     = "verify"
        inputs   = ["there", "here"]
        overflow = "block"
        wire     = {{ depth = "raw", color = "raw", gyro = "raw" }}
        options  = {{ digest = true }}

        [processor.far]
        kind     = "verify"
        host     = "base"
        inputs   = ["there", "here"]
        overflow = "block"
        wire     = {{ depth = "delta", color = "zstd" }}
        options  = {{ digest = true }}
        "#
    )
}

/// Runs a rig to its end; returns the digests on the first host.
fn run(site: &Site<'_>, text: &str, context: &dyn Fn() -> String) -> Vec<String> {
    let (path, report_file) = (site.file("rig.toml"), site.file("report.json"));
    std::fs::write(&path, text).unwrap();
    let framesets = FRAMESETS.to_string();
    let words = ["run", &path, "--framesets", &framesets, "--report", &report_file];
    let mut run = Program::start_by(site.command("main"), site.folder, "run", &words);
    let (code, stdout) = run.finish();
    assert_eq!(code, Some(0), "{}{}", run.stderr(), context());
    let report = report(site.folder);
    for link in report["links"].as_array().unwrap() {
        let counts = (link["produced"].as_u64(), link["delivered"].as_u64());
        assert_eq!(counts, (Some(FRAMESETS), Some(FRAMESETS)), "{link:#}\n{}{}", run.stderr(), context());
    }
    digests(&stdout)
}

/// Framesets that cross by a router, from agent to agent too, are those of one host.
fn same(site: &Site<'_>, size: &str) {
    let of_one_host = run(site, &on_one_host(&text(size)), &String::new);
    let [router_key, first, arm_key, base_key] =
        ["router.pem", FIRST, "arm.pem", "base.pem"].map(|name| identity(site.folder, name));
    let address = (site.routers)("main");
    let mut router = site.router("router", &address, None, &[&first, &arm_key, &base_key]);
    let (arm, mut base) = (site.agent("arm", &router_key), site.agent("base", &router_key));
    let context = || router.stderr() + &arm.stderr() + &base.stderr();
    let near = run(site, &(hosts(&address, &router_key) + &text(size)), &context);
    base.signal(Signal::TERM);
    let (code, far) = base.finish();
    assert_eq!(code, Some(0), "{}", base.stderr());
    assert_eq!((near.len(), &near), (2, &digests(&far)));
    assert_eq!(of_one_host.iter().step_by(2).collect::<Vec<_>>(), near.iter().collect::<Vec<_>>());
    router.signal(Signal::TERM);
    assert_eq!(router.finish().0, Some(0), "{}", router.stderr());
}

fn here() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_router());
    same(&Site { folder: folder.path(), network: None, routers: &|_| address.clone() }, "160x120");
}

/// Three hosts whose only way to each other is the router's program: its host does not forward packets.
fn in_namespaces() {
    let network = Network::new(&["main", "arm", "base"]);
    let address = format!("quic/{}:7447", network.meeting_point());
    let folder = tempfile::tempdir().unwrap();
    let site = Site { folder: folder.path(), network: Some(&network), routers: &|_| address.clone() };
    same(&site, "848x480");
    for host in ["main", "arm", "base"] {
        let bytes = network.received_bytes(host);
        println!("router: {bytes} bytes from host {host}");
    }
}

/// Each site has a router, and one of these connects to the other.
fn two_sites() {
    let (folder, near, far) = (tempfile::tempdir().unwrap(), free_router(), free_router());
    let routers = |host: &str| if host == "arm" { far.clone() } else { near.clone() };
    let site = Site { folder: folder.path(), network: None, routers: &routers };
    let of_one_host = run(&site, &on_one_host(&text("160x120")), &String::new);
    let [near_key, far_key, first, arm_key, base_key] =
        ["near.pem", "far.pem", FIRST, "arm.pem", "base.pem"].map(|name| identity(site.folder, name));
    let _near = site.router("near", &near, None, &[&first, &base_key, &far_key]);
    let _far = site.router("far", &far, Some(near.as_str()), &[&arm_key, &near_key]);
    let (arm, base) = (site.agent("arm", &far_key), site.agent("base", &near_key));
    // The first host and `base` know their own router only; `arm` sends by both.
    let digests =
        run(&site, &(hosts(&near, &near_key) + &text("160x120")), &|| arm.stderr() + &base.stderr());
    assert_eq!(of_one_host.iter().step_by(2).collect::<Vec<_>>(), digests.iter().collect::<Vec<_>>());
}

/// A router that dies and is started again costs what is counted.
fn restarted() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_router());
    let site = Site { folder: folder.path(), network: None, routers: &|_| address.clone() };
    let [key, first, arm_key] = ["router.pem", FIRST, "arm.pem"].map(|name| identity(site.folder, name));
    let router = site.router("router", &address, None, &[&first, &arm_key]);
    let arm = site.agent("arm", &key);
    let (path, report_file) = (site.file("rig.toml"), site.file("report.json"));
    let text = format!(
        "[host.arm]\naddress = \"{address}\"\nrouter = true\nfingerprint = \"{key}\"\n\
         [camera.there]\ndriver = \"synthetic\"\nhost = \"arm\"\noptions = {{ model = \"any\", depth = \"160x120@30\" }}\n\
         [processor.reader]\nkind = \"stats\"\ninputs = [\"there\"]\n"
    );
    std::fs::write(&path, text).unwrap();
    let mut run = Program::start_by(
        site.command("main"),
        site.folder,
        "run",
        &["run", &path, "--report", &report_file],
    );
    let lines = run.lines();
    let context = || run.stderr() + &arm.stderr();
    let printed = || lines.lock().unwrap().iter().filter(|line| line.starts_with("stats: there")).count();
    wait("framesets", || printed() > 0, context);
    drop(router);
    run.wait_for_stderr("host `arm` at");
    let _router = site.router("router", &address, None, &[&first, &arm_key]);
    run.wait_for_stderr("host `arm` is back");
    let before = printed();
    wait("framesets after it", || printed() > before + 1, context);
    run.signal(Signal::INT);
    let code = run.finish().0;
    assert_eq!(code, Some(0), "{}{}", run.stderr(), arm.stderr());
    let report = report(site.folder);
    assert_eq!(Crossing::of(&report, "arm/there", "there").in_flight(), 0, "{report:#}");
}

/// Hosts that the router does not know, names that no agent or two agents have, and `tls` are refused. The programs wait at the
/// same time.
fn refused() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_router());
    let site = Site { folder: folder.path(), network: None, routers: &|_| address.clone() };
    let [key, first, arm_key] = ["router.pem", FIRST, "arm.pem"].map(|name| identity(site.folder, name));
    let _router = site.router("router", &address, None, &[&first, &arm_key]);
    let _arm = site.agent("arm", &key);
    let arm_only = hosts(&address, &key).split("[host.base]").next().unwrap().to_owned();
    let arm_only = arm_only + &text("32x24").replace("\"base\"", "\"arm\"");
    let [known_file, missing_file] = ["known.toml", "missing.toml"].map(|name| site.file(name));
    std::fs::write(&known_file, arm_only).unwrap();
    std::fs::write(&missing_file, hosts(&address, &key) + &text("32x24")).unwrap();
    // A first host that the router has not pinned.
    let other = tempfile::tempdir().unwrap();
    identity(other.path(), FIRST);
    let stranger = Program::start(other.path(), "stranger", &["check", &known_file]);
    let known = Program::start(site.folder, "known", &["check", &known_file]);
    let missing = Program::start(site.folder, "missing", &["check", &missing_file]);
    let file = site.file("arm.pem");
    let twin = ["join", "--connect", &address, "--name", "arm", "--identity", &file, "--peer", &key];
    let twin = Program::start(site.folder, "twin", &twin);
    let tls = Program::start(site.folder, "tls", &["route", "--listen", "tls/127.0.0.1:1", "--peer", &first]);
    let ended = |mut program: Program, code: i32| {
        assert_eq!(program.finish().0, Some(code), "{}", program.stderr());
        program.stderr()
    };
    ended(known, 0);
    assert_eq!(
        ended(missing, 69),
        format!(
            "error: host `base`: no agent of this name is connected to the router at `{address}`; `camrig join --name base \
             --connect {address}` starts one there\n"
        )
    );
    assert_eq!(
        ended(twin, 69),
        "error: another agent is connected to the router as `arm`: choose another `--name`\n"
    );
    assert_eq!(
        ended(tls, 69),
        "error: endpoint `tls/127.0.0.1:1` uses `tls`, which a router cannot; expected `quic/HOST:PORT`, which is encrypted \
         as well\n"
    );
    let refused = ended(stranger, 69);
    assert!(refused.starts_with("error: host `arm`: "), "{refused}");
}

/// Those in namespaces need root: `just test-hosts` runs them.
pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "routers::framesets_by_a_router_have_the_digests_of_one_host", here);
    test(trials, "routers::two_sites_are_connected_by_their_routers", two_sites);
    test(trials, "routers::a_router_that_dies_and_is_back_costs_what_is_counted", restarted);
    test(trials, "routers::what_a_router_does_not_know_is_refused", refused);
    let mut of_root = Vec::new();
    test(&mut of_root, "routers::hosts_in_namespaces_have_only_the_router_in_common", in_namespaces);
    trials.extend(of_root.into_iter().map(|trial| trial.with_ignored_flag(true)));
}
