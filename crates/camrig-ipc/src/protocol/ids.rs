//! Identifiers of a rig's actors, processes and links.
//!
//! Each is an index into a list of the supervisor, with its own type, so that they cannot be mixed up.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// Creates the identifier of the element at `index`.
            pub fn new(index: usize) -> Self {
                Self(index as u32)
            }

            /// Returns the index into the list.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// Index into the supervisor's list of actors.
    ActorId
}

id! {
    /// Index into the supervisor's list of processes.
    ProcessId
}

id! {
    /// Index into the supervisor's list of links.
    LinkId
}

impl ProcessId {
    /// The supervisor's own process.
    pub const MAIN: Self = Self(0);
}
