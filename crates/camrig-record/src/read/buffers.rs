//! Memory that is used again: fresh memory of a frameset's size costs more than reading the frameset into it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Maximum number of buffers that are kept for later, and of their bytes together.
const MAX_KEPT: usize = 16;
const MAX_KEPT_BYTES: usize = 64 << 20;

/// Buffers that were dropped, for the next ones of about the same size.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns bytes of this size, with any content.
    pub(crate) fn take(&self, size_bytes: usize) -> Buffer {
        let fits = |bytes: &Vec<u8>| (size_bytes..=size_bytes.saturating_mul(2)).contains(&bytes.len());
        let mut kept = self.kept();
        let found = kept.iter().rposition(fits).map(|index| kept.swap_remove(index));
        drop(kept);
        let bytes = found.unwrap_or_else(|| vec![0; size_bytes]);
        Buffer { bytes, size_bytes, buffers: self.clone() }
    }
}

/// Bytes that are kept for later when they are dropped.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    size_bytes: usize,
    buffers: Buffers,
}

impl Buffer {
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.size_bytes]
    }

    /// Shares the bytes, which are kept for later when the last share is dropped.
    pub(crate) fn share(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.size_bytes]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut kept = self.buffers.kept();
        let sum: usize = kept.iter().map(Vec::len).sum();
        if kept.len() < MAX_KEPT && sum + bytes.len() <= MAX_KEPT_BYTES {
            kept.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again_for_about_its_size() {
        let buffers = Buffers::default();
        let mut first = buffers.take(1000);
        first.bytes_mut().fill(7);
        let shared = first.share();
        let (place, part) = (shared.as_ptr(), shared.slice(10..20));
        drop(shared);
        assert!(buffers.kept().is_empty(), "a slice keeps it");
        drop(part);
        assert_ne!(buffers.take(499).bytes_mut().as_ptr(), place, "it is too large");
        assert_ne!(buffers.take(1001).bytes_mut().as_ptr(), place, "it is too small");
        let again = buffers.take(500);
        assert_eq!((again.as_ref().as_ptr(), again.as_ref().len()), (place, 500));
    }

    #[test]
    fn a_bounded_number_of_buffers_and_bytes_is_kept() {
        let buffers = Buffers::default();
        drop((0..100).map(|_| buffers.take(9)).collect::<Vec<_>>());
        assert_eq!(buffers.kept().len(), MAX_KEPT);
        let buffers = Buffers::default();
        drop([buffers.take(MAX_KEPT_BYTES), buffers.take(1), buffers.take(MAX_KEPT_BYTES + 1)]);
        assert_eq!(buffers.kept().iter().map(Vec::len).collect::<Vec<_>>(), [MAX_KEPT_BYTES]);
    }
}
