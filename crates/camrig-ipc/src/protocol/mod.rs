#![doc = include_str!("../../PROTOCOL.md")]

mod announcement;
mod hello;
mod ids;
mod messages;
mod parts;

pub use self::announcement::Announcement;
pub use self::hello::MAGIC;
pub(crate) use self::hello::{HELLO_BYTES, check, hello};
pub use self::ids::{ActorId, LinkId, ProcessId};
pub use self::messages::{
    ActorCommand, ActorEvent, DeviceAnswer, DeviceCall, DeviceRequest, Failure, SET_TIME, Setup,
    WorkerCommand,
};
pub use self::parts::{
    ActorPart, CalibratedPose, LinkStart, MatchClock, MatchSpec, MatchedCamera, Part, Role,
};

/// Asserts that the documentation has each of these fields at its offset.
#[cfg(test)]
pub(crate) fn assert_documented(fields: &[(usize, &str)]) {
    let documentation = include_str!("../../PROTOCOL.md");
    for (offset, field) in fields {
        assert!(documentation.contains(&format!("| {offset} | `{field}")), "`{field}` is at {offset}");
    }
}

/// Version of the handshake and of all messages: must be incremented with every change of one of them.
pub const VERSION: u32 = 11;
