//! How an actor is, as its supervisor sees it and an operator is told.

/// The state of an actor. Its number is what the actor's counters holds for whoever looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// It is being built, or its device opened, for the first time.
    #[default]
    Starting,
    /// It waits for the others to be ready.
    Ready,
    /// Framesets flow.
    Running,
    /// A camera that delivers nothing, or a processor that does not return from a call.
    Stalled,
    /// It failed, and begins again.
    Restarting,
    /// Its device is missing, and is looked for.
    WaitingForDevice,
    /// It ended as it should.
    Finished,
    /// It failed for good.
    Failed,
}

impl State {
    /// The state's name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Stalled => "stalled",
            Self::Restarting => "restarting",
            Self::WaitingForDevice => "waiting-for-device",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }

    /// Whether the actor will never do anything again.
    pub(crate) fn has_ended(self) -> bool {
        matches!(self, Self::Finished | Self::Failed)
    }

    /// Whether the actor waits for another life.
    pub(crate) fn is_between_lives(self) -> bool {
        matches!(self, Self::Restarting | Self::WaitingForDevice)
    }

    /// The state's number in the actor counters.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }
}
