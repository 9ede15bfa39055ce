//! Where actors publish framesets, in every placement.
//!
//! A camera has a [`CameraOutput`], a processor a [`ProcessorOutput`]: each offers what its actor may do. Both hold a
//! `Publisher`, which owns the slots, knows the links to the readers, and counts each frameset once for each link.
//! This module deliberately knows no driver, no actor and no process.

mod camera;
mod processor;
mod publisher;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrayvec::ArrayVec;
use camrig_frame::{
    FrameError, FrameHeader, LayoutError, MAX_FRAMES, MAX_ORIGIN_BYTES, MAX_ORIGINS, StreamInfo,
};
use camrig_ipc::{Counts, Latency, Loan as SlotLoan, MAX_SOURCES, MemoryError};

pub use self::camera::CameraOutput;
pub(crate) use self::processor::InputStatus;
pub use self::processor::ProcessorOutput;
pub(crate) use self::publisher::{Publisher, Wiring};

/// A slot to write a frameset into: first the pixels of every frame, then `publish` of the output that lent it.
///
/// Dropped without being published, it leaves no trace: the frameset was never produced.
pub struct Loan {
    slot: SlotLoan,
    source: usize,
}

impl Loan {
    /// Returns the pixels of the frame at `index` of the headers that the loan was asked with. At first they hold
    /// anything.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn frame_mut(&mut self, index: usize) -> &mut [u8] {
        self.slot.frame_mut(index)
    }
}

/// The headers of a frameset's frames.
pub type FrameHeaders = ArrayVec<FrameHeader, MAX_FRAMES>;

/// One input link, as [`ProcessorOutput::inputs`] shows it.
#[derive(Clone, Debug)]
pub struct LinkStatus<'a> {
    /// The actor at the other end.
    pub from: &'a str,
    /// The counts of the link's framesets.
    pub counts: Counts,
    /// The time from the camera actor to this processor.
    pub latency: Latency,
}

/// Why framesets cannot be published.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutputError {
    /// The headers are not those of a frameset.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The content of a frame is not as long as its header says.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frameset is made from too many others.
    #[error(
        "a frameset is made from at most {MAX_ORIGINS} others, of cameras with names of 1 to {MAX_ORIGIN_BYTES} bytes"
    )]
    Origins,
    /// The actor publishes framesets of too many cameras.
    #[error("framesets of more than {MAX_SOURCES} cameras are published")]
    Sources,
    /// A source of framesets has no name.
    #[error("a source of framesets needs a name")]
    Unnamed,
    /// The system has no memory for the slots.
    #[error("{slots} slots of {} KiB cannot be made: {reason}", frameset_bytes.div_ceil(1024))]
    Slots {
        /// The number of slots.
        slots: usize,
        /// The size of the largest frameset, in bytes.
        frameset_bytes: usize,
        /// The system's error.
        reason: Arc<MemoryError>,
    },
}

/// Returns the frames of the largest frameset that a camera with these streams makes.
pub(crate) fn largest_frames(streams: &[StreamInfo]) -> FrameHeaders {
    streams.iter().map(StreamInfo::largest).take(MAX_FRAMES).collect()
}
