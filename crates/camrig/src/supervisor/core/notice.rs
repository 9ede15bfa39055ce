//! Log messages of the supervisor.

use std::time::Duration;

use log::Level;

use super::policy::Decision;
use super::{ActorSetup, Setup};
use crate::ids::{ActorId, ProcessId};
use crate::late::Late;

/// A log message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Notice {
    Failed {
        actor: ActorId,
        message: String,
        decision: Decision,
    },
    RunsAgain(ActorId),
    /// A processor found something that its user has to know.
    Warned {
        actor: ActorId,
        message: String,
    },
    /// A process was killed and has not ended.
    DoesNotEnd {
        process: ProcessId,
        reason: String,
        ending: bool,
    },
    /// An actor that has its own process is not ready.
    NotReady {
        actor: ActorId,
        late: Late,
    },
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
            Self::RunsAgain(_)
            | Self::Warned { .. }
            | Self::DeliversNothing { .. }
            | Self::DoesNotEnd { .. } => Level::Warn,
            Self::Failed { .. }
            | Self::NotReady { .. }
            | Self::DoesNotReact(_)
            | Self::DoesNotReturn { .. } => Level::Error,
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
                        format!("{subject} failed: {message}; waiting for its device")
                    }
                    Decision::GiveUp(None) => format!("{subject} failed: {message}"),
                    Decision::GiveUp(Some(reason)) => {
                        format!("{subject} failed for good: {message}; {reason}")
                    }
                }
            }
            Self::DoesNotEnd { process, reason, ending } => {
                let name = &setup.processes[process.index()];
                let rest = if *ending { "the rig ends without it" } else { "its actors wait for its end" };
                format!("process `{name}` was killed and has not ended: {reason}; {rest}")
            }
            Self::Warned { actor, message } => format!("{}: {message}", subject(*actor)),
            Self::RunsAgain(actor) => format!("{} is running again", subject(*actor)),
            Self::NotReady { actor, late } => format!("{} {late}; its process is replaced", subject(*actor)),
            Self::DeliversNothing { actor, timeout } => {
                format!("{} has delivered nothing for {} ms", subject(*actor), timeout.as_millis())
            }
            Self::DoesNotReact(actor) => {
                let (subject, process) = (subject(*actor), process(*actor));
                format!("{subject} does not respond, and shares process `{process}` with others")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::RunLimits;
    use crate::topology::RestartPolicy;

    fn setup() -> Setup {
        let actor = |name: &str, is_camera| ActorSetup {
            name: name.to_owned(),
            is_camera,
            relays: false,
            is_guest: false,
            process: ProcessId::new(1),
            thread: None,
            restart: RestartPolicy {
                max: 1,
                window: Duration::ZERO,
                backoff: Duration::ZERO,
                backoff_max: Duration::ZERO,
                device_timeout: Duration::ZERO,
            },
            stall_timeout: None,
            start_timeout: None,
        };
        Setup {
            actors: vec![actor("left", true), actor("sum", false)],
            processes: vec!["main".to_owned(), "eye".to_owned()],
            limits: RunLimits::default(),
        }
    }

    #[test]
    fn a_failure_is_logged_with_the_reaction() {
        let text = |decision| {
            let notice = Notice::Failed { actor: ActorId(0), message: "broken".to_owned(), decision };
            assert_eq!(notice.level(), Level::Error);
            notice.text(&setup())
        };
        let pause = Duration::ZERO;
        assert_eq!(
            text(Decision::Restart { pause, reset: false }),
            "camera `left` failed: broken; it is restarted"
        );
        assert_eq!(
            text(Decision::Restart { pause, reset: true }),
            "camera `left` failed: broken; its device is reset, and it is restarted"
        );
        assert_eq!(text(Decision::GiveUp(None)), "camera `left` failed: broken");
        assert_eq!(
            text(Decision::GiveUp(Some("too often".to_owned()))),
            "camera `left` failed for good: broken; too often"
        );
    }

    #[test]
    fn a_stall_is_logged_with_the_possible_reaction() {
        let text = |alone, stopping| {
            let timeout = Duration::from_millis(5);
            Notice::DoesNotReturn { actor: ActorId(1), timeout, alone, stopping }.text(&setup())
        };
        let fact = "processor `sum` has not returned from a call for 5 ms";
        assert_eq!(text(true, false), format!("{fact}; its process is replaced"));
        assert_eq!(text(true, true), format!("{fact}; its process is killed"));
        assert_eq!(text(false, false), format!("{fact}, and shares process `eye` with others"));
        let message = "camera `left` has moved".to_owned();
        let moved = Notice::Warned { actor: ActorId(1), message };
        assert_eq!(
            (moved.level(), moved.text(&setup())),
            (Level::Warn, "processor `sum`: camera `left` has moved".to_owned())
        );
        let late = Late::Actor(Duration::from_millis(7));
        assert_eq!(
            Notice::NotReady { actor: ActorId(0), late }.text(&setup()),
            "camera `left` was not ready within its `start_timeout_millis` (7 ms); its process is replaced"
        );
        let late = Late::Rig(Duration::from_secs(30));
        assert_eq!(late.to_string(), "was not ready within 30 s, as the rig's time is limited");
        assert_eq!(
            Notice::DoesNotReact(ActorId(0)).text(&setup()),
            "camera `left` does not respond, and shares process `eye` with others"
        );
    }
}
