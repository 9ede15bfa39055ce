//! Tests of the key `match`.

use super::registry;
use crate::ids::ActorId;
use crate::matching::{Match, MatchClock, MatchSpec};
use crate::output::ProcessorOutput;
use crate::processor::{NoOptions, Processor, ProcessorError};
use crate::topology::{Problems, Topology};

/// A kind that takes matches.
struct Fuse;

impl Processor<Match> for Fuse {
    fn process(&mut self, _: &Match, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        unreachable!("a topology calls nobody")
    }
}

/// Parses three cameras, a processor that reads two of them, and `rest`.
fn parse(rest: &str) -> Result<Topology, Problems> {
    let mut registry = registry();
    registry.add_processor("fuse", |_: NoOptions| Ok(Fuse));
    let text = "camera.a = { driver = 'even', options.serial = 2 }\n\
                camera.b = { driver = 'even', options.serial = 4 }\n\
                camera.c = { driver = 'even', options.serial = 6 }\n\
                processor.both = { kind = 'idle', inputs = ['b', 'a'] }\n";
    Topology::parse("t.toml", &(text.to_owned() + rest), None, &registry)
}

fn spec(topology: &Topology, name: &str) -> MatchSpec {
    let actor = topology.actors().iter().find(|actor| actor.name == name).unwrap();
    actor.matching.clone().unwrap()
}

/// Formats each camera as `name<input`, with `!` if matches wait for it.
fn cameras(spec: &MatchSpec) -> Vec<String> {
    let mark = |awaited| if awaited { "!" } else { "" };
    spec.cameras
        .iter()
        .map(|camera| format!("{}<{}{}", camera.name, camera.input, mark(camera.awaited)))
        .collect()
}

#[track_caller]
fn refused(rest: &str, expected: &str) {
    let problems = parse(rest).expect_err("the text has problems").to_string();
    // Other tests compare the location.
    let said: Vec<_> = problems
        .lines()
        .filter_map(|line| {
            let label = line.strip_prefix("  | ").or_else(|| line.strip_prefix("error: "));
            label.map(|label| label.trim_start_matches([' ', '^', '_', '|', '-']).trim())
        })
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(said.join("; "), expected, "\n{problems}");
}

#[test]
fn omitted_keys_have_defaults() {
    let topology =
        parse("[processor.m]\nkind = 'fuse'\ninputs = ['c', 'a']\nmatch.window_millis = 10").unwrap();
    let spec = spec(&topology, "m");
    assert_eq!(cameras(&spec), ["c<c!", "a<a!"]);
    assert_eq!((spec.window_nanos, spec.queue, spec.clock), (10_000_000, 8, MatchClock::Global));
    assert!(!spec.partial && !spec.blocks);
}

#[test]
fn every_key_can_be_set() {
    let topology = parse(
        "[processor.m]\nkind = 'idle'\ninputs = ['c', 'a']\noverflow = 'block'\n\
         match = { window_millis = 5, wait = ['a'], missing = 'partial', clock = 'estimated', queue = 3 }",
    )
    .unwrap();
    let spec = spec(&topology, "m");
    assert_eq!(cameras(&spec), ["c<c", "a<a!"]);
    assert_eq!((spec.window_nanos, spec.queue, spec.clock), (5_000_000, 3, MatchClock::Estimated));
    assert!(spec.partial && spec.blocks);
}

/// A camera that `wait` names is in every match; without `wait` each may be missing.
#[test]
fn cameras_that_the_file_waits_for_are_required() {
    let required = |matching: &str| {
        let topology = parse(&format!(
            "[processor.m]\nkind = 'idle'\ninputs = ['c', 'a']\nmatch = {{ window_millis = 5{matching} }}"
        ));
        spec(&topology.unwrap(), "m").cameras.iter().map(|camera| camera.required).collect::<Vec<_>>()
    };
    assert_eq!(required(""), [true, true]);
    assert_eq!(required(", missing = 'partial'"), [false, false]);
    assert_eq!(required(", missing = 'partial', wait = ['a']"), [false, true]);
    assert_eq!(required(", wait = ['a']"), [false, true]);
}

#[test]
fn cameras_are_found_through_processors_and_get_slots() {
    let topology = parse(
        "[processor.m]\nkind = 'fuse'\ninputs = ['c', 'both']\nmatch.window_millis = 10\n\
         [processor.after]\nkind = 'idle'\ninputs = ['m', 'c']\n\
         [processor.late]\nkind = 'idle'\ninputs = ['m']\nqueue = 1",
    )
    .unwrap();
    assert_eq!(cameras(&spec(&topology, "m")), ["c<c!", "b<both!", "a<both!"]);
    let name = |id: ActorId| topology.actor(id).name.as_str();
    let links: Vec<_> = topology
        .links()
        .iter()
        .map(|link| format!("{}>{} {}+{}", name(link.from), name(link.to), link.queue, link.held))
        .collect();
    // By default a complete match and one more frameset can be queued.
    assert_eq!(
        links,
        ["b>both 2+0", "a>both 2+0", "c>m 2+8", "both>m 2+8", "m>after 4+0", "c>after 2+0", "m>late 1+0"]
    );
    let slots = |name: &str| topology.actors().iter().find(|actor| actor.name == name).unwrap().slots;
    assert_eq!(slots("c"), (2 + 8 + 1) + (2 + 1) + 2);
}

#[test]
fn errors_name_the_choices() {
    refused(
        "[processor.m]\nkind = 'fuse'\ninputs = ['a']",
        "processor `m` has no `match`; kind `fuse` takes matches: add `match = { window_millis = 10 }`",
    );
    let matching = |text: &str| format!("[processor.m]\nkind = 'idle'\ninputs = ['a', 'b']\nmatch = {text}");
    refused(
        &matching("{}"),
        "`match` of processor `m` has no `window_millis`; how far apart the framesets of one instant can be",
    );
    refused(
        &matching("10"),
        "`match` of processor `m` is an integer; must be a table, as in `{ window_millis = 10 }`",
    );
    refused(
        &matching("{ window_millis = 0, missing = 'some', clock = 'wall', queue = 33, wiat = 1 }"),
        "`window_millis` of `match` of processor `m` is out of range; must be 1 to 10000; \
         `match` of processor `m` has unknown missing `some`; expected one of: `drop`, `partial`; \
         `match` of processor `m` has unknown clock `wall`; expected one of: `hardware`, `global`, `system`, `estimated`; \
         `queue` of `match` of processor `m` is out of range; must be 1 to 32; \
         unknown key `wiat` of `match` of processor `m`; \
         did you mean `wait`? expected one of: `window_millis`, `wait`, `missing`, `clock`, `queue`",
    );
    refused(
        &matching("{ window_millis = 1, wait = ['a', 'cc', 3] }"),
        "processor `m` waits for unknown camera `cc`; expected one of: `a`, `b`; \
         `wait` of `match` of processor `m` has an integer; must be an array of names of cameras",
    );
    refused(
        &matching("{ window_millis = 1, wait = [] }"),
        "processor `m` waits for no camera; expected one of: `a`, `b`",
    );
    refused(
        "[processor.m]\nkind = 'idle'\ninputs = ['a', 'both']\nmatch.window_millis = 1",
        "camera `a` reaches processor `m` by `a` and by `both`; a match has one frameset of each camera",
    );
}
