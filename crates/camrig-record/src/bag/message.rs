//! A message of a bag.

use bytes::Bytes;

/// A message of a bag.
pub(crate) struct BagMessage {
    /// The number of its topic.
    pub(crate) topic: u16,
    pub(crate) log_time: u64,
    pub(crate) data: Bytes,
}
