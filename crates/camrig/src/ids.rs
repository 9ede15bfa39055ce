//! Identifiers of a rig's actors, processes and links.
//!
//! Each is a place in a list of the topology, of a type of its own, so that none is taken for another. They travel to
//! workers as 32-bit numbers.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(pub(crate) u32);

        impl $name {
            /// The identifier of the element at `index`.
            pub(crate) fn new(index: usize) -> Self {
                Self(index as u32)
            }

            /// The place in the list, as an index.
            pub(crate) fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// An actor's place in [`Topology::actors`](crate::topology::Topology::actors).
    ActorId
}

id! {
    /// A process's place in [`Topology::processes`](crate::topology::Topology::processes).
    ProcessId
}

id! {
    /// A link's place in [`Topology::links`](crate::topology::Topology::links).
    LinkId
}

impl ProcessId {
    /// The supervisor's own process.
    pub(crate) const MAIN: Self = Self(0);
}
