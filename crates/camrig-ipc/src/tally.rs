//! What an actor has produced, whether or not anyone reads it.
#![allow(unsafe_code)] // One marker: `Shared` for the structure below.

use std::sync::atomic::{AtomicU64, Ordering};

use ipc_channel::ipc::IpcSharedMemory;

use crate::MemoryError;
use crate::region::{Region, Shared};

/// What an actor has produced, in shared memory, so that the count survives the actor's process.
pub struct Tally {
    region: Region,
}

#[repr(C, align(64))]
struct TallyCells {
    produced: AtomicU64,
    lost: AtomicU64,
}

// SAFETY: every field is an atomic or padding; aligned to 64.
unsafe impl Shared for TallyCells {}

impl Tally {
    /// A tally of zero.
    #[allow(clippy::new_without_default)] // It takes memory from the system; a default should not.
    pub fn new() -> Self {
        Self { region: Region::zeroed(size_of::<TallyCells>()) }
    }

    /// The same tally, received from another process.
    ///
    /// # Errors
    /// When the memory is too small to be a tally.
    pub fn received(memory: IpcSharedMemory) -> Result<Self, MemoryError> {
        Ok(Self { region: Region::received(memory, size_of::<TallyCells>())? })
    }

    /// Another handle to the tally, to be sent to another process.
    pub fn share(&self) -> IpcSharedMemory {
        self.region.share()
    }

    /// Counts a frameset.
    pub fn count_produced(&self) {
        self.region.cell::<TallyCells>().produced.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts framesets that the device or its library lost before the actor saw them.
    pub fn count_lost(&self, framesets: u64) {
        self.region.cell::<TallyCells>().lost.fetch_add(framesets, Ordering::SeqCst);
    }

    /// Framesets so far.
    pub fn produced(&self) -> u64 {
        self.region.cell::<TallyCells>().produced.load(Ordering::SeqCst)
    }

    /// Framesets lost so far before the actor saw them.
    pub fn lost(&self) -> u64 {
        self.region.cell::<TallyCells>().lost.load(Ordering::SeqCst)
    }
}
