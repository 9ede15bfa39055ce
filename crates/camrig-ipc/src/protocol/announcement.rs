//! The announcements of a link's producer to a reader in another process.

use camrig_frame::CameraInfo;
use serde::{Deserialize, Serialize};

use crate::memory::SharedMemory;

/// Announcement of a producer to each reader in another process, sent once, before the first frameset that depends on
/// it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Announcement {
    /// A new instance of the producer starts: queued framesets belong to the previous one, later announcements to
    /// this one.
    Begin,
    /// A pool of slots, which replaces the previous one.
    Pool {
        /// Distinguishes it from all other pools of the producer; the words of its slots contain this number.
        generation: u16,
        /// The number of slots.
        slots: u32,
        /// Size of each slot in bytes, without its header.
        pixel_bytes: u64,
        /// The slots, stored consecutively.
        memory: SharedMemory,
    },
    /// The next camera: headers refer to it by its index in the order of these announcements.
    Source(Box<CameraInfo>),
}
