//! Runs in this process, from a checked topology to the report.

use std::time::Instant;

use camrig_status::ActorState;

use super::*;
use crate::exit::Exit;
use crate::processor::{NoOptions, Processor, ProcessorError};
use crate::{FrameSet, ProcessorOutput};

/// A longer run fails the test.
const WATCHDOG: Duration = Duration::from_secs(60);

/// A processor whose constructor never returns.
struct Stuck;

impl Processor for Stuck {
    fn process(&mut self, _: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        Ok(())
    }
}

const RIG: &str = "placement = 'in-process'\n\
    [camera.c]\ndriver = 'synthetic'\noptions = { model = 'any', paced = false, color = 'off', depth = '32x24@30' }\n\
    [processor.p]\nkind = 'verify'\ninputs = ['c']\noverflow = 'block'\n";

fn run(text: &str, limits: RunLimits) -> io::Result<Run> {
    let registry = Registry::new().with_processor("stuck", |_: NoOptions| -> Result<Stuck, _> {
        loop {
            std::thread::park();
        }
    });
    let topology = Topology::parse("t.toml", text, None, &registry).unwrap_or_else(|error| panic!("{error}"));
    start(Arc::new(topology), &Arc::new(registry), limits, None)
}

fn report(run: Run) -> Report {
    let until = Instant::now() + WATCHDOG;
    let mut stage = Stage::Starting;
    while stage != Stage::Over {
        stage = run.control.wait(stage, Duration::from_millis(100));
        assert!(Instant::now() < until, "the run never ends");
    }
    run.thread.join().unwrap()
}

#[test]
fn a_run_ends_at_its_limit_and_keeps_its_last_status() {
    let run = run(RIG, RunLimits { framesets: Some(7), ..RunLimits::default() }).unwrap();
    let control = run.control.clone();
    let report = report(run);
    assert_eq!((report.exit, report.links[0].produced, report.links[0].delivered), (Exit::Asked, 7, 7));
    assert_eq!(control.status().actors[0].state, ActorState::Finished);
    // The run is over: nothing happens.
    control.stop();
    control.interrupt();
}

#[test]
fn a_process_that_cannot_be_started_fails_the_start() {
    let text = format!("{RIG}[processor.q]\nkind = 'verify'\nprocess = 'other'\ninputs = ['c']\n")
        .replace("placement = 'in-process'\n", "[process.other]\ncommand = ['/nowhere/worker']\n")
        .replace("driver", "process = 'main'\ndriver")
        .replacen("kind", "process = 'main'\nkind", 1);
    let error = run(&text, RunLimits::default()).map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "process `other` cannot be started: program `/nowhere/worker`: No such file or directory (os error 2)"
    );
}

/// The thread of the actor cannot be ended, but the run ends without it.
#[test]
fn an_actor_that_is_never_ready_is_reported() {
    let text = RIG.replace("kind = 'verify'", "kind = 'stuck'\nstart_timeout_millis = 100");
    let report = report(run(&text, RunLimits::default()).unwrap());
    let states: Vec<_> = report.actors.iter().map(|actor| actor.state).collect();
    assert_eq!((report.exit, states), (Exit::Failed, vec![ActorState::Finished, ActorState::Failed]));
    assert_eq!(report.actors[1].errors, ["was not ready within its `start_timeout_millis` (100 ms)"]);
}

/// Workers read them in the counters of an actor.
#[test]
fn the_numbers_of_states_are_the_documented_ones() {
    let numbers = ActorState::ALL.map(|state| format!("{} {}", state as u32, state.name())).join(", ");
    let documentation = include_str!("../../../camrig-ipc/PROTOCOL.md");
    let row = format!("| `state: u32` | written by the supervisor: {numbers} |");
    assert!(documentation.contains(&row), "{row}");
}
