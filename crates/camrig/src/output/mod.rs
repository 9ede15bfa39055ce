//! Publishing framesets, in every placement.
//!
//! A camera has a [`CameraOutput`], a processor a [`ProcessorOutput`], each with the operations of its kind of actor.
//! Both contain a `Publisher`, which owns the slots, has the links to the readers, and counts each frameset once
//! per link. This module has no knowledge of drivers, actors and processes.

mod camera;
mod links;
mod processor;
mod publisher;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrayvec::ArrayVec;
use camrig_frame::{
    FrameError, FrameHeader, LayoutError, MAX_FRAMES, MAX_ORIGIN_BYTES, MAX_ORIGINS, StreamInfo,
};
use camrig_ipc::protocol::MAX_DESCRIPTION_BYTES;
use camrig_ipc::{Counts, Latency, Loan as SlotLoan, MAX_SOURCES, MemoryError};

pub use self::camera::CameraOutput;
pub(crate) use self::links::OutputLinks;
pub(crate) use self::processor::InputStatus;
pub use self::processor::{Declared, ProcessorOutput};
pub(crate) use self::publisher::{Publisher, Wiring};

/// A slot for writing a frameset: write the pixels of every frame, then call `publish` of the output that lent it.
///
/// If it is dropped without being published, the frameset does not count as produced.
pub struct Loan {
    slot: SlotLoan,
    source: usize,
    /// The sequence number, of a frameset that has one; otherwise the next one of the actor.
    sequence: Option<u64>,
}

impl Loan {
    /// Returns the pixels of the frame at `index` of the headers with which the loan was requested. The initial
    /// content is arbitrary.
    ///
    /// # Panics
    /// If the index is out of range.
    pub fn frame_mut(&mut self, index: usize) -> &mut [u8] {
        self.slot.frame_mut(index)
    }

    /// Gives every frame this number of the device, in place of that of its header.
    pub fn set_number(&mut self, number: u64) {
        self.slot.set_number(number);
    }
}

/// The headers of a frameset's frames.
pub type FrameHeaders = ArrayVec<FrameHeader, MAX_FRAMES>;

/// One input link, as returned by [`ProcessorOutput::inputs`].
#[derive(Clone, Debug)]
pub struct InputLinkStatus<'a> {
    /// The actor at the other end.
    pub from: &'a str,
    /// The number of framesets that this actor had published before the link began; they are not among `counts`.
    pub joined: u64,
    /// The frameset counts of the link.
    pub counts: Counts,
    /// The time from the camera actor to this processor.
    pub latency: Latency,
    /// Whether nothing more is published on it: only framesets in flight are left.
    pub ended: bool,
    /// Whether it ends because a change of the rig removes or replaces this processor: the actor at the other end may continue.
    pub reader_leaves: bool,
}

/// An error of publishing framesets.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutputError {
    /// The headers do not form a valid frameset.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The length of a frame's content does not match its header.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frameset has too many origins.
    #[error(
        "a frameset is made from at most {MAX_ORIGINS} others, of cameras with names of 1 to {MAX_ORIGIN_BYTES} bytes"
    )]
    Origins,
    /// The actor publishes framesets of too many cameras.
    #[error("framesets of more than {MAX_SOURCES} cameras are published")]
    Sources,
    /// The description of a camera is too large.
    #[error(
        "the description of `{name}` has {size_bytes} bytes, more than {MAX_DESCRIPTION_BYTES}: shorten its texts, \
         such as `model`, or declare fewer streams"
    )]
    Description {
        /// Its name.
        name: String,
        /// Its size, in bytes.
        size_bytes: usize,
    },
    /// A source of framesets has no name.
    #[error("a source of framesets needs a name")]
    Unnamed,
    /// There is not enough memory for the slots.
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

/// Returns the frames of the largest frameset of a camera with these streams.
pub(crate) fn largest_frames(streams: &[StreamInfo]) -> FrameHeaders {
    streams.iter().map(StreamInfo::largest).take(MAX_FRAMES).collect()
}
