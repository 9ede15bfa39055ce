//! Mapped shared memory: the one place that turns addresses into references.
//!
//! It knows neither slots nor link states; their modules say who may touch which bytes when.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::slice;

use ipc_channel::ipc::IpcSharedMemory;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

/// From this size on, what the system has left is looked up before it is asked for.
const LARGE_BYTES: usize = 1 << 20;

/// So many descriptors have to be left before one is taken: memory that is sent takes another one until it has
/// gone, a message has two such at most, and other threads may take some meanwhile.
const DESCRIPTORS_LEFT: usize = 5;

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
    /// The system has none left.
    #[error("there is no shared memory of {} KiB to be had: {error}", need.div_ceil(1024))]
    Exhausted {
        /// How many bytes were asked for.
        need: usize,
        /// What there is too little of.
        error: std::io::Error,
    },
}

/// A structure that lives in shared memory.
///
/// # Safety
/// Every field is an atomic (or an array of them), so that any bit pattern is a value and any number of
/// processes may touch it at once; its alignment is at most that of a page.
pub(crate) unsafe trait Shared {}

/// A structure at the start of a region of its own.
#[cfg_attr(shuttle, allow(dead_code))]
pub(crate) struct Mapped<T>(Region, PhantomData<T>);

#[cfg_attr(shuttle, allow(dead_code))]
impl<T: Shared> Mapped<T> {
    /// A structure of zeroes.
    pub(crate) fn new() -> Result<Self, MemoryError> {
        Ok(Self(Region::zeroed(size_of::<T>())?, PhantomData))
    }

    /// The same structure, received from another process.
    pub(crate) fn received(memory: IpcSharedMemory) -> Result<Self, MemoryError> {
        Ok(Self(Region::received(memory, size_of::<T>())?, PhantomData))
    }

    /// Another handle to the same memory, to be sent to another process.
    pub(crate) fn share(&self) -> Result<IpcSharedMemory, MemoryError> {
        self.0.share()
    }
}

impl<T: Shared> Deref for Mapped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.cell()
    }
}

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
    pub(crate) fn zeroed(len: usize) -> Result<Self, MemoryError> {
        can_be_had(len).map_err(|error| MemoryError::Exhausted { need: len, error })?;
        let region = Self::map(IpcSharedMemory::from_byte(0, len));
        debug_assert_eq!(region.len, len);
        Ok(region)
    }

    /// Memory that a peer sent, which must have at least `need` bytes; all of their pages are present.
    pub(crate) fn received(memory: IpcSharedMemory, need: usize) -> Result<Self, MemoryError> {
        let region = Self::map(memory);
        if region.len < need || need == 0 {
            return Err(MemoryError::TooSmall { have: region.len, need });
        }
        // SAFETY: the range is in this mapping. Populating changes no content. Failure only means that pages
        // come at first touch, as on kernels before 5.14. Not all that was sent: that may be any amount.
        let _ = unsafe { madvise(region.base.as_ptr().cast(), need, Advice::LinuxPopulateRead) };
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
    pub(crate) fn share(&self) -> Result<IpcSharedMemory, MemoryError> {
        can_be_mapped(self.len).map_err(|error| MemoryError::Exhausted { need: self.len, error })?;
        Ok(self.memory.clone())
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

/// Whether the system has descriptors and addresses left for `len` bytes: ipc-channel panics where it has none.
fn can_be_mapped(len: usize) -> std::io::Result<()> {
    let probes: [_; DESCRIPTORS_LEFT] =
        std::array::from_fn(|_| memfd_create("camrig-probe", MemfdFlags::CLOEXEC));
    probes.into_iter().try_for_each(|probe| probe.map(drop))?;
    // SAFETY: a new mapping at an address of the kernel's choice, unmapped before anyone knows it.
    unsafe {
        let probe = mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::empty(), MapFlags::PRIVATE)?;
        munmap(probe, len)?;
    }
    Ok(())
}

/// Makes ipc-channel ready while there are descriptors: it looks a limit up when it first sends or receives, on
/// a socket of its own, and panics where it gets none.
///
/// # Errors
/// When the system has no descriptors left.
pub fn prepare() -> std::io::Result<()> {
    can_be_mapped(1)?;
    let (sender, _receiver) = ipc_channel::ipc::channel()?;
    sender.send(()).map_err(std::io::Error::other)
}

/// Whether there is memory left as well: what is promised but not there kills the process at first touch.
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

/// What the kernel believes that it can give without swapping; none when it does not say.
fn available_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}
