//! Actors on their threads: each takes its mail, and runs one instance after another of a camera or processor.
//!
//! Each actor has its own thread and actix system, so that a busy processor and a waiting camera never block each
//! other, unless the topology puts cameras and processors on one thread. This module has no knowledge of processes and
//! topologies: their process passes it connected inputs and outputs, and gets the events of the actor.
//!
//! * `runner`: the actor that takes the mail
//! * `changes`: links that begin or end while the actor runs
//! * `camera`: an instance of a camera
//! * `calls`: calls of the supervisor to a camera's device
//! * `on_thread`: the turns of the cameras and processors that share a thread
//! * `processor`: an instance of a processor

mod calls;
mod camera;
mod changes;
mod on_thread;
mod processor;
mod runner;

pub(crate) use self::changes::{LinkChange, LinkChanges};
pub(crate) use self::runner::{ActorParts, run};

/// The steps that the cameras of a rig may take. It never goes back to an earlier state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Flow {
    /// They wait until every actor of the rig is ready.
    Held,
    /// They capture.
    Flowing,
    /// They end before their next frameset.
    Stopped,
}
