//! Identifiers and names of a rig's actors, processes and links.

pub(crate) use camrig_frame::{NAME_BYTES_MAX, is_name};
pub(crate) use camrig_ipc::protocol::{ActorId, LinkId, ProcessId};
