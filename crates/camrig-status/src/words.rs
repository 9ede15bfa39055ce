//! The words of a status and of a report: roles, states, placements and reasons.
//!
//! In JSON each is a string. A program reads the words of its own version and of earlier versions.

use std::fmt;

pub use camrig_ipc::{DropReason, LostReason, Unmatched};
use serde::{Deserialize, Serialize};

/// The kind of an actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActorRole {
    /// Produces framesets from a device.
    #[default]
    Camera,
    /// Reads framesets, and may publish others.
    Processor,
}

impl ActorRole {
    /// Every role.
    pub const ALL: [Self; 2] = [Self::Camera, Self::Processor];

    /// Returns the role's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Processor => "processor",
        }
    }
}

/// The state of an actor. The order is that of the words, so that maps by state are sorted by word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActorState {
    /// It failed for good.
    Failed,
    /// It ended in order.
    Finished,
    /// A camera whose streams are off, as requested; its device stays open.
    Paused,
    /// It waits for the other actors to be ready.
    Ready,
    /// It failed and is being restarted.
    Restarting,
    /// It processes framesets.
    Running,
    /// A camera that delivers nothing, or a processor that does not return from a call.
    Stalled,
    /// It is being built, or its device is being opened, for the first time.
    #[default]
    Starting,
    /// Its device is missing, and it waits for it.
    WaitingForDevice,
}

impl ActorState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Failed,
        Self::Finished,
        Self::Paused,
        Self::Ready,
        Self::Restarting,
        Self::Running,
        Self::Stalled,
        Self::Starting,
        Self::WaitingForDevice,
    ];

    /// Returns the state's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Finished => "finished",
            Self::Paused => "paused",
            Self::Ready => "ready",
            Self::Restarting => "restarting",
            Self::Running => "running",
            Self::Stalled => "stalled",
            Self::Starting => "starting",
            Self::WaitingForDevice => "waiting-for-device",
        }
    }

    /// Returns whether the actor has ended permanently.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Finished | Self::Failed)
    }

    /// Returns whether the actor is waiting for its next start.
    pub const fn is_between_instances(self) -> bool {
        matches!(self, Self::Restarting | Self::WaitingForDevice)
    }
}

/// Whether the agent of another host answers, and its part of the rig runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// Its part has ended.
    Ended,
    /// Its agent does not answer.
    Lost,
    /// Its part runs.
    #[default]
    Running,
}

impl HostState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Ended, Self::Lost, Self::Running];

    /// Returns the state's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Lost => "lost",
            Self::Running => "running",
        }
    }
}

/// Location of the two ends of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkPlacement {
    /// In the same process.
    #[default]
    InProcess,
    /// In two processes.
    MultiProcess,
}

impl LinkPlacement {
    /// Every placement.
    pub const ALL: [Self; 2] = [Self::InProcess, Self::MultiProcess];

    /// Returns the placement's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::MultiProcess => "multi-process",
        }
    }
}

macro_rules! display_names {
    ($($word:ty),*) => {
        $(impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        })*
    };
}

display_names!(ActorRole, ActorState, HostState, LinkPlacement);

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    /// Checks that JSON has the words, and that they are sorted as text is where `sorted`.
    fn check<T>(all: &[T], name: fn(T) -> &'static str)
    where
        T: Copy + Ord + fmt::Debug + Serialize + DeserializeOwned,
    {
        for &word in all {
            let json = format!("\"{}\"", name(word));
            assert_eq!(serde_json::to_string(&word).unwrap(), json);
            assert_eq!(serde_json::from_str::<T>(&json).unwrap(), word);
        }
        let (mut words, mut names) = (all.to_vec(), all.iter().map(|&word| name(word)).collect::<Vec<_>>());
        words.sort_unstable();
        names.sort_unstable();
        assert_eq!(words.into_iter().map(name).collect::<Vec<_>>(), names);
    }

    #[test]
    fn words_are_the_same_in_json_and_sorted_as_text() {
        check(&ActorRole::ALL, ActorRole::name);
        check(&ActorState::ALL, ActorState::name);
        check(&HostState::ALL, HostState::name);
        check(&LinkPlacement::ALL, LinkPlacement::name);
        check(&DropReason::ALL, DropReason::name);
        check(&LostReason::ALL, LostReason::name);
        check(&Unmatched::ALL, Unmatched::name);
    }
}
