//! The names and properties of the compared ways to move framesets.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::load::Load;

/// A way to move framesets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Candidate {
    /// One memcpy from the ring into two buffers in turn in a single thread, without reading. Unpaced only: the reference
    /// bandwidth for throughput.
    Memcpy,
    /// One memcpy from the ring and one read, in a single thread, without a hop: the minimum cost of any way with one copy.
    Floor,
    /// A new shared-memory object per frameset over ipc-channel: the obvious first implementation.
    Naive,
    /// iceoryx2 publish-subscribe: the driver copies into a loan, an event wakes the reader.
    Iceoryx2,
    /// The same with a service per camera, which the reader polls in turn: it serves all cameras evenly, as camrig does.
    /// Only for loads where that differs.
    Iceoryx2InTurn,
    /// Like `Iceoryx2`, but the driver generates the frameset in the loan.
    Iceoryx2InSlot,
    /// Threads of one process, a bounded channel of pooled buffers, one copy.
    Crossbeam,
    /// camrig in one process; the driver copies into a slot.
    CamrigInProcess,
    /// camrig with all cameras and their reader on one thread; the driver copies into a slot.
    CamrigOneThread,
    /// camrig in one process; the frames stay in the driver's memory, without a copy.
    CamrigInProcessHeld,
    /// camrig with a process per camera (at most 24, which cameras then share) and one per reader; the driver owns the
    /// frames, and its output copies them.
    CamrigCopies,
    /// The same, with a processor in the reader's process that passes the framesets on.
    CamrigPassedOn,
    /// The same processes as `CamrigCopies`; the driver generates the frameset in the slot.
    CamrigInSlot,
}

impl Candidate {
    pub(crate) const ALL: [Self; 13] = [
        Self::Memcpy,
        Self::Floor,
        Self::Naive,
        Self::Iceoryx2,
        Self::Iceoryx2InTurn,
        Self::Iceoryx2InSlot,
        Self::Crossbeam,
        Self::CamrigInProcess,
        Self::CamrigOneThread,
        Self::CamrigInProcessHeld,
        Self::CamrigCopies,
        Self::CamrigPassedOn,
        Self::CamrigInSlot,
    ];

    /// The most informative candidates.
    pub(crate) const MAIN: [Self; 4] =
        [Self::Floor, Self::Iceoryx2, Self::CamrigInProcess, Self::CamrigCopies];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memcpy => "memcpy",
            Self::Floor => "floor",
            Self::Naive => "naive",
            Self::Iceoryx2 => "iceoryx2",
            Self::Iceoryx2InTurn => "iceoryx2 in turn",
            Self::Iceoryx2InSlot => "iceoryx2 in slot",
            Self::Crossbeam => "crossbeam",
            Self::CamrigInProcess => "camrig in process",
            Self::CamrigOneThread => "camrig on one thread",
            Self::CamrigInProcessHeld => "camrig in process, held",
            Self::CamrigCopies => "camrig copies",
            Self::CamrigPassedOn => "camrig copies, passed on",
            Self::CamrigInSlot => "camrig in slot",
        }
    }

    /// Returns whether the candidate makes sense under this load.
    pub(crate) fn takes(self, load: Load) -> bool {
        let between_processes = self.is_camrig() && !self.is_one_process();
        match self {
            _ if load.readers > 1 => between_processes,
            _ if load.cameras_per_process() > 1 => self.is_camrig(),
            Self::Memcpy => !load.is_paced(),
            Self::Iceoryx2InTurn => !load.is_paced() && load.cameras > 1,
            _ => true,
        }
    }

    /// Returns whether it has a hop with a latency.
    pub(crate) fn has_hop(self) -> bool {
        !matches!(self, Self::Memcpy | Self::Floor)
    }

    /// Returns whether the driver has a ring of frames to copy from or to lend.
    pub(crate) fn has_ring(self) -> bool {
        !matches!(self, Self::Iceoryx2InSlot | Self::CamrigInSlot)
    }

    /// Returns whether both sides are one process.
    pub(crate) fn is_one_process(self) -> bool {
        use Candidate::{CamrigInProcess, CamrigInProcessHeld, CamrigOneThread, Crossbeam, Floor, Memcpy};
        matches!(self, Memcpy | Floor | Crossbeam | CamrigInProcess | CamrigOneThread | CamrigInProcessHeld)
    }

    /// Returns whether it is a camrig program.
    pub(crate) fn is_camrig(self) -> bool {
        matches!(
            self,
            Self::CamrigInProcess
                | Self::CamrigOneThread
                | Self::CamrigInProcessHeld
                | Self::CamrigCopies
                | Self::CamrigPassedOn
                | Self::CamrigInSlot
        )
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
