//! Tests of the commands of processes.

use camrig_ipc::Scheduling;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Idle, VALID, parse, refused, registry};
use crate::late::StartTime;
use crate::processor::ProcessorOptions;
use crate::topology::{Placement, ProcessCommand, Topology};

/// Returns the command of each process, with `-` for this executable.
fn commands(topology: &Topology) -> Vec<String> {
    let shown = |name: &String| match topology.commands.get(name) {
        Some(ProcessCommand { program, arguments, .. }) => format!("{name}: {program} {arguments:?}"),
        None => format!("{name}: -"),
    };
    topology.processes().iter().map(shown).collect()
}

#[test]
fn a_process_has_the_command_of_its_table() {
    let text = VALID.to_owned()
        + "[process.vision]\ncommand = ['detector', '--model', 'a b']\n[process.left]\ncommand = ['/bin/eye']\n";
    let topology = parse(&text).unwrap();
    let expected =
        ["main: -", "left: /bin/eye []", "right-eye: -", "vision: detector [\"--model\", \"a b\"]"];
    assert_eq!(commands(&topology), expected);
    let place = |placement| Topology::parse("t.toml", &text, Some(placement), &registry()).unwrap();
    assert_eq!(commands(&place(Placement::InProcess)), ["main: -"]);
    let apart = commands(&place(Placement::MultiProcess));
    assert_eq!(apart, ["main: -", "left: /bin/eye []", "right: -", "far: -", "both: -"]);
}

#[test]
fn a_process_has_the_scheduling_of_its_table() {
    let text = VALID.to_owned() + "[process.vision]\ncpus = [2, 0, 2]\nnice = -5\nfifo = 10\n";
    let topology = parse(&text).unwrap();
    let of = |process: &str| topology.schedulings.get(process).map(|it| it.scheduling.clone());
    let expected = Scheduling { cpus: vec![0, 2], nice: Some(-5), fifo: Some(10) };
    assert_eq!((of("vision"), of("left")), (Some(expected), None));
}

/// The program of an actor that runs may be gone: a change of others does not need it.
#[test]
fn programs_of_actors_that_go_on_are_not_looked_up() {
    let text = VALID.to_owned()
        + "[process.vision]\ncommand = ['/nowhere/detector']\n[process.left]\ncommand = ['/nowhere/eye']\n";
    let topology = parse(&text).unwrap();
    let problems = |names: &[&str]| {
        let begins = |id| names.contains(&topology.actor(id).name.as_str());
        let probed = topology.probe_some(&registry(), StartTime::default(), begins);
        probed.map_or_else(|problems| problems.to_string(), |()| String::new())
    };
    assert_eq!(problems(&["right"]), "");
    let of_left = problems(&["left"]);
    assert!(of_left.contains("/nowhere/eye") && !of_left.contains("/nowhere/detector"), "{of_left}");
}

#[test]
fn a_process_needs_a_cpu() {
    refused(
        r#"camera.left = { driver = "even", options.serial = 2 }
[process.left]
cpus = []
"#,
        r"
error: `cpus` of process `left` is empty
 --> t.toml:3:8
  |
3 | cpus = []
  |        ^^ must be an array of integers, 0 to 1023
",
    );
}

#[test]
fn wrong_scheduling_is_reported() {
    refused(
        r#"camera.left = { driver = "even", options.serial = 2, process = "eye" }
[process.eye]
cpus = [0, 1024, "two"]
nice = -21
fifo = 0
[process.left]
"#,
        r#"
error: `cpus` of process `eye` has a number out of range
 --> t.toml:3:12
  |
3 | cpus = [0, 1024, "two"]
  |            ^^^^ must be an array of integers, 0 to 1023

error: `cpus` of process `eye` has a string
 --> t.toml:3:18
  |
3 | cpus = [0, 1024, "two"]
  |                  ^^^^^ must be an array of integers, 0 to 1023

error: `nice` of process `eye` is out of range
 --> t.toml:4:8
  |
4 | nice = -21
  |        ^^^ must be -20 to 19

error: `fifo` of process `eye` is out of range
 --> t.toml:5:8
  |
5 | fifo = 0
  |        ^ must be 1 to 99

error: process `left` has no keys
 --> t.toml:6:10
  |
6 | [process.left]
  |          ^^^^ expected at least one of: `command`, `cpus`, `nice`, `fifo`

error: process `left` has no actors
 --> t.toml:6:10
  |
6 | [process.left]
  |          ^^^^ expected one of: `eye`
"#,
    );
}

#[test]
fn wrong_tables_are_reported() {
    refused(
        r#"camera.left = { driver = "even", options.serial = 2, process = "eye" }
[camera.right]
driver = "even"
options.serial = 4
[process.eye]
comand = ["worker"]
[process.right]
command = "worker"
[process.main]
command = ["worker"]
[process.left]
command = ["worker", 1]
[process.eyes]
command = []
[process.vision]
command = [""]
[process.zero]
command = ["worker", "a\u0000"]
"#,
        r#"
error: unknown key `comand` of process `eye`
 --> t.toml:6:1
  |
6 | comand = ["worker"]
  | ^^^^^^ did you mean `command`? expected one of: `command`, `cpus`, `nice`, `fifo`

error: `command` of process `right` is a string
 --> t.toml:8:11
  |
8 | command = "worker"
  |           ^^^^^^^^ must be an array of strings

error: process `main` has a table
 --> t.toml:9:10
  |
9 | [process.main]
  |          ^^^^ this is the supervisor's own process

error: process `left` has no actors
  --> t.toml:11:10
   |
11 | [process.left]
   |          ^^^^ expected one of: `eye`, `right`

error: `command` of process `left` has an integer
  --> t.toml:12:22
   |
12 | command = ["worker", 1]
   |                      ^ must be an array of strings

error: process `eyes` has no actors
  --> t.toml:13:10
   |
13 | [process.eyes]
   |          ^^^^ did you mean `eye`? expected one of: `eye`, `right`

error: `command` of process `eyes` has no program
  --> t.toml:14:1
   |
14 | command = []
   | ^^^^^^^ must be a program and its arguments, as in `["program", "argument"]`

error: process `vision` has no actors
  --> t.toml:15:10
   |
15 | [process.vision]
   |          ^^^^^^ expected one of: `eye`, `right`

error: `command` of process `vision` has no program
  --> t.toml:16:1
   |
16 | command = [""]
   | ^^^^^^^ must be a program and its arguments, as in `["program", "argument"]`

error: process `zero` has no actors
  --> t.toml:17:10
   |
17 | [process.zero]
   |          ^^^^ expected one of: `eye`, `right`

error: `command` of process `zero` has a zero byte
  --> t.toml:18:22
   |
18 | command = ["worker", "a\u0000"]
   |                      ^^^^^^^^^ programs and arguments cannot have any
"#,
    );
}

#[test]
fn programs_that_do_not_exist_are_reported() {
    let text = VALID.to_owned()
        + "[process.vision]\ncommand = ['camrig-nowhere', '-v']\n[process.left]\ncommand = ['/proc/nowhere']\n\
           [process.right-eye]\ncommand = ['/proc/self/exe']\n";
    let problems = parse(&text).unwrap().probe(&registry(), StartTime::default()).unwrap_err();
    assert!(!problems.is_unavailable());
    let expected = r"error: program `camrig-nowhere` of process `vision` does not exist
  --> t.toml:28:12
   |
28 | command = ['camrig-nowhere', '-v']
   |            ^^^^^^^^^^^^^^^^ no folder of `PATH` has it

error: program `/proc/nowhere` of process `left` does not exist
  --> t.toml:30:12
   |
30 | command = ['/proc/nowhere']
   |            ^^^^^^^^^^^^^^^";
    assert_eq!(problems.to_string(), expected);
    Topology::parse("t.toml", &text, Some(Placement::InProcess), &registry())
        .unwrap()
        .probe(&registry(), StartTime::default())
        .unwrap();
}

const THREADS: &str = "[camera.a]\ndriver = 'even'\noptions.serial = 2\nthread = 'eye'\n\
     [processor.p]\nkind = 'idle'\ninputs = ['a']\nthread = 'eye'\n\
     [processor.q]\nkind = 'idle'\ninputs = ['p', 'b']\n\
     [camera.b]\ndriver = 'even'\noptions.serial = 4\n";

#[test]
fn actors_of_a_thread_are_in_one_process() {
    let place = |text: &str, placement| {
        let topology = Topology::parse("t.toml", text, placement, &registry()).unwrap();
        let place = |actor: &crate::topology::ActorSpec| {
            format!("{} in {}", actor.name, topology.process(actor.process))
        };
        topology.actors().iter().map(place).collect::<Vec<_>>()
    };
    let apart = ["a in eye", "p in eye", "q in q", "b in b"];
    assert_eq!(place(THREADS, None), apart);
    assert_eq!(place(THREADS, Some(Placement::MultiProcess)), apart);
    let together = ["a in main", "p in main", "q in main", "b in main"];
    assert_eq!(place(THREADS, Some(Placement::InProcess)), together);
    let named = THREADS.replace("thread = 'eye'\n", "thread = 'eye'\nprocess = 'left'\n");
    assert_eq!(place(&named, None), ["a in left", "p in left", "q in q", "b in b"]);
}

#[test]
fn a_thread_that_cannot_be_shared_is_reported() {
    refused(
        r#"[camera.a]
driver = "even"
options.serial = 2
thread = "eye"
process = "left"
[camera.b]
driver = "even"
options.serial = 4
thread = "eye"
[camera.c]
driver = "even"
options.serial = 6
[processor.p]
kind = "idle"
inputs = ["a", "c"]
thread = "eye"
process = "left"
[processor.q]
kind = "idle"
inputs = ["p"]
thread = "no eye"
"#,
        r#"
error: actors of thread `eye` are in processes `left` and `eye`
 --> t.toml:6:9
  |
6 | [camera.b]
  |         ^ give them the same `process`, or none

error: processor `p` on thread `eye` reads `c`, which is not on it
  --> t.toml:13:12
   |
13 | [processor.p]
   |            ^ a thread has cameras, and processors that read nothing from elsewhere

error: thread `no eye` has no camera
  --> t.toml:18:12
   |
18 | [processor.q]
   |            ^ a thread has cameras, and processors that read nothing from elsewhere

error: `no eye` cannot be the name of a thread
  --> t.toml:21:10
   |
21 | thread = "no eye"
   |          ^^^^^^^^ 1 to 64 of a-z A-Z 0-9 _ -, and first a letter or digit
"#,
    );
}

/// The options of a kind that waits for something else than its input.
#[derive(Deserialize, JsonSchema)]
struct Waits {}

impl ProcessorOptions for Waits {
    const SHARES_THREAD: bool = false;
}

#[test]
fn a_processor_that_waits_cannot_be_on_the_thread_of_its_camera() {
    let mut registry = registry();
    registry.add_actor("sender", |_: Waits, _| Ok(Idle));
    registry.add_options::<Waits>("sender");
    let text = THREADS.replace("kind = 'idle'\ninputs = ['a']", "kind = 'sender'\ninputs = ['a']");
    let problems = Topology::parse("t.toml", &text, None, &registry).unwrap_err().to_string();
    let expected = "error: processor `p` cannot be on thread `eye`
 --> t.toml:5:12
  |
5 | [processor.p]
  |            ^ kind `sender` waits, and the camera would wait as well";
    assert_eq!(problems, expected);
    let apart = text.replace("inputs = ['a']\nthread = 'eye'", "inputs = ['a']");
    assert!(Topology::parse("t.toml", &apart, None, &registry).is_ok());
}
