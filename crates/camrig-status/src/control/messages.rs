//! Requests to a running rig, and their answers.

use camrig_ipc::protocol::DeviceAnswer;
use serde::{Deserialize, Serialize};

/// A request to a running rig.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The topology that runs.
    Topology,
    /// Changes the rig to another topology.
    Apply(Apply),
    /// Changes the topology that runs a little.
    Edit(Edits),
    /// The options of a camera's device that can be read while it runs, with their present values.
    Controls {
        /// The name of the camera.
        camera: String,
        /// Whether a request that sets some of them follows: the camera waits for it, up to 5 ms.
        #[serde(default)]
        to_set: bool,
    },
    /// Adds a processor that is removed when the connection of its client ends, which [`attach`](super::attach) makes.
    Attach(Attach),
    /// Writes the options of a camera's device into a file from which the vendor's programs load them.
    Preset {
        /// The name of the camera.
        camera: String,
        /// The absolute path of the file.
        file: String,
    },
    /// Stops the streams of cameras, or starts them again; their devices stay open.
    Pause {
        /// The names of the cameras.
        cameras: Vec<String>,
        /// Whether to stop the streams.
        paused: bool,
        /// The origin of the request, for the log and the report, such as `camrig pause`.
        by: String,
    },
}

/// A processor that joins a running rig in a process of its own, for as long as its client is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Its name, and that of its process.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The actors that it reads.
    pub inputs: Vec<String>,
    /// Its keys and options, each with the text of its value.
    pub settings: Vec<(String, String)>,
    /// The command of a program that has the kind, which runs the process if the rig has no such kind; may be empty.
    #[serde(default)]
    pub program: Vec<String>,
    /// The origin of the request, for the log and the report, such as `camrig attach`.
    pub by: String,
}

/// Small changes of the topology that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edits {
    /// The changes of its text, in their order.
    pub edits: Vec<Edit>,
    /// Actors that restart although nothing differs.
    #[serde(default)]
    pub restarts: Vec<String>,
    /// Whether to refuse a change that starts or ends an actor, and allow only options that devices can set while they run.
    #[serde(default)]
    pub live: bool,
    /// Whether to return the changes without carrying them out.
    #[serde(default)]
    pub dry_run: bool,
    /// The origin of the request, for the log and the report, such as `camrig set`.
    pub by: String,
}

/// A change of the text of a topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Edit {
    /// Adds a processor, or without inputs a camera.
    Add {
        /// Its name.
        name: String,
        /// Its kind, or its driver.
        kind: String,
        /// The actors that it reads.
        inputs: Vec<String>,
        /// Its keys and options, each with the text of its value.
        settings: Vec<(String, String)>,
    },
    /// Removes an actor, and processes that only it had.
    Remove {
        /// Its name.
        name: String,
    },
    /// Changes keys or options of an actor. An option of a camera may have the name that its device has for it, as in
    /// [`Request::Controls`].
    Set {
        /// Its name.
        name: String,
        /// The keys and options, each with the text of its value.
        settings: Vec<(String, String)>,
    },
}

/// A topology for a running rig.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// The name of the topology in messages, such as the path of its file.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Actors to restart although nothing differs.
    #[serde(default)]
    pub restarts: Vec<String>,
    /// The text that this one was made from: the request is refused if another one runs meanwhile.
    #[serde(default)]
    pub base: Option<String>,
    /// Whether to refuse changes that start or end an actor.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
    /// Whether to return the changes without carrying them out.
    #[serde(default)]
    pub dry_run: bool,
    /// The origin of the request, for the log and the report, such as `camrig apply`.
    pub by: String,
}

/// The answer of a rig to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// The topology that runs.
    Topology {
        /// Its name in messages.
        name: String,
        /// Its text.
        text: String,
    },
    /// The changes, one line each, in their order; carried out, unless the request was a dry run.
    Changes(Vec<String>),
    /// The options of a device, or the reason why they are not available.
    Controls(DeviceAnswer),
    /// The request was refused, and nothing has changed.
    Refused {
        /// The reason, as one or more lines.
        message: String,
        /// Whether a device or a program is missing.
        unavailable: bool,
    },
    /// The changes were made, but an actor failed after them.
    Failed {
        /// The error, as one line.
        message: String,
    },
}

impl Answer {
    /// Returns a refusal.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), unavailable: false }
    }
}
