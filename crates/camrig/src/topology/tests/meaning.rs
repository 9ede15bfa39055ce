//! Tests of the actors, links and processes of valid topologies.

use camrig_ipc::Overflow;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Idle, VALID, parse, registry};
use crate::ids::ActorId;
use crate::processor::ProcessorOptions;
use crate::topology::{ActorSpec, LinkSpec, Placement, Role, Topology};

/// Formats each actor as `name@process`.
fn placements(topology: &Topology) -> Vec<String> {
    let placed = |actor: &ActorSpec| format!("{}@{}", actor.name, topology.process(actor.process));
    topology.actors().iter().map(placed).collect()
}

#[test]
fn a_valid_text_becomes_actors_links_and_processes() {
    let topology = parse(VALID).unwrap();
    assert_eq!(topology.name(), "t.toml");
    assert_eq!(topology.processes(), ["main", "left", "right-eye", "vision"]);
    assert_eq!(placements(&topology), ["left@left", "right@right-eye", "far@main", "both@vision"]);
    let slots: Vec<_> = topology.actors().iter().map(|actor| actor.slots).collect();
    // The slots that `both` can hold plus two; the file's number; no reader; those that `far` can hold plus two.
    assert_eq!(slots, [6, 4, 2, 5]);
    assert_eq!(topology.actor(ActorId(1)).role, Role::Camera { driver: "even".to_owned() });
    assert_eq!(topology.actor(ActorId(3)).role, Role::Processor { kind: "idle".to_owned() });
    let options: Vec<_> = topology.actors().iter().map(ActorSpec::options).collect();
    assert_eq!(options, ["mode = \"exact\"\nserial = 2\n", "serial = 4\n", "", ""]);
    let link = |from, to, overflow, queue| LinkSpec {
        from: ActorId(from),
        to: ActorId(to),
        overflow,
        queue,
        held: 0,
    };
    assert_eq!(
        topology.links(),
        [link(3, 2, Overflow::DropOldest, 2), link(0, 3, Overflow::Block, 3), link(1, 3, Overflow::Block, 3),]
    );
}

#[test]
fn the_placement_of_the_command_line_overrides_the_file() {
    let place = |placement| Topology::parse("t.toml", VALID, Some(placement), &registry()).unwrap();
    let together = place(Placement::InProcess);
    assert_eq!(together.processes(), ["main"]);
    assert_eq!(placements(&together), ["left@main", "right@main", "far@main", "both@main"]);
    let apart = place(Placement::MultiProcess);
    assert_eq!(apart.processes(), ["main", "left", "right", "far", "both"]);
    assert_eq!(placements(&apart), ["left@left", "right@right", "far@far", "both@both"]);
}

#[test]
fn in_process_means_main_unless_an_actor_has_a_process() {
    let topology = parse(&VALID.replace("multi-process", "in-process")).unwrap();
    assert_eq!(placements(&topology), ["left@main", "right@right-eye", "far@main", "both@vision"]);
}

#[test]
fn equal_names_are_one_process() {
    let topology = parse(&VALID.replace("\"vision\"", "\"left\"")).unwrap();
    assert_eq!(placements(&topology), ["left@left", "right@right-eye", "far@main", "both@left"]);
}

#[test]
fn slots_never_exceed_the_maximum() {
    let camera = "[camera.left]\ndriver = \"even\"\noptions.serial = 2\n".to_owned();
    let reader = |name| format!("[processor.{name}]\nkind = \"idle\"\ninputs = [\"left\"]\nqueue = 32\n");
    assert_eq!(
        parse(&(camera + &reader("a") + &reader("b") + &reader("c"))).unwrap().actors()[0].slots,
        camrig_ipc::MAX_SLOTS
    );
}

/// The options of a kind that keeps framesets.
#[derive(Deserialize, JsonSchema)]
struct Keeps {}

impl ProcessorOptions for Keeps {
    const KEEPS: usize = 3;
}

#[test]
fn slots_include_framesets_that_a_reader_may_keep() {
    let mut registry = registry();
    registry.add_actor("keeper", |_: Keeps, _| Ok(Idle));
    registry.add_options::<Keeps>("keeper");
    let text = "[camera.left]\ndriver = 'even'\noptions.serial = 2\n\
         [processor.keeper]\nkind = 'keeper'\ninputs = ['left']\n\
         [processor.other]\nkind = 'idle'\ninputs = ['left']\nqueue = 1\n";
    let topology = Topology::parse("t.toml", text, None, &registry).unwrap();
    assert_eq!(topology.actors()[0].slots, (2 + 3 + 1) + (1 + 1) + 2);
}
