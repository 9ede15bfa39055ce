//! One result of an examination.

use serde::Serialize;

/// The result for one property of a machine: topic, state, fact and advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The examined part of the machine, such as `usb` or `memory`.
    pub topic: &'static str,
    /// The state of the property.
    pub state: State,
    /// The fact, in one sentence without a full stop.
    pub fact: String,
    /// The advice, with a command if there is one; `None` if nothing has to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// The state of a property of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is as it should be.
    Ok,
    /// It is unknown, or concerns some rigs only.
    Note,
    /// Frames may be lost, or a feature may be missing.
    Warning,
    /// A rig will not run.
    Problem,
}

impl State {
    /// Returns its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl Finding {
    /// Creates a finding without advice.
    pub fn new(topic: &'static str, state: State, fact: impl Into<String>) -> Self {
        Self { topic, state, fact: fact.into(), advice: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}
