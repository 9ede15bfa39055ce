//! What the producer of a link tells a reader in another process.

use camrig_frame::CameraInfo;
use serde::{Deserialize, Serialize};

use crate::channel::SharedMemory;

/// What a producer tells each reader of another process once, before the first frameset that needs it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Announcement {
    /// An instance of the producer begins: queued framesets belong to the one before, later announcements to this
    /// one.
    Begin,
    /// A pool of slots, which replaces the previous one.
    Pool {
        /// Tells it from every other pool of the producer; the words of its slots hold this number.
        generation: u16,
        /// The number of slots.
        slots: u32,
        /// The bytes of each slot behind its header.
        pixel_bytes: u64,
        /// The slots, one behind the other.
        memory: SharedMemory,
    },
    /// The next camera: headers name it by its place in the order of these announcements.
    Source(CameraInfo),
}
