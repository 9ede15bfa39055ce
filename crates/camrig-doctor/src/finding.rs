//! One result of an examination.

use serde::Serialize;

/// One thing that was looked at: what it is, whether it is as it should be, and what to do if it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, such as `usb` or `memory`.
    pub topic: &'static str,
    /// Whether it is as it should be.
    pub state: State,
    /// The fact, in one sentence without a full stop.
    pub fact: String,
    /// What to do, with the command where there is one; `None` if there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Whether a thing is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is.
    Ok,
    /// It could not be found out, or matters to some rigs only.
    Note,
    /// Frames may be lost, or a feature be missing.
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
