//! Synchronisation primitives of link ends, from the standard library, or from shuttle, which tests the orders of their
//! steps, or from loom, which tests their memory orderings.
//!
//! Built with `--cfg shuttle`, every access to one of them is a point at which another thread may run; with `--cfg orderings`
//! as well, a load may return each value that its ordering allows.

pub(crate) use std::sync::PoisonError;
/// The word that a thread sleeps on is also the kernel's, so it is never shuttle's. Tests of orderings do not sleep.
#[cfg(not(orderings))]
pub(crate) use std::sync::atomic::AtomicU32 as FutexWord;

#[cfg(orderings)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU32 as FutexWord, AtomicU64, fence},
};
#[cfg(all(shuttle, not(orderings)))]
pub(crate) use shuttle::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, fence},
};
#[cfg(not(shuttle))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, fence},
};

#[cfg(not(shuttle))]
pub(crate) use crate::mapped::Mapped;

/// A structure of this process only, because the atomics of shuttle and loom consist of more than their bits.
#[cfg(shuttle)]
pub struct Mapped<T>(Box<T>);

#[cfg(shuttle)]
#[allow(missing_docs)] // They are those of `crate::mapped::Mapped`.
impl<T: Default> Mapped<T> {
    pub fn new() -> Result<Self, crate::MemoryError> {
        Ok(Self(Box::default()))
    }

    pub fn received(_: crate::memory::SharedMemory) -> Result<Self, crate::MemoryError> {
        unimplemented!("with shuttle there is one process")
    }

    pub fn share(&self) -> Result<crate::memory::SharedMemory, crate::MemoryError> {
        unimplemented!("with shuttle there is one process")
    }
}

#[cfg(shuttle)]
impl<T> std::ops::Deref for Mapped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
