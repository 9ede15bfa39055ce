//! Mapped shared memory: the one place that turns addresses into references.
//!
//! It knows neither slots nor ledgers; their modules say who may touch which bytes when.
#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr::NonNull;
use std::slice;

use ipc_channel::ipc::IpcSharedMemory;
use rustix::mm::{Advice, MprotectFlags, madvise, mprotect};

/// Why shared memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A peer sent less memory than its announcement needs.
    #[error("shared memory has {have} bytes, but {need} were announced")]
    TooSmall {
        /// What it has.
        have: usize,
        /// What it should have.
        need: usize,
    },
    /// The system refused.
    #[error("shared memory cannot be protected: {0}")]
    Protect(std::io::Error),
}

/// A structure that lives in shared memory.
///
/// # Safety
/// Every field is an atomic (or an array of them), so that any bit pattern is a value and any number of
/// processes may touch it at once; its alignment is at most that of a page.
pub(crate) unsafe trait Shared {}

/// One mapping of one shared-memory object.
pub(crate) struct Region {
    memory: IpcSharedMemory,
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: `base` points into the mapping that `memory` owns; the mapping does not move and lives as long as
// this value. Access goes through `cell` (atomics) and `bytes`/`bytes_mut` (unsafe, exclusive by protocol).
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// `len` zeroed bytes, every page present. `len` is above zero.
    pub(crate) fn zeroed(len: usize) -> Self {
        let region = Self::map(IpcSharedMemory::from_byte(0, len));
        debug_assert_eq!(region.len, len);
        region
    }

    /// Memory that a peer sent, which must have at least `need` bytes; every page present.
    pub(crate) fn received(memory: IpcSharedMemory, need: usize) -> Result<Self, MemoryError> {
        let region = Self::map(memory);
        if region.len < need || need == 0 {
            return Err(MemoryError::TooSmall { have: region.len, need });
        }
        // SAFETY: the range is this mapping. Populating changes no content. Failure only means that pages
        // come at first touch, as on kernels before 5.14.
        let _ = unsafe { madvise(region.base.as_ptr().cast(), region.len, Advice::LinuxPopulateRead) };
        Ok(region)
    }

    fn map(mut memory: IpcSharedMemory) -> Self {
        // SAFETY: only the address is taken; the slice is gone before anyone else sees the mapping.
        let bytes = unsafe { memory.deref_mut() };
        let len = bytes.len();
        // A slice's pointer is never null, not even an empty one's.
        let base = NonNull::from(bytes).cast();
        Self { memory, base, len }
    }

    /// Forbids this mapping to write, for good: a reader cannot corrupt its producer by mistake.
    pub(crate) fn read_only(self) -> Result<Self, MemoryError> {
        // SAFETY: the range is this mapping, and nobody holds a `&mut` into it: it was just received.
        unsafe { mprotect(self.base.as_ptr().cast(), self.len, MprotectFlags::READ) }
            .map_err(|errno| MemoryError::Protect(errno.into()))?;
        Ok(self)
    }

    /// Another handle to the same memory, to be sent to another process.
    pub(crate) fn share(&self) -> IpcSharedMemory {
        self.memory.clone()
    }

    /// The structure of atomics at the start of the region.
    pub(crate) fn cell<T: Shared>(&self) -> &T {
        assert!(size_of::<T>() <= self.len);
        // SAFETY: in bounds by the assertion; mappings are page aligned; `T: Shared` allows any content and
        // concurrent access.
        unsafe { self.base.cast().as_ref() }
    }

    /// Bytes that nobody writes while the slice lives.
    ///
    /// # Safety
    /// The slot protocol gives the caller a share of `range`: no process writes it meanwhile.
    pub(crate) unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds by the assertion; unwritten by the caller's promise.
        unsafe { slice::from_raw_parts(self.base.as_ptr().add(range.start), range.len()) }
    }

    /// Bytes that nobody else touches while the slice lives.
    ///
    /// # Safety
    /// The slot protocol gives `range` to the caller alone, and the mapping is writable.
    #[allow(clippy::mut_from_ref)] // Exclusive by protocol, not by borrow.
    pub(crate) unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr().add(range.start), range.len()) }
    }
}
