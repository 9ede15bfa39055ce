//! Messages between a supervisor and its workers, and between the ends of a link.

use std::fmt;
use std::time::Duration;

use camrig_frame::{Control, ControlValue};
use serde::{Deserialize, Serialize};

use super::{ActorId, Announcement, LinkId, Part};
use crate::channel::{Receiver, Sender};
use crate::link_state::Absence;

/// The first message to a worker: the only one on the channel that the handshake creates.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The name of the process in the topology.
    pub process: String,
    /// Delivers the supervisor's commands. If it closes, the supervisor has ended, and the worker exits.
    pub commands: Receiver<WorkerCommand>,
    /// Takes the events of the worker's actors.
    pub events: Sender<ActorEvent>,
}

/// A command of the supervisor to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum WorkerCommand {
    /// Adds a part to the worker, which takes effect with the next `Start`.
    Host(Part),
    /// Starts the actors that were added, and continues running ones with the links that were added.
    Start,
    /// Ends a link of a running producer in this worker: its reader was removed.
    Unlink {
        /// The producer.
        from: ActorId,
        /// The link.
        link: LinkId,
    },
    /// Lets framesets flow: every actor of the rig is ready.
    Go,
    /// Forwards a command to an actor.
    Actor(ActorId, ActorCommand),
    /// Forwards a request to the open device of a camera.
    Device(ActorId, DeviceRequest),
    /// Replaces the reader of a link from this worker, whose process was restarted.
    Relink {
        /// The link.
        link: LinkId,
        /// Takes the announcements to the new reader.
        announcements: Sender<Announcement>,
        /// The absence of the reader, which ends when the new one has received all announcements.
        absence: Absence,
    },
    /// Ends every camera before its next frameset.
    StopCameras,
    /// Ends the process.
    Exit,
}

/// A command to one actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActorCommand {
    /// Makes a camera fail that delivers no framesets.
    Interrupt,
    /// Starts another instance of a failed actor.
    Restart {
        /// If true, its device is reset first.
        reset: bool,
    },
    /// Ends a camera before its next frameset, with its links.
    Finish,
    /// Ends an actor and its links: it has failed permanently.
    GiveUp,
}

/// A request to the open device of a camera. [`ActorEvent::Answered`] is its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// The supervisor's number of the request, which the answer repeats.
    pub number: u64,
    /// The monotonic time, in nanoseconds, after which nobody waits for the answer: the camera does not make the call then.
    pub until_nanos: u64,
    /// The call to make.
    pub call: DeviceCall,
}

/// Time that a camera waits for the call that follows [`DeviceCall::ControlsToSet`].
pub const SET_TIME: Duration = Duration::from_millis(5);

/// A call to the open device of a camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DeviceCall {
    /// Returns all controls with their present values.
    Controls,
    /// Returns all controls, as [`Self::Controls`] does; the camera waits up to [`SET_TIME`] for the next call, which sets
    /// some of them, before it captures again.
    ControlsToSet,
    /// Sets controls, all or none, and returns them as the device has them then.
    Set {
        /// The name of each, with its value.
        settings: Vec<(String, ControlValue)>,
        /// The options with which later instances of the camera begin, as the text of a TOML table; `None` for those of
        /// its [part](super::ActorPart).
        options: Option<String>,
    },
    /// Writes the options of the device into a file from which its vendor's programs load them.
    SavePreset {
        /// The absolute path of the file.
        file: String,
    },
    /// Stops the streams, and keeps the device open.
    Pause,
    /// Starts the streams again.
    Resume,
}

/// The controls that a call returns, or the reason why it failed.
pub type DeviceAnswer = Result<Vec<Control>, String>;

/// An event of an actor, for the supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ActorEvent {
    /// An instance has been built, and its device is open. A camera waits for [`WorkerCommand::Go`].
    Ready {
        /// The actor.
        actor: ActorId,
    },
    /// The actor ended normally: its device or its inputs ended, or it was stopped.
    Finished {
        /// The actor.
        actor: ActorId,
    },
    /// The instance failed. The actor waits for [`ActorCommand::Restart`] or [`ActorCommand::GiveUp`].
    Failed {
        /// The actor.
        actor: ActorId,
        /// The failure.
        failure: Failure,
    },
    /// A processor found something that its user has to know, such as a camera that has moved. It goes on.
    Warned {
        /// The processor.
        actor: ActorId,
        /// The fact as one line.
        message: String,
    },
    /// What a processor is doing at the moment, for its user, instead of what it said before.
    Progress {
        /// The processor.
        actor: ActorId,
        /// The text, in lines.
        text: String,
    },
    /// A request to the device of a camera was answered.
    Answered {
        /// The camera.
        actor: ActorId,
        /// The number of the request.
        number: u64,
        /// The answer.
        answer: DeviceAnswer,
    },
}

/// A failure of an actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The error as one line.
    pub message: String,
    /// Whether a device is missing.
    pub unavailable: bool,
    /// If true, a restart cannot help: all inputs have ended, or the actor does not respond.
    pub is_final: bool,
}

impl Failure {
    /// Creates a failure that a restart may fix.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), unavailable: false, is_final: false }
    }
}
