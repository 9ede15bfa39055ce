//! The reason why a run ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The reason why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Exit {
    /// As requested: by a call or a signal, or at a limit of time or framesets.
    #[serde(rename = "stopped as asked")]
    Asked,
    /// Every camera came to its end.
    #[serde(rename = "end of all inputs")]
    Inputs,
    /// An actor failed for good.
    #[serde(rename = "an actor failed")]
    Failed,
    /// A camera was not available.
    #[serde(rename = "a camera is unavailable")]
    Unavailable,
    /// It was interrupted while it stopped, and ended immediately.
    #[serde(rename = "interrupted")]
    Interrupted,
}

impl Exit {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::Asked, Self::Inputs, Self::Failed, Self::Unavailable, Self::Interrupted];

    /// Returns the reason as text, as in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asked => "stopped as asked",
            Self::Inputs => "end of all inputs",
            Self::Failed => "an actor failed",
            Self::Unavailable => "a camera is unavailable",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_have_the_words() {
        for exit in Exit::ALL {
            assert_eq!(serde_json::to_value(exit).unwrap(), exit.name());
            assert_eq!(serde_json::from_value::<Exit>(exit.name().into()).unwrap(), exit);
        }
    }
}
