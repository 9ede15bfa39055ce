//! Identifiers and names of a rig's actors, processes and links.

pub(crate) use camrig_ipc::protocol::{ActorId, LinkId, ProcessId};

/// Maximum length of the name of an actor, process or host, in bytes. Names are used for threads, processes and log lines.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// Returns whether an actor, process or host may have this name.
pub(crate) fn is_name(name: &str) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_alphanumeric();
    let is_letter = |byte: u8| is_first(&byte) || byte == b'_' || byte == b'-';
    name.as_bytes().first().is_some_and(is_first)
        && name.bytes().all(is_letter)
        && name.len() <= NAME_BYTES_MAX
}
