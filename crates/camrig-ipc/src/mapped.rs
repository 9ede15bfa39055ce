//! Structures in shared memory of their own: link states, counters, notifiers.
//!
//! Each begins with a magic number and the version of its layout, which a process checks before it uses a structure that it
//! received.
#![allow(unsafe_code)] // One place: the address of a region becomes a reference.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::memory::{MemoryError, SharedMemory};
use crate::region::Region;

/// A structure in shared memory.
///
/// # Safety
/// Every field is an atomic (or an array of them), so that any bit pattern is a value and any number of processes may access it
/// at the same time; its alignment is at most [`HEAD_BYTES`].
pub unsafe trait Shared {
    /// Its name in messages, with an article.
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

/// A structure in shared memory of its own, which other processes can map as well.
pub struct Mapped<T>(Region, PhantomData<T>);

impl<T: Shared> Mapped<T> {
    /// Creates a structure of zeros.
    ///
    /// # Errors
    /// If the system has no memory or descriptors left.
    pub fn new() -> Result<Self, MemoryError> {
        let mapped = Self(Region::zeroed(size_of::<Headed<T>>())?, PhantomData);
        let head = &mapped.headed().head;
        // No pair: the memory is sent to other processes afterwards.
        head.version.store(T::VERSION, Ordering::Relaxed);
        head.magic.store(u64::from_le_bytes(T::MAGIC), Ordering::Relaxed);
        Ok(mapped)
    }

    /// Maps a structure received from another process.
    ///
    /// # Errors
    /// If the memory is too small, can be shrunk, or begins with another magic number or version.
    pub fn received(memory: SharedMemory) -> Result<Self, MemoryError> {
        let mapped = Self(Region::received(memory, size_of::<Headed<T>>())?, PhantomData);
        let head = &mapped.headed().head;
        // No pair: written before the memory was sent.
        let (magic, version) = (head.magic.load(Ordering::Relaxed), head.version.load(Ordering::Relaxed));
        if magic != u64::from_le_bytes(T::MAGIC) {
            return Err(MemoryError::Magic { structure: T::NAME, found: magic });
        }
        if version != T::VERSION {
            return Err(MemoryError::Version { structure: T::NAME, found: version, known: T::VERSION });
        }
        Ok(mapped)
    }

    /// Returns another handle to the structure, to be sent to another process.
    ///
    /// # Errors
    /// If the system has no descriptors or addresses left.
    pub fn share(&self) -> Result<SharedMemory, MemoryError> {
        self.0.share()
    }

    fn headed(&self) -> &Headed<T> {
        const { assert!(align_of::<T>() <= HEAD_BYTES) };
        // SAFETY: `start` checks the size; mappings are page aligned; `T: Shared` and the head allow any content and
        // concurrent access.
        unsafe { self.0.start().as_ref() }
    }
}

impl<T: Shared> Deref for Mapped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.headed().body
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::{ActorCounters, LinkState, MatchCounters, Notifier};

    /// Returns whether memory of this structure is accepted whose byte at `index` is another one.
    fn accepts(
        share: impl Fn() -> SharedMemory,
        received: &dyn Fn(SharedMemory) -> Result<(), MemoryError>,
        index: usize,
    ) -> Result<(), String> {
        let mut bytes = share().bytes();
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
            let known = memory().bytes()[8];
            let version = format!(
                "{name} of layout version {} was sent, but this program reads version {known}",
                known ^ 2
            );
            assert_eq!(accepts(memory, received, 8), Err(version));
            assert_eq!(accepts(memory, received, HEAD_BYTES), Ok(()));
            let bytes = memory().bytes();
            let cut = received(SharedMemory::of(&bytes[..bytes.len() - 64])).unwrap_err();
            assert!(matches!(cut, MemoryError::TooSmall { have, need } if have + 64 == need), "{cut}");
            let unsealed = received(SharedMemory::unsealed(&bytes)).unwrap_err();
            assert!(matches!(unsealed, MemoryError::Unsealed { have } if have == bytes.len()), "{unsealed}");
        }
    }
}
