//! Tests of the parts that each process gets, at its start and after a restart.

use super::*;
use crate::registry::Registry;

const CAMERA: ProcessId = ProcessId(1);
const READER: ProcessId = ProcessId(2);

/// A camera that a processor of its own process reads, and one of another process.
fn rig() -> (Topology, RigWiring) {
    let text = "[camera.c]\ndriver = 'synthetic'\nprocess = 'cameras'\n\
                [processor.near]\nkind = 'stats'\nprocess = 'cameras'\ninputs = ['c']\n\
                [processor.far]\nkind = 'stats'\nprocess = 'readers'\ninputs = ['c']\n";
    let topology = Topology::parse("t.toml", text, None, &Registry::new()).unwrap();
    let rig = RigWiring::new(&topology, "rig", Some(7)).unwrap();
    (topology, rig)
}

/// Wires a process that begins, while others accept commands.
fn begin(
    rig: &mut RigWiring,
    topology: &Topology,
    process: ProcessId,
    alive: impl Fn(ActorId) -> bool,
    up: &[ProcessId],
) -> io::Result<Beginning> {
    let begins: Vec<_> = topology.actors_of(process).filter(|&id| alive(id)).collect();
    rig.wire(topology, process, &begins, |id| {
        let its_own = topology.actor(id).process;
        match alive(id) {
            false => Presence::Ended,
            true if its_own == process || up.contains(&its_own) => Presence::Hosted,
            true => Presence::Later,
        }
    })
}

fn names(parts: &[Part]) -> Vec<String> {
    let name = |part: &Part| match part {
        Part::Actor { actor, .. } => format!("actor {}", actor.name),
        Part::Matching { .. } => "matching".to_owned(),
        Part::Local { to, .. } => format!("local {}", to.map_or(-1, |to| i64::from(to.0))),
        Part::Output { link, .. } => format!("output {}", link.0),
        Part::Input { from, to, .. } => format!("input {from} {}", to.0),
        Part::Listener(_) => "listener".to_owned(),
    };
    parts.iter().map(name).collect()
}

#[test]
fn each_process_gets_its_actors_before_the_ends_of_their_links() {
    let (topology, mut rig) = rig();
    let cameras = begin(&mut rig, &topology, CAMERA, |_| true, &[]).unwrap();
    assert_eq!(names(&cameras.parts), ["actor c", "actor near", "local 1", "output 1"]);
    let readers = begin(&mut rig, &topology, READER, |_| true, &[CAMERA]).unwrap();
    assert_eq!(names(&readers.parts), ["actor far", "listener", "input c 2"]);
    assert!(cameras.others.is_empty() && readers.others.is_empty());
}

#[test]
fn a_process_that_has_left_has_no_notifier() {
    for ends_first in [false, true] {
        let (topology, mut rig) = rig();
        begin(&mut rig, &topology, READER, |_| true, &[]).unwrap();
        let has_one = |rig: &RigWiring| rig.processes[READER.index()].notifier.is_some();
        if ends_first {
            rig.release(READER);
            assert!(has_one(&rig), "a restarted process needs it");
            rig.forget_link(LinkId(1)).unwrap();
        } else {
            rig.forget_link(LinkId(1)).unwrap();
            assert!(has_one(&rig), "the process has it");
            rig.release(READER);
        }
        assert!(!has_one(&rig));
    }
}

#[test]
fn a_running_producer_gets_the_channel_of_a_restarted_reader() {
    let (topology, mut rig) = rig();
    for process in [CAMERA, READER] {
        begin(&mut rig, &topology, process, |_| true, &[]).unwrap();
    }
    rig.links[1].reader_died();
    assert!(rig.links[1].has_deaths() && rig.links[1].link_state.reader_gone());
    let again = begin(&mut rig, &topology, READER, |_| true, &[CAMERA]).unwrap();
    assert_eq!(names(&again.parts), ["actor far", "listener", "input c 2"]);
    let [(CAMERA, WorkerCommand::Relink { link, absence, .. })] = again.others.as_slice() else {
        panic!("the camera's process gets one command")
    };
    assert_eq!(*link, LinkId(1));
    // The reader is away until the producer has announced everything to it.
    assert!(rig.links[1].link_state.reader_gone());
    rig.links[1].link_state.set_reader_back(*absence);
    assert!(!rig.links[1].link_state.reader_gone());
}

#[test]
fn a_reader_that_starts_before_its_producer_is_present_immediately() {
    let (topology, mut rig) = rig();
    for process in [CAMERA, READER] {
        begin(&mut rig, &topology, process, |_| true, &[]).unwrap();
    }
    rig.links[1].producer_died();
    rig.links[1].reader_died();
    let again = begin(&mut rig, &topology, READER, |_| true, &[]).unwrap();
    assert!(again.others.is_empty());
    assert!(!rig.links[1].link_state.reader_gone());
}

#[test]
fn parts_that_a_process_could_not_take_are_returned_again() {
    let (topology, mut rig) = rig();
    begin(&mut rig, &topology, CAMERA, |_| true, &[]).unwrap();
    let expected = ["actor far", "listener", "input c 2"];
    for _ in 0..2 {
        let readers = begin(&mut rig, &topology, READER, |_| true, &[CAMERA]).unwrap();
        assert_eq!(names(&readers.parts), expected);
        rig.take_back(READER, &readers.before);
        assert!(rig.has_lost_readers(&topology, READER) && !rig.has_lost_readers(&topology, CAMERA));
        assert!(rig.links[1].link_state.reader_gone());
        rig.links.iter_mut().for_each(|link| link.settle(0));
        assert!(!rig.has_lost_readers(&topology, READER));
    }
    let readers = begin(&mut rig, &topology, READER, |_| true, &[CAMERA]).unwrap();
    assert_eq!(names(&readers.parts), expected);
    // Its channel was lost with its part.
    assert!(matches!(readers.others.as_slice(), [(CAMERA, WorkerCommand::Relink { link: LinkId(1), .. })]));
}

#[test]
fn a_producer_counts_for_a_reader_that_has_ended() {
    let (topology, mut rig) = rig();
    let alive = |actor: ActorId| topology.actor(actor).name != "near";
    let cameras = begin(&mut rig, &topology, CAMERA, alive, &[]).unwrap();
    assert_eq!(names(&cameras.parts), ["actor c", "local -1", "output 1"]);
}

/// Framesets that follow the end of a link are on the link that replaces it.
#[test]
fn a_link_that_had_ended_gets_nothing_when_its_producer_dies() {
    for ended in [true, false] {
        let (_, mut rig) = rig();
        let link = &mut rig.links[1];
        if ended {
            link.link_state.end();
        }
        link.producer_died();
        link.end();
        link.settle(7);
        assert_eq!(link.link_state.counts().produced, if ended { 0 } else { 7 });
    }
}

/// In a process of its own: other tests need descriptors.
#[test]
fn parts_that_were_not_sent_are_returned_again() {
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    let test = test.args(["--ignored", "--exact", "wiring::tests::parts_are_returned_again", "--nocapture"]);
    let output = test.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{output:?}");
}

#[test]
#[ignore = "another test starts it"]
fn parts_are_returned_again() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let text = "[camera.c]\ndriver = 'synthetic'\nprocess = 'cameras'\n\
                [camera.d]\ndriver = 'synthetic'\nprocess = 'cameras'\n\
                [processor.far]\nkind = 'stats'\nprocess = 'readers'\ninputs = ['c', 'd']\n";
    let topology = Topology::parse("t.toml", text, None, &Registry::new()).unwrap();
    let mut rig = RigWiring::new(&topology, "rig", None).unwrap();
    begin(&mut rig, &topology, CAMERA, |_| true, &[]).unwrap();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), ..limit }).unwrap();
    let mut failures = 0;
    let readers = loop {
        let mut taken: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        // One more is left in each attempt.
        taken.truncate(taken.len() - failures);
        match begin(&mut rig, &topology, READER, |_| true, &[CAMERA]) {
            Ok(readers) => break readers,
            Err(_) => failures += 1,
        }
        rig.links.iter_mut().for_each(|link| link.settle(0));
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    assert!(failures > 2, "{failures}");
    assert_eq!(names(&readers.parts), ["actor far", "listener", "input c 2", "input d 2"]);
    // The channel of the first one was lost with its part.
    assert!(readers.others.iter().any(|(to, command)| {
        *to == CAMERA && matches!(command, WorkerCommand::Relink { link: LinkId(0), .. })
    }));
}
