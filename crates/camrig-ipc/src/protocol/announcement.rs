//! The announcements of a link's producer to a reader in another process.

use camrig_frame::CameraInfo;
use serde::{Deserialize, Serialize};

use crate::memory::SharedMemory;

/// Maximum size of the description of a camera, by [`description_bytes`]: that of the maximum number of streams takes
/// about 3 kB, and its texts have the rest. A larger one would fill the channel to a reader that does not read, and block
/// its producer.
pub const MAX_DESCRIPTION_BYTES: usize = 16 << 10;

/// Returns the size of a description as it is sent to a reader, in bytes.
pub fn description_bytes(info: &CameraInfo) -> usize {
    // A description can always be encoded.
    bincode::serde::encode_into_std_write(info, &mut std::io::sink(), bincode::config::standard())
        .unwrap_or(usize::MAX)
}

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
    /// The next camera: headers refer to it by its index in the order of these announcements. It has at most
    /// [`MAX_DESCRIPTION_BYTES`].
    Source(Box<CameraInfo>),
}
