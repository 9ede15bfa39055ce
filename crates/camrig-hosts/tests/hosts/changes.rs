//! Tests of changes of a rig over several hosts while it runs, over 127.0.0.1: real processes.

use std::path::Path;
use std::time::{Duration, Instant};

use camrig_status::control::{self, Answer, Edit, Edits, Request};
use libtest_mimic::Trial;
use rustix::process::Signal;
use serde_json::Value;

use crate::agents::{Program, agent, report, wait};
use crate::crossing::free_address;
use crate::test;

/// Returns a rig with one other host: a camera at each, a reader of each beside it, and `distance`, which reads that of the
/// other host.
fn text(listen: &str) -> String {
    format!(
        r#"[host.arm]
address = "{listen}"

[camera.left]
driver  = "synthetic"
host    = "arm"
options = {{ model = "any", color = "off", depth = "32x24@60" }}

[camera.here]
driver  = "synthetic"
options = {{ model = "any", color = "off", depth = "32x24@60" }}

[processor.far]
kind     = "verify"
host     = "arm"
inputs   = ["left"]
overflow = "block"

[processor.near]
kind     = "verify"
inputs   = ["here"]
overflow = "block"

[processor.distance]
kind     = "verify"
inputs   = ["left"]
overflow = "block"
wire     = {{ depth = "delta" }}
"#
    )
}

/// A rig over several hosts, which runs.
struct Running<'f> {
    folder: &'f Path,
    run: Program,
    /// Its process, by which commands name it.
    rig: String,
}

impl<'f> Running<'f> {
    fn start(folder: &'f Path, text: &str) -> Self {
        Self::start_with(folder, text, &[])
    }

    fn start_with(folder: &'f Path, text: &str, options: &[&str]) -> Self {
        let path = folder.join("rig.toml").display().to_string();
        std::fs::write(&path, text).unwrap();
        let report_file = folder.join("report.json").display().to_string();
        let run = ["run", &path, "--report", &report_file];
        let run = Program::start(folder, "run", &[&run[..], options].concat());
        let rig = run.id().to_string();
        let running = Self { folder, run, rig };
        // It answers as soon as it runs.
        wait("the rig", || running.command(&["restart", "near"]).0 == Some(0), || running.run.stderr());
        running
    }

    /// Runs a command about the rig; returns its exit code, stdout and stderr.
    fn command(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let rig: &[&str] = if arguments[0] == "apply" || arguments[0] == "topology" {
            &[&self.rig]
        } else {
            &["--rig", &self.rig]
        };
        let mut command = Program::start(self.folder, "command", &[arguments, rig].concat());
        let (code, stdout) = command.finish();
        (code, stdout, command.stderr())
    }

    /// Runs a command that has to succeed; returns its output.
    fn done(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.command(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {stderr} {}", self.run.stderr());
        stdout
    }

    /// Runs a command that is refused; returns its message.
    fn refused(&self, arguments: &[&str], code: i32) -> String {
        let (seen, stdout, stderr) = self.command(arguments);
        assert_eq!(seen, Some(code), "{arguments:?}: {stdout} {stderr}");
        stderr
    }

    /// Waits until a camera has published, or a processor has taken, this number of framesets more.
    fn flows(&self, actor: &str, framesets: u64) {
        let sum = |status: &Value, table: &str, name: &str, count: &str| -> u64 {
            rows(status, table).iter().filter(|row| row[name] == actor).map(|row| number(row, count)).sum()
        };
        let seen = || {
            let status = self.status();
            sum(&status, "actors", "name", "produced") + sum(&status, "links", "to", "delivered")
        };
        let begin = seen();
        let what = format!("framesets of `{actor}`");
        wait(&what, || seen() >= begin + framesets, || format!("{:#} {}", self.status(), self.run.stderr()));
    }

    fn status(&self) -> Value {
        let name = camrig_status::socket::names().unwrap();
        let name = name.into_iter().find(|name| name.contains(&format!("-{}-", self.rig)));
        serde_json::to_value(camrig_status::socket::read(&name.unwrap()).unwrap()).unwrap()
    }

    /// Ends the rig; returns its report, in which every link adds up.
    fn finish(mut self) -> Value {
        self.run.signal(Signal::INT);
        assert_eq!(self.run.finish().0, Some(0), "{}", self.run.stderr());
        let report = report(self.folder);
        for link in rows(&report, "links") {
            let dropped: u64 = link["dropped"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
            let accounted = number(link, "delivered") + dropped + number(link, "in_flight");
            assert_eq!(number(link, "produced"), accounted, "{link:#}");
        }
        report
    }
}

fn rows<'r>(report: &'r Value, table: &str) -> &'r [Value] {
    report[table].as_array().unwrap()
}

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_else(|| panic!("{key}: {row:#}"))
}

/// Returns the sum of a count over all rows of a link.
fn of_link(report: &Value, from: &str, to: &str, key: &str) -> u64 {
    let own = rows(report, "links").iter().filter(|link| link["from"] == from && link["to"] == to);
    own.map(|link| number(link, key)).sum()
}

/// Returns the sum of a count over all rows of an actor.
fn of_actor(report: &Value, name: &str, key: &str) -> u64 {
    let own = rows(report, "actors").iter().filter(|actor| actor["name"] == name);
    own.map(|actor| number(actor, key)).sum()
}

/// Checks that every frameset given to the sender of a crossing has come out of its receiver.
fn all_arrived(report: &Value, from: &str, sender: &str, camera: &str) {
    let sent = of_link(report, from, sender, "delivered");
    assert!(sent > 0, "{report:#}");
    assert_eq!(of_actor(report, camera, "produced") + of_actor(report, camera, "lost"), sent, "{report:#}");
    assert_eq!(of_actor(report, camera, "lost"), 0, "{report:#}");
}

/// An actor moves to another host and back: the crossing ends and begins again, and each frameset is accounted for.
fn moved() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("tcp/{}", free_address());
    let agent = agent(folder.path(), "agent", &["--listen", &listen]);
    let rig = Running::start(folder.path(), &text(&listen));
    rig.flows("left", 10);
    let there = "host `arm`: remove processor `left-to-main`\n\
                 host `arm`: start process `distance`\n\
                 host `arm`: add processor `distance` in process `distance`\n\
                 remove camera `left`\n\
                 remove processor `distance`\n\
                 end process `left`\n\
                 end process `distance`\n";
    let said = rig.done(&["move", "distance", "--host", "arm", "--dry-run"]);
    assert_eq!(said, format!("{there}nothing was changed: this was a dry run\n"));
    assert_eq!(rig.done(&["move", "distance", "--host", "arm"]), there);
    rig.flows("arm/distance", 10);
    assert!(rig.done(&["topology"]).contains("wire     = { depth = \"delta\" }\nhost = \"arm\"\n"));
    let back = rig.done(&["move", "distance", "--host", "main"]);
    assert!(back.contains("host `arm`: remove processor `distance`\n"), "{back}");
    assert!(back.contains("\nadd camera `left` in process `left`\n"), "{back}");
    rig.flows("distance", 10);
    let refused = rig.refused(&["move", "distance", "--host", "amr"], 78);
    assert!(refused.contains("is on unknown host `amr`") && refused.contains("`arm`"), "{refused}");
    let refused = rig.refused(&["restart", "nobody"], 78);
    assert!(refused.contains("the rig has no actor `nobody`"), "{refused}");
    rig.flows("distance", 10);
    let report = rig.finish();
    all_arrived(&report, "arm/left", "arm/left-to-main", "left");
    for (from, to) in [("here", "near"), ("arm/left", "arm/far"), ("left", "distance")] {
        let (produced, delivered) =
            (of_link(&report, from, to, "produced"), of_link(&report, from, to, "delivered"));
        assert_eq!(produced, delivered, "{from} to {to} has lost something: {report:#}");
    }
    assert!(of_link(&report, "arm/left", "arm/distance", "delivered") >= 10);
    // The camera was never interrupted.
    assert_eq!(
        of_link(&report, "arm/left", "arm/far", "delivered"),
        of_actor(&report, "arm/left", "produced")
    );
    drop(agent);
}

/// Options, streams and actors of another host change as on one host; a change that is refused there changes nothing
/// anywhere.
fn changed() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("tcp/{}", free_address());
    let _agent = agent(folder.path(), "agent", &["--listen", &listen]);
    let original = text(&listen);
    let rig = Running::start(folder.path(), &original);
    rig.flows("left", 5);
    // An open device of another host.
    let controls = rig.done(&["get", "left"]);
    assert!(controls.contains("exposure"), "{controls}");
    let set = rig.done(&["set", "left", "exposure=4000", "--live"]);
    assert_eq!(set, "host `arm`: set camera `left`: option `exposure` unset -> 4000\n");
    assert!(rig.done(&["get", "left"]).contains("4000"));
    let refused = rig.refused(&["set", "left", "seed=2", "--live"], 78);
    assert!(refused.contains("host `arm`: a synthetic camera has no option `seed`"), "{refused}");
    let set = rig.done(&["set", "left", "seed=2"]);
    assert_eq!(set, "host `arm`: restart camera `left`: option `seed` unset -> 2\n");
    rig.flows("distance", 5);
    assert_eq!(
        rig.done(&["pause", "left", "here"]),
        "pause camera `here`\nhost `arm`: pause camera `left`\n"
    );
    assert_eq!(
        rig.done(&["resume", "left", "here"]),
        "resume camera `here`\nhost `arm`: resume camera `left`\n"
    );
    rig.flows("distance", 5);
    assert_eq!(rig.done(&["restart", "left"]), "host `arm`: restart camera `left`: as requested\n");
    rig.flows("distance", 5);
    // Another codec: the sender is replaced, and its receiver continues.
    let running = rig.done(&["topology"]);
    let file = folder.path().join("next.toml").display().to_string();
    let apply = |text: &str| {
        std::fs::write(&file, text).unwrap();
        ["apply", file.as_str()]
    };
    let coded = running.replace("{ depth = \"delta\" }", "{ depth = \"zstd\" }");
    assert_ne!(coded, running);
    let said = rig.done(&apply(&coded));
    assert_eq!(
        said,
        "host `arm`: restart processor `left-to-main`: option `codecs.depth` \"delta\" -> \"zstd\"\n"
    );
    rig.flows("distance", 5);
    // The agent refuses its part, and nothing changes here either.
    let wrong =
        coded.replace("[processor.far]\nkind     = \"verify\"", "[processor.far]\nkind     = \"of-nobody\"");
    let wrong = wrong.replace("[camera.here]", "[camera.more]\ndriver = \"synthetic\"\n\n[camera.here]");
    let refused = rig.refused(&apply(&wrong), 78);
    assert!(refused.contains("host `arm`: processor `far` has unknown kind `of-nobody`"), "{refused}");
    assert_eq!(rig.done(&["topology"]), coded);
    // Actors join and leave there.
    let added = rig.done(&["add", "stats.rates", "--inputs", "left", "--host", "arm"]);
    assert_eq!(
        added,
        "host `arm`: start process `rates`\nhost `arm`: add processor `rates` in process `rates`\n"
    );
    rig.flows("arm/rates", 5);
    assert!(rig.done(&["remove", "rates"]).contains("host `arm`: remove processor `rates`\n"));
    // A recorder of every camera joins for a while.
    let file = folder.path().join("a.mcap").display().to_string();
    let mut recorder = Program::start(
        folder.path(),
        "record",
        &["record", "--attach", &rig.rig, "--output", &file, "--for", "2s"],
    );
    let (code, stdout) = recorder.finish();
    assert_eq!(code, Some(0), "{stdout}{}", recorder.stderr());
    let recording = camrig_record::OpenRecording::open(file.as_ref()).unwrap();
    let names: Vec<_> = recording.cameras().iter().map(|camera| camera.name.as_str()).collect();
    assert_eq!(names, ["here", "left"]);
    rig.flows("distance", 5);
    let report = rig.finish();
    all_arrived(&report, "arm/left", "arm/left-to-main", "left");
    let cameras = rows(&report, "actors").iter().filter(|actor| actor["name"] == "left").count();
    assert_eq!(cameras, 1, "the receiver went on: {report:#}");
    let changes = report["changes"].as_array().unwrap();
    assert!(!changes.is_empty());
}

/// A host of the topology that has no actors takes its first one while the rig runs, and ends when it has none again.
fn joined() {
    let folder = tempfile::tempdir().unwrap();
    let (arm, base) = (format!("tcp/{}", free_address()), format!("tcp/{}", free_address()));
    let _arm = agent(folder.path(), "arm", &["--listen", &arm]);
    let text = format!("{}[host.base]\naddress = \"{base}\"\n", text(&arm));
    // No agent is needed there until then.
    let rig = Running::start(folder.path(), &text);
    let refused = rig.refused(&["move", "distance", "--host", "base"], 78);
    assert!(refused.contains("host `base`: nothing listens at"), "{refused}");
    let base = agent(folder.path(), "base", &["--listen", &base]);
    let said = rig.done(&["move", "distance", "--host", "base"]);
    assert!(said.contains("host `base`: its part starts\n"), "{said}");
    rig.flows("base/distance", 10);
    let said = rig.done(&["move", "distance", "--host", "main"]);
    assert!(said.contains("host `base`: its part ends\n"), "{said}");
    rig.flows("distance", 10);
    rig.done(&["move", "distance", "--host", "base"]);
    rig.flows("base/distance", 10);
    let report = rig.finish();
    all_arrived(&report, "arm/left", "arm/left-to-base", "base/left");
    all_arrived(&report, "arm/left", "arm/left-to-main", "left");
    let rows = rows(&report, "actors").iter().filter(|actor| actor["name"] == "base/distance").count();
    assert_eq!(rows, 2, "each part of `base` has its rows: {report:#}");
    drop(base);
}

/// A file that is watched changes every host.
fn watched() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let _agent = agent(folder, "agent", &["--listen", &listen]);
    let rig = Running::start_with(folder, &text(&listen), &["--watch"]);
    let moved = text(&listen).replace("wire     =", "host     = \"arm\"\nwire     =");
    std::fs::write(folder.join("rig.toml"), &moved).unwrap();
    rig.run.wait_for_stderr(
        "`camrig run --watch` changes the rig: remove camera `left`; remove processor `distance`",
    );
    rig.flows("arm/distance", 10);
    assert_eq!(rig.done(&["topology"]), moved);
    all_arrived(&rig.finish(), "arm/left", "arm/left-to-main", "left");
}

/// The devices of every host are listed, and the USB and the network of each are added up.
fn planned() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("tcp/{}", free_address());
    let agent = agent(folder.path(), "agent", &["--listen", &listen]);
    let path = folder.path().join("rig.toml").display().to_string();
    let rig = text(&listen)
        .replace("address =", "rate_megabits = 10\naddress =")
        .replace("\"32x24@60\"", "\"640x480@30\"");
    std::fs::write(&path, &rig).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Program::start(folder.path(), "command", arguments);
        let (code, stdout) = command.finish();
        (code, stdout, command.stderr())
    };
    let (code, stdout, stderr) = command(&["plan", &path]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stdout.contains("\nhost arm: ") && stdout.contains("1 camera on USB, 147 Mb/s in all\n"),
        "{stdout}"
    );
    assert!(
        stdout.contains("\nnetwork of  direction  actors  raw Mb/s  as coded  usable  assessment\n"),
        "{stdout}"
    );
    assert!(
        stdout.contains("\narm         out        left    148       24        9       too-much\n"),
        "{stdout}"
    );
    assert!(stdout.contains("\nmain        in         left    148       24        -       -\n"), "{stdout}");
    let said = "error: the network link of host `arm` needs 24 Mb/s out for `left`, but 9 of its 10 are usable; with";
    assert!(stderr.contains(said), "{stderr}");
    std::fs::write(&path, rig.replace("rate_megabits = 10\n", "rate_megabits = 1000\n")).unwrap();
    let (code, json, stderr) = command(&["plan", &path, "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["fits"], &json["hosts"][0]["name"]), (&true.into(), &"arm".into()), "{json:#}");
    assert_eq!(
        (json["network"][0]["need_megabits"].as_u64(), json["network"][0]["usable_megabits"].as_u64()),
        (Some(24), Some(900))
    );
    // The devices of this host only, without an agent.
    assert_eq!(command(&["plan", &path, "--controllers", "1"]).0, Some(0));

    let (code, json, stderr) = command(&["devices", &path, "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["hosts"], serde_json::json!([{ "name": "arm", "devices": [] }]), "{json:#}");
    let (code, _, stderr) = command(&["devices", &path, "--host", "base"]);
    assert_eq!(code, Some(64));
    assert!(stderr.contains("has no host `base`; expected one of: `main`, `arm`"), "{stderr}");
    drop(agent);
    let (code, _, stderr) = command(&["devices", &path, "--host", "arm"]);
    assert_eq!(code, Some(69));
    assert!(stderr.contains("error: host `arm`: nothing listens at"), "{stderr}");
}

/// Returns the newest number and the first one with this exposure that a reader has written.
fn seen(file: &Path, exposure: u64) -> (u64, Option<u64>) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The last line may not be whole.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let numbers = lines.filter_map(|line| line.trim_end().split_once(' '));
    let parsed: Vec<(u64, u64)> =
        numbers.map(|(number, own)| (number.parse().unwrap(), own.parse().unwrap())).collect();
    let first = parsed.iter().find(|(_, own)| *own == exposure).map(|(number, _)| *number);
    (parsed.last().map_or(0, |(number, _)| *number), first)
}

/// Measures after how many framesets a set applies, of a camera here and of one of another host, at 30 Hz.
fn measured_sets() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("tcp/{}", free_address());
    let _agent = agent(folder.path(), "agent", &["--listen", &listen]);
    let cameras = [("here", "near", ""), ("left", "far", "host = \"arm\"\n")];
    let tables = cameras.map(|(camera, reader, host)| {
        let file = folder.path().join(reader).display().to_string();
        format!(
            "[camera.{camera}]\ndriver = \"synthetic\"\n{host}\
             options = {{ model = \"any\", color = \"off\", depth = \"64x48@30\" }}\n\
             [processor.{reader}]\nkind = \"exposures\"\n{host}inputs = [\"{camera}\"]\noptions = {{ file = {file:?} }}\n"
        )
    });
    let text = format!("[host.arm]\naddress = \"{listen}\"\n") + &tables.concat();
    let rig = Running::start(folder.path(), &text);
    let names = camrig_status::socket::names().unwrap();
    let name = names.into_iter().find(|name| name.contains(&format!("-{}-", rig.rig))).unwrap();
    for (camera, reader, _) in cameras {
        let file = folder.path().join(reader);
        let (mut framesets, mut millis) = (Vec::new(), Vec::new());
        for round in 1..=40 {
            let exposure = 1000 + round;
            let before = seen(&file, exposure).0;
            wait("a frameset", || seen(&file, exposure).0 > before, || rig.run.stderr());
            // At all times between two framesets.
            std::thread::sleep(Duration::from_millis(round % 33));
            let (newest, began) = (seen(&file, exposure).0, Instant::now());
            let settings = vec![("exposure".to_owned(), exposure.to_string())];
            let edits = vec![Edit::Set { name: camera.to_owned(), settings }];
            let edits = Edits { edits, live: true, by: "a test".to_owned(), ..Edits::default() };
            let answer = control::ask(&name, &Request::Edit(edits)).unwrap();
            assert!(matches!(answer, Answer::Changes(_)), "{answer:?}");
            millis.push(began.elapsed().as_millis() as u64);
            wait("its exposure", || seen(&file, exposure).1.is_some(), || rig.run.stderr());
            framesets.push(seen(&file, exposure).1.unwrap() - newest);
        }
        let shown = |values: &mut Vec<u64>| {
            values.sort_unstable();
            format!("median {}, max {}", values[values.len() / 2], values[values.len() - 1])
        };
        println!(
            "`{camera}`: framesets from the newest one to the first with the exposure: {}",
            shown(&mut framesets)
        );
        println!("`{camera}`: set of an option, ms: {}", shown(&mut millis));
    }
    rig.finish();
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    let mut measured = Vec::new();
    test(&mut measured, "bench::a_set_of_a_camera_of_another_host", measured_sets);
    trials.extend(measured.into_iter().map(|trial| trial.with_ignored_flag(true)));
    test(trials, "changes::an_actor_moves_to_another_host_and_back", moved);
    test(trials, "changes::actors_of_another_host_change_as_here", changed);
    test(trials, "changes::a_host_takes_its_first_actor_while_the_rig_runs", joined);
    test(trials, "changes::a_watched_file_changes_every_host", watched);
    test(trials, "changes::every_host_is_listed_and_planned", planned);
}
