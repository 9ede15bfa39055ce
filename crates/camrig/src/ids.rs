//! Identifiers of a rig's actors, processes and links.

pub(crate) use camrig_ipc::protocol::{ActorId, LinkId, ProcessId};
