//! Identifiers of a rig's actors, processes and links.
//!
//! Each is a place in a list that the supervisor keeps, of a type of its own, so that none is taken for another.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The identifier of the element at `index`.
            pub fn new(index: usize) -> Self {
                Self(index as u32)
            }

            /// The place in the list, as an index.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// An actor's place in the supervisor's list of actors.
    ActorId
}

id! {
    /// A process's place in the supervisor's list of processes.
    ProcessId
}

id! {
    /// A link's place in the supervisor's list of links.
    LinkId
}

impl ProcessId {
    /// The supervisor's own process.
    pub const MAIN: Self = Self(0);
}
