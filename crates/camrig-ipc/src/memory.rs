//! Memory that can be sent to another process: sealed, so that no process can shrink it while another one reads it.
//!
//! A process that reads a page beyond the end of a file gets a signal and dies. So memory is a `memfd` whose size is
//! sealed, and memory of another kind is refused.
//!
//! ipc-channel makes memory itself, without the permission to seal it, and accepts no descriptor for a message. So a
//! [`SharedMemory`] is made with one byte, and its descriptor and mapping are then replaced with
//! those of the sealed memory.
#![allow(unsafe_code)] // The descriptor and the mapping of a `SharedMemory` are replaced.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

use ipc_channel::ipc::IpcSharedMemory;
use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat, makedev,
    memfd_create,
};
use rustix::io::{DupFlags, Errno, dup3, fcntl_dupfd_cloexec};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use serde::{Deserialize, Serialize};

/// The start of the name of memory; the ID of the process that made it follows.
pub(crate) const NAME: &str = "camrig-shared-memory.";

/// The seals of memory that is sent: its size never changes.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Free descriptors required before memory is sent: ipc-channel duplicates it once for the message and once more while
/// it is encoded, a message contains at most two such, and other threads may allocate some meanwhile.
const DESCRIPTORS_LEFT: usize = 5;

/// The reason why shared memory cannot be used.
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
    /// A peer sent memory that it can shrink.
    #[error("shared memory of {have} bytes is not sealed: its sender could shrink it while it is read")]
    Unsealed {
        /// The size.
        have: usize,
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
    /// An announcement could not be sent, for example without a descriptor.
    #[error("an announcement cannot be sent: {0}")]
    Unsent(io::Error),
    /// The system has no memory, descriptors or addresses left.
    #[error("no shared memory of {} KiB is available: {error}", need.div_ceil(1024))]
    Exhausted {
        /// The requested size in bytes.
        need: usize,
        /// The missing resource.
        error: io::Error,
    },
}

/// Shared memory that can be sent to another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedMemory(IpcSharedMemory);

impl SharedMemory {
    /// Makes a handle that carries this memory, which has at least one byte, to another process.
    ///
    /// # Errors
    /// If the system has no descriptors left, or no `/proc`.
    pub(crate) fn carrying(memory: BorrowedFd<'_>) -> io::Result<Self> {
        check_descriptors()?;
        let carrier = IpcSharedMemory::from_byte(0, 1);
        let number = descriptors_of(&carrier)?.next().ok_or(io::ErrorKind::NotFound)?;
        replace(&carrier, number, memory)?;
        Ok(Self(carrier))
    }

    /// Returns a descriptor of the memory.
    ///
    /// # Errors
    /// If the system has no descriptors left, or no `/proc`.
    pub(crate) fn into_descriptor(self) -> io::Result<OwnedFd> {
        let file = file_of(&self.0)?;
        let own = descriptors_of(&self.0)?.find_map(|number| duplicate(number, file).transpose());
        own.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
    }

    /// Returns whether it has no bytes.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Replaces the descriptor `number` and the mapping of `carrier` with those of `memory`.
fn replace(carrier: &IpcSharedMemory, number: RawFd, memory: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the number is that of `carrier`, which nothing else knows, so nothing closes it meanwhile. It is given back
    // below.
    let mut descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    let replaced = dup3(memory, &mut descriptor, DupFlags::CLOEXEC);
    let _given_back = descriptor.into_raw_fd();
    replaced?;
    let (page, access) = (carrier.as_ptr().cast_mut().cast(), ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: the page is the mapping of `carrier`, to which no reference is left; the memory has at least a byte.
    unsafe { mmap(page, carrier.len(), access, MapFlags::SHARED | MapFlags::FIXED, memory, 0) }?;
    Ok(())
}

/// Duplicates a descriptor of this process; returns `None` if it is not, or no longer, one of `file`.
fn duplicate(number: RawFd, file: (u64, u64)) -> io::Result<Option<OwnedFd>> {
    // SAFETY: it is only duplicated, and the duplicate is checked: another thread may have closed it.
    match fcntl_dupfd_cloexec(unsafe { BorrowedFd::borrow_raw(number) }, 0) {
        Ok(own) => {
            let stat = fstat(&own)?;
            Ok(((stat.st_dev, stat.st_ino) == file).then_some(own))
        }
        Err(Errno::BADF) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes zeroed memory of `len` bytes, which are all reserved, and seals its size. So memory that the system does not have is
/// missed here, not at the first access to a page, which would end the process.
pub(crate) fn sealed(len: usize) -> io::Result<OwnedFd> {
    let memory = memfd_create(
        format!("{NAME}{}", std::process::id()),
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    fallocate(&memory, FallocateFlags::empty(), 0, len as u64).map_err(|errno| match errno {
        Errno::FBIG => {
            let error = io::Error::from(errno);
            io::Error::new(
                error.kind(),
                format!("{error}; `ulimit -f` limits files, and shared memory as well"),
            )
        }
        _ => errno.into(),
    })?;
    fcntl_add_seals(&memory, SEALS)?;
    Ok(memory)
}

/// Returns the size of memory that was sent.
///
/// # Errors
/// If the memory can still be shrunk.
pub(crate) fn sealed_size(memory: impl AsFd) -> Result<usize, MemoryError> {
    // Not every file can be sealed: one that cannot has no seals.
    let seals = fcntl_get_seals(&memory).unwrap_or(SealFlags::empty());
    let have = fstat(&memory).map_or(0, |stat| usize::try_from(stat.st_size).unwrap_or(0));
    if seals.contains(SealFlags::SHRINK) { Ok(have) } else { Err(MemoryError::Unsealed { have }) }
}

/// Checks that the system has descriptors left, because ipc-channel panics without them.
pub(crate) fn check_descriptors() -> io::Result<()> {
    let probes: [_; DESCRIPTORS_LEFT] =
        std::array::from_fn(|_| memfd_create("camrig-probe", MemfdFlags::CLOEXEC));
    probes.into_iter().try_for_each(|probe| probe.map(drop))?;
    Ok(())
}

/// Returns the descriptors of this process that refer to the file mapped at `mapping`.
fn descriptors_of(mapping: &[u8]) -> io::Result<impl Iterator<Item = RawFd> + use<>> {
    let file = file_of(mapping)?;
    let entries = fs::read_dir("/proc/self/fd")?.filter_map(Result::ok);
    Ok(entries.filter_map(move |entry| {
        let metadata = fs::metadata(entry.path()).ok()?;
        let same = (metadata.dev(), metadata.ino()) == file;
        same.then(|| entry.file_name().to_str()?.parse().ok()).flatten()
    }))
}

/// Returns the device and the inode of the file that is mapped there.
fn file_of(mapping: &[u8]) -> io::Result<(u64, u64)> {
    let maps = fs::read("/proc/self/maps")?;
    let file = file_at(&String::from_utf8_lossy(&maps), mapping.as_ptr().addr());
    file.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "/proc/self/maps does not show a mapping"))
}

/// Returns the device and the inode of the file at an address, by the content of `/proc/self/maps`.
fn file_at(maps: &str, address: usize) -> Option<(u64, u64)> {
    let hex = |digits: &str| u32::from_str_radix(digits, 16).ok();
    maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        let (major, minor) = words.nth(2)?.split_once(':')?;
        let file = (makedev(hex(major)?, hex(minor)?), words.next()?.parse().ok()?);
        range.contains(&address).then_some(file)
    })
}

#[cfg(test)]
#[cfg(not(shuttle))]
impl SharedMemory {
    /// Makes sealed memory with this content.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self(IpcSharedMemory::from_bytes(bytes));
        }
        let memory = fs::File::from(sealed(bytes.len()).unwrap());
        std::os::unix::fs::FileExt::write_all_at(&memory, bytes, 0).unwrap();
        Self::carrying(memory.as_fd()).unwrap()
    }

    /// Makes memory with this content that is not sealed, as any peer can.
    pub(crate) fn unsealed(bytes: &[u8]) -> Self {
        Self(IpcSharedMemory::from_bytes(bytes))
    }

    /// Returns the content.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let memory = fs::File::from(self.clone().into_descriptor().unwrap());
        let mut bytes = vec![0; memory.metadata().unwrap().len() as usize];
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, 0).unwrap();
        bytes
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::channel::channel;

    #[test]
    fn memory_that_is_sent_is_the_same_and_keeps_its_size() {
        let memory = sealed(10_000).unwrap();
        let (sender, receiver) = channel().unwrap();
        sender.send(SharedMemory::carrying(memory.as_fd()).unwrap()).unwrap();
        let received = fs::File::from(receiver.receive().unwrap().into_descriptor().unwrap());
        assert_eq!(sealed_size(&received).unwrap(), 10_000);
        std::os::unix::fs::FileExt::write_all_at(&received, b"seen", 9_000).unwrap();
        let mut seen = [0; 4];
        let memory = fs::File::from(memory);
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut seen, 9_000).unwrap();
        assert_eq!(seen, *b"seen");
        for (file, size) in [(&memory, 0), (&memory, 9_999), (&received, 0), (&received, 20_000)] {
            assert_eq!(file.set_len(size).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn all_memory_is_reserved_before_it_is_touched() {
        let memory = fs::File::from(sealed(10 << 20).unwrap());
        assert!(memory.metadata().unwrap().blocks() * 512 >= 10 << 20);
    }

    #[test]
    fn memory_without_seals_is_refused() {
        let memory = SharedMemory::unsealed(&[1; 5000]).into_descriptor().unwrap();
        let refused = sealed_size(&memory).unwrap_err().to_string();
        let message =
            "shared memory of 5000 bytes is not sealed: its sender could shrink it while it is read";
        assert_eq!(refused, message);
        // A file is not memory.
        let refused = sealed_size(fs::File::open("/proc/self/exe").unwrap()).unwrap_err();
        assert!(matches!(refused, MemoryError::Unsealed { have } if have > 0));
    }

    #[test]
    fn no_descriptor_stays_open() {
        let memory = sealed(1).unwrap();
        let identity = fstat(&memory).unwrap();
        let open = || {
            let own = fs::read_dir("/proc/self/fd").unwrap().flatten();
            own.filter(|entry| fs::metadata(entry.path()).is_ok_and(|file| file.ino() == identity.st_ino))
                .count()
        };
        for _ in 0..100 {
            drop(SharedMemory::carrying(memory.as_fd()).unwrap().clone().into_descriptor().unwrap());
        }
        assert_eq!(open(), 1);
    }

    #[test]
    fn the_file_at_an_address_is_found_in_the_table_of_mappings() {
        let maps = "\
            7f0000000000-7f0000001000 r--p 00000000 fd:01 77                         /usr/lib/libc.so.6\n\
            7f0000001000-7f0000003000 rw-s 00000000 00:01 1234                       /memfd:camrig (deleted)\n\
            7f0000003000-7f0000004000 rw-p 00000000 00:00 0 \n\
            a line that is none\n";
        assert_eq!(file_at(maps, 0x7f00_0000_1000), Some((1, 1234)));
        assert_eq!(file_at(maps, 0x7f00_0000_2fff), Some((1, 1234)));
        assert_eq!(file_at(maps, 0x7f00_0000_0fff), Some((makedev(0xfd, 1), 77)));
        assert_eq!(file_at(maps, 0x7f00_0000_4000), None);
    }
}
