//! Mapped shared memory: the only module that turns addresses into references.
//!
//! It depends on neither slots nor link states; their modules define the access to each byte.
#![allow(unsafe_code)]

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use crate::channel::channel;
use crate::memory::{self, MemoryError, SharedMemory};

/// From this size on, the available memory is checked before an allocation.
const LARGE_BYTES: usize = 1 << 20;

/// One mapping of shared memory.
pub(crate) struct Region {
    memory: OwnedFd,
    base: NonNull<u8>,
    len: usize,
    access: ProtFlags,
}

/// Which pages of a mapping are present from the start.
#[derive(Clone, Copy)]
enum Pages {
    All,
    None,
}

// SAFETY: `base` points into a mapping that this value owns; the mapping does not move and lives as long as
// this value. Access goes through `structure` (atomics) and `bytes`/`bytes_mut` (unsafe, exclusive by protocol).
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// Returns the size of a page of this machine in bytes: 4096, or 16 or 64 KiB on some machines with an ARM processor.
pub fn page_bytes() -> usize {
    // SAFETY: the call has no preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
}

impl Region {
    /// Allocates `len` zeroed bytes with every page present. `len` is greater than zero.
    pub(crate) fn zeroed(len: usize) -> Result<Self, MemoryError> {
        Self::allocated(len, Pages::All)
    }

    /// Allocates `len` zeroed bytes: the memory is reserved, and its pages come with [`Self::populate`] or at their first
    /// access. `len` is greater than zero.
    pub(crate) fn reserved(len: usize) -> Result<Self, MemoryError> {
        Self::allocated(len, Pages::None)
    }

    fn allocated(len: usize, pages: Pages) -> Result<Self, MemoryError> {
        can_be_had(len)
            .and_then(|()| memory::sealed(len))
            .and_then(|memory| Self::map(memory, len, ProtFlags::READ | ProtFlags::WRITE, pages))
            .map_err(|error| MemoryError::Exhausted { need: len, error })
    }

    /// Maps the first `need` bytes of memory from a peer, with all pages present.
    pub(crate) fn received(memory: SharedMemory, need: usize) -> Result<Self, MemoryError> {
        Self::mapped(memory, need, ProtFlags::READ | ProtFlags::WRITE, Pages::All)
    }

    /// Maps the first `need` bytes of memory from a peer for reading only, so that a reader cannot corrupt its producer by
    /// mistake. Its pages come with [`Self::populate`] or at their first access.
    pub(crate) fn received_read_only(memory: SharedMemory, need: usize) -> Result<Self, MemoryError> {
        Self::mapped(memory, need, ProtFlags::READ, Pages::None)
    }

    fn mapped(
        memory: SharedMemory,
        need: usize,
        access: ProtFlags,
        pages: Pages,
    ) -> Result<Self, MemoryError> {
        if memory.is_empty() || need == 0 {
            return Err(MemoryError::TooSmall { have: 0, need });
        }
        let exhausted = |error| MemoryError::Exhausted { need, error };
        let memory = memory.into_descriptor().map_err(exhausted)?;
        let have = memory::sealed_size(&memory)?;
        if have < need {
            return Err(MemoryError::TooSmall { have, need });
        }
        Self::map(memory, need, access, pages).map_err(exhausted)
    }

    /// Maps `len` bytes of memory whose size is sealed, and which has them.
    fn map(memory: OwnedFd, len: usize, access: ProtFlags, pages: Pages) -> std::io::Result<Self> {
        let flags = match pages {
            Pages::All => MapFlags::SHARED | MapFlags::POPULATE,
            Pages::None => MapFlags::SHARED,
        };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { mmap(std::ptr::null_mut(), len, access, flags, &memory, 0) }?;
        let base = NonNull::new(base.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        Ok(Self { memory, base, len, access })
    }

    /// Makes the pages of `range` present, all in one call of the system.
    pub(crate) fn populate(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.len);
        let writable = self.access.contains(ProtFlags::WRITE);
        let advice = if writable { Advice::LinuxPopulateWrite } else { Advice::LinuxPopulateRead };
        // The call refuses an address within a page; slots begin at multiples of 4 KiB, for any page size.
        let start = range.start - range.start % page_bytes();
        // SAFETY: in bounds of this value's mapping by the assertion; the advice changes no byte.
        let _ = unsafe { madvise(self.base.as_ptr().add(start).cast(), range.end - start, advice) };
        // Where the kernel does not know the advice (before 5.14), the pages come at their first access.
    }

    /// Returns another handle to the same memory, to be sent to another process.
    pub(crate) fn share(&self) -> Result<SharedMemory, MemoryError> {
        can_be_mapped(self.len)
            .and_then(|()| SharedMemory::carrying(self.memory.as_fd()))
            .map_err(|error| MemoryError::Exhausted { need: self.len, error })
    }

    /// Returns the address of a structure at the start of the region.
    pub(crate) fn start<T>(&self) -> NonNull<T> {
        assert!(size_of::<T>() <= self.len);
        self.base.cast()
    }

    /// Returns bytes that are not written while the slice lives.
    ///
    /// # Safety
    /// The slot protocol gives the caller a share of `range`: no process writes it meanwhile.
    pub(crate) unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds by the assertion; unwritten by the caller's promise.
        unsafe { slice::from_raw_parts(self.base.as_ptr().add(range.start), range.len()) }
    }

    /// Returns bytes that nothing else accesses while the slice lives.
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

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: this value's own mapping, of which no reference is left. It fails only for arguments that `mmap` did
        // not return.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Checks that the system has descriptors and addresses left for `len` bytes, because ipc-channel panics without them.
fn can_be_mapped(len: usize) -> std::io::Result<()> {
    memory::check_descriptors()?;
    // SAFETY: a new mapping at an address of the kernel's choice, unmapped before anything uses it.
    unsafe {
        let probe = mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::empty(), MapFlags::PRIVATE)?;
        munmap(probe, len)?;
    }
    Ok(())
}

/// Initialises ipc-channel while descriptors are available: its first send or receive reads a limit with a socket of
/// its own, and panics if it cannot create one.
///
/// # Errors
/// When the system has no descriptors left.
pub fn prepare() -> std::io::Result<()> {
    can_be_mapped(1)?;
    let (sender, _receiver) = channel()?;
    sender.send(())
}

/// Checks that memory is available too: overcommitted memory kills the process on first access.
fn can_be_had(len: usize) -> std::io::Result<()> {
    can_be_mapped(len)?;
    if len >= LARGE_BYTES
        && let Some(available) = available_bytes()
        && available < len as u64
    {
        return Err(std::io::Error::other(format!("{} KiB of memory are available", available / 1024)));
    }
    Ok(())
}

/// Returns the memory that the kernel can provide without swapping; `None` if unknown.
fn available_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}
