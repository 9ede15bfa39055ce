#![doc = include_str!("../../PROTOCOL.md")]

mod announcement;
mod hello;
mod ids;
mod messages;
mod parts;

pub use self::announcement::{Announcement, MAX_DESCRIPTION_BYTES, description_bytes};
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
#[cfg(all(test, not(shuttle)))]
pub(crate) fn assert_documented(fields: &[(usize, &str)]) {
    let documentation = include_str!("../../PROTOCOL.md");
    for (offset, field) in fields {
        assert!(documentation.contains(&format!("| {offset} | `{field}")), "`{field}` is at {offset}");
    }
}

/// Version of the handshake and of all messages: must be incremented with every change of one of them.
pub const VERSION: u32 = 13;

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::VERSION;
    use crate::mapped::{Mapped, Shared};
    use crate::{ActorCounters, LinkState, MatchCounters, Notifier};

    const DOCUMENTATION: &str = include_str!("../../PROTOCOL.md");

    /// It runs in the gate; here only its numbers are compared.
    const WORKER: &str = include_str!("../../tests/worker/worker.py");

    /// A structure as the documentation and the worker name it.
    trait Named {
        fn magic() -> &'static str;
        fn version() -> u32;
    }

    impl<T: Shared> Named for Mapped<T> {
        fn magic() -> &'static str {
            str::from_utf8(const { &T::MAGIC }).expect("magic numbers are ASCII")
        }

        fn version() -> u32 {
            T::VERSION
        }
    }

    fn assert_named<T: Named>(in_worker: bool) {
        let (magic, version) = (T::magic(), T::version());
        assert!(DOCUMENTATION.contains(&format!("`{magic}`: {version}")), "{magic}: {version}");
        assert_eq!(WORKER.contains(&format!("b\"{magic}\", {version})")), in_worker, "{magic}: {version}");
    }

    #[test]
    fn the_documentation_and_the_worker_in_python_have_the_versions() {
        assert!(DOCUMENTATION.contains(&format!("[`VERSION`] ({VERSION})")));
        assert!(WORKER.contains(&format!("\nVERSION = {VERSION}\n")));
        assert_named::<LinkState>(true);
        assert_named::<ActorCounters>(true);
        assert_named::<Notifier>(true);
        assert_named::<MatchCounters>(false);
    }
}
