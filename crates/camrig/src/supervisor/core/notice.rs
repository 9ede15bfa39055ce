//! Log messages of the supervisor.

use std::time::Duration;

use log::Level;

use super::policy::Decision;
use super::{ActorSetup, Setup};
use crate::ids::ActorId;

/// A log message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Notice {
    Failed {
        actor: ActorId,
        message: String,
        decision: Decision,
    },
    RunsAgain(ActorId),
    /// A camera is stalled.
    DeliversNothing {
        actor: ActorId,
        timeout: Duration,
    },
    /// A camera is stalled, and there is no possible reaction.
    DoesNotReact(ActorId),
    /// A processor is stalled; `alone` if it has its own process.
    DoesNotReturn {
        actor: ActorId,
        timeout: Duration,
        alone: bool,
        stopping: bool,
    },
}

impl Notice {
    pub(in crate::supervisor) fn level(&self) -> Level {
        match self {
            Self::RunsAgain(_) | Self::DeliversNothing { .. } => Level::Warn,
            Self::Failed { .. } | Self::DoesNotReact(_) | Self::DoesNotReturn { .. } => Level::Error,
        }
    }

    /// Formats the message, without time and level.
    pub(in crate::supervisor) fn text(&self, setup: &Setup) -> String {
        let subject = |actor| subject(setup, actor);
        let process = |actor: ActorId| {
            let process = setup.actors[actor.index()].process;
            &setup.processes[process.index()]
        };
        match self {
            Self::Failed { actor, message, decision } => {
                let subject = subject(*actor);
                match decision {
                    Decision::Restart { reset: false, .. } => {
                        format!("{subject} failed: {message}; it is restarted")
                    }
                    Decision::Restart { reset: true, .. } => {
                        format!("{subject} failed: {message}; its device is reset, and it is restarted")
                    }
                    Decision::WaitForDevice { .. } => {
                        format!("{subject} failed: {message}; it waits for its device")
                    }
                    Decision::GiveUp(None) => format!("{subject} failed: {message}"),
                    Decision::GiveUp(Some(reason)) => {
                        format!("{subject} failed for good: {message}; {reason}")
                    }
                }
            }
            Self::RunsAgain(actor) => format!("{} is running again", subject(*actor)),
            Self::DeliversNothing { actor, timeout } => {
                format!("{} has delivered nothing for {} ms", subject(*actor), timeout.as_millis())
            }
            Self::DoesNotReact(actor) => {
                let (subject, process) = (subject(*actor), process(*actor));
                format!("{subject} does not react, and shares process `{process}` with others")
            }
            Self::DoesNotReturn { actor, timeout, alone, stopping } => {
                let (subject, millis) = (subject(*actor), timeout.as_millis());
                let fact = format!("{subject} has not returned from a call for {millis} ms");
                match (alone, stopping) {
                    (true, true) => format!("{fact}; its process is killed"),
                    (true, false) => format!("{fact}; its process is replaced"),
                    (false, _) => format!("{fact}, and shares process `{}` with others", process(*actor)),
                }
            }
        }
    }
}

/// Returns the actor with its role.
fn subject(setup: &Setup, actor: ActorId) -> String {
    let ActorSetup { name, is_camera, .. } = &setup.actors[actor.index()];
    format!("{} `{name}`", if *is_camera { "camera" } else { "processor" })
}
