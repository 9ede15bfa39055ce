//! Mapped shared memory: the only module that turns addresses into references.
//!
//! It depends on neither slots nor link states; their modules define who may access which bytes when.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

use crate::channel::{self, SharedMemory};

/// From this size on, the available memory is checked before an allocation.
const LARGE_BYTES: usize = 1 << 20;

/// Free descriptors required before allocating one: memory that is being sent needs another one until it has arrived, a
/// message contains at most two such, and other threads may allocate some meanwhile.
const DESCRIPTORS_LEFT: usize = 5;

/// Why shared memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A peer sent less memory than its announcement needs.
    #[error("shared memory has {have} bytes, but {need} were announced")]
    TooSmall {
        /// The actual size.
        have: usize,
        /// The announced size.
        need: usize,
    },
    /// A peer sent something else.
    #[error("shared memory begins with {found:#018x}, which is not the magic number of {structure}")]
    Magic {
        /// The structure that was expected.
        structure: &'static str,
        /// The first eight bytes, as a little-endian number.
        found: u64,
    },
    /// A peer of another version sent a structure of another layout.
    #[error("{structure} of layout version {found} was sent, but this program reads version {known}")]
    Version {
        /// The structure.
        structure: &'static str,
        /// The version of the memory that was sent.
        found: u32,
        /// The version that this program reads.
        known: u32,
    },
    /// The system refused to protect the memory.
    #[error("shared memory cannot be protected: {0}")]
    Protect(std::io::Error),
    /// The system has no memory, descriptors or addresses left.
    #[error("there is no shared memory of {} KiB to be had: {error}", need.div_ceil(1024))]
    Exhausted {
        /// The requested size in bytes.
        need: usize,
        /// The missing resource.
        error: std::io::Error,
    },
}

/// A structure in shared memory.
///
/// # Safety
/// Every field is an atomic (or an array of them), so that any bit pattern is a value and any number of
/// processes may touch it at once; its alignment is at most [`HEAD_BYTES`].
pub(crate) unsafe trait Shared {
    /// What messages call it, with an article.
    const NAME: &'static str;
    /// The first eight bytes of its memory.
    const MAGIC: [u8; 8];
    /// The version of its layout: changed with every change of a field.
    const VERSION: u32;
}

/// The bytes before a structure: its magic number, the version of its layout, and zeroes.
pub(crate) const HEAD_BYTES: usize = 64;

#[repr(C, align(64))]
struct Head {
    magic: AtomicU64,
    version: AtomicU32,
}

/// A structure in a region of its own, behind its [`Head`].
#[repr(C)]
struct Headed<T> {
    head: Head,
    body: T,
}

const _: () = assert!(size_of::<Head>() == HEAD_BYTES);

/// A structure in a region of its own.
pub(crate) struct Mapped<T>(Region, PhantomData<T>);

impl<T: Shared> Mapped<T> {
    /// Allocates a structure of zeros.
    pub(crate) fn new() -> Result<Self, MemoryError> {
        let mapped = Self(Region::zeroed(size_of::<Headed<T>>())?, PhantomData);
        let head = &mapped.headed().head;
        head.version.store(T::VERSION, Ordering::Relaxed);
        head.magic.store(u64::from_le_bytes(T::MAGIC), Ordering::Relaxed);
        Ok(mapped)
    }

    /// Maps a structure received from another process.
    pub(crate) fn received(memory: SharedMemory) -> Result<Self, MemoryError> {
        let mapped = Self(Region::received(memory, size_of::<Headed<T>>())?, PhantomData);
        let head = &mapped.headed().head;
        let (magic, version) = (head.magic.load(Ordering::Relaxed), head.version.load(Ordering::Relaxed));
        if magic != u64::from_le_bytes(T::MAGIC) {
            return Err(MemoryError::Magic { structure: T::NAME, found: magic });
        }
        if version != T::VERSION {
            return Err(MemoryError::Version { structure: T::NAME, found: version, known: T::VERSION });
        }
        Ok(mapped)
    }

    /// Returns another handle to the same memory, to be sent to another process.
    pub(crate) fn share(&self) -> Result<SharedMemory, MemoryError> {
        self.0.share()
    }

    fn headed(&self) -> &Headed<T> {
        self.0.structure()
    }
}

impl<T: Shared> Deref for Mapped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.headed().body
    }
}

/// One mapping of one shared-memory object.
pub(crate) struct Region {
    memory: SharedMemory,
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: `base` points into the mapping that `memory` owns; the mapping does not move and lives as long as
// this value. Access goes through `structure` (atomics) and `bytes`/`bytes_mut` (unsafe, exclusive by protocol).
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Allocates `len` zeroed bytes with every page present. `len` is greater than zero.
    pub(crate) fn zeroed(len: usize) -> Result<Self, MemoryError> {
        can_be_had(len).map_err(|error| MemoryError::Exhausted { need: len, error })?;
        let region = Self::map(channel::zeroed(len));
        debug_assert_eq!(region.len, len);
        Ok(region)
    }

    /// Maps memory from a peer, which must have at least `need` bytes, with all pages present.
    pub(crate) fn received(memory: SharedMemory, need: usize) -> Result<Self, MemoryError> {
        let region = Self::map(memory);
        if region.len < need || need == 0 {
            return Err(MemoryError::TooSmall { have: region.len, need });
        }
        // SAFETY: the range is in this mapping. Populating changes no content. Failure only means that pages
        // come at first touch, as on kernels before 5.14. Not all that was sent: that may be any amount.
        let _ = unsafe { madvise(region.base.as_ptr().cast(), need, Advice::LinuxPopulateRead) };
        Ok(region)
    }

    fn map(mut memory: SharedMemory) -> Self {
        // SAFETY: only the address is taken; the slice is gone before anyone else sees the mapping.
        let bytes = unsafe { memory.0.deref_mut() };
        let len = bytes.len();
        // A slice's pointer is never null, not even an empty one's.
        let base = NonNull::from(bytes).cast();
        Self { memory, base, len }
    }

    /// Makes this mapping permanently read-only, so that a reader cannot corrupt its producer by mistake.
    pub(crate) fn read_only(self) -> Result<Self, MemoryError> {
        // SAFETY: the range is this mapping, and nobody holds a `&mut` into it: it was just received.
        unsafe { mprotect(self.base.as_ptr().cast(), self.len, MprotectFlags::READ) }
            .map_err(|errno| MemoryError::Protect(errno.into()))?;
        Ok(self)
    }

    /// Another handle to the same memory, to be sent to another process.
    pub(crate) fn share(&self) -> Result<SharedMemory, MemoryError> {
        can_be_mapped(self.len).map_err(|error| MemoryError::Exhausted { need: self.len, error })?;
        Ok(self.memory.clone())
    }

    /// The structure of atomics at the start of the region, behind its head.
    fn structure<T: Shared>(&self) -> &Headed<T> {
        const { assert!(align_of::<T>() <= HEAD_BYTES) };
        assert!(size_of::<Headed<T>>() <= self.len);
        // SAFETY: in bounds by the assertion; mappings are page aligned; `T: Shared` and the head allow any content
        // and concurrent access.
        unsafe { self.base.cast().as_ref() }
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

/// Checks that the system has descriptors and addresses left for `len` bytes, because ipc-channel panics without them.
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

/// Initialises ipc-channel while descriptors are available: its first send or receive reads a limit with a socket of
/// its own, and panics if it cannot create one.
///
/// # Errors
/// When the system has no descriptors left.
pub fn prepare() -> std::io::Result<()> {
    can_be_mapped(1)?;
    let (sender, _receiver) = channel::channel()?;
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

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::{ActorCounters, LinkState, MatchCounters, Notifier};

    /// Whether memory of this structure is accepted whose byte at `index` is another one.
    fn accepts(
        share: impl Fn() -> SharedMemory,
        received: &dyn Fn(SharedMemory) -> Result<(), MemoryError>,
        index: usize,
    ) -> Result<(), String> {
        let mut bytes = share().0.to_vec();
        bytes[index] ^= 2;
        received(SharedMemory::of(&bytes)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_structure_is_refused_with_another_magic_number_version_or_size() {
        type Received<'a> = &'a dyn Fn(SharedMemory) -> Result<(), MemoryError>;
        let share = [
            LinkState::new().unwrap().share().unwrap(),
            ActorCounters::new().unwrap().share().unwrap(),
            MatchCounters::new().unwrap().share().unwrap(),
            Notifier::new().unwrap().share().unwrap(),
        ];
        let received: [Received<'_>; 4] = [
            &|memory| LinkState::received(memory).map(drop),
            &|memory| ActorCounters::received(memory).map(drop),
            &|memory| MatchCounters::received(memory).map(drop),
            &|memory| Notifier::received(memory).map(drop),
        ];
        let names = ["a link state", "an actor's counters", "the counters of a matching", "a notifier"];
        for (index, (received, name)) in received.into_iter().zip(names).enumerate() {
            let memory = || share[index].clone();
            received(memory()).unwrap();
            // Each accepts its own only.
            for other in share.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| other)
            {
                assert!(received(other.clone()).is_err(), "{name}");
            }
            let magic = accepts(memory, received, 7).unwrap_err();
            assert!(magic.ends_with(&format!(", which is not the magic number of {name}")), "{magic}");
            let version = format!("{name} of layout version 3 was sent, but this program reads version 1");
            assert_eq!(accepts(memory, received, 8), Err(version));
            assert_eq!(accepts(memory, received, HEAD_BYTES), Ok(()));
            let bytes = memory().0.to_vec();
            let cut = received(SharedMemory::of(&bytes[..bytes.len() - 64])).unwrap_err();
            assert!(matches!(cut, MemoryError::TooSmall { have, need } if have + 64 == need), "{cut}");
        }
    }
}
