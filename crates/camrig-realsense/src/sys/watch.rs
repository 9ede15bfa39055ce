//! Detects that a device was unplugged, by librealsense's event.
//!
//! Sensors report nothing about it: their frames just stop.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use realsense_sys as rs2;

use super::{Context, Fault, call};

/// The watched devices. A callback may run after its context was deleted, so it gets a number of this list instead of
/// a pointer.
static WATCHED: Mutex<BTreeMap<usize, WatchedDevice>> = Mutex::new(BTreeMap::new());

fn watched() -> MutexGuard<'static, BTreeMap<usize, WatchedDevice>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

struct WatchedDevice {
    device: NonNull<rs2::rs2_device>,
    gone: Arc<AtomicBool>,
}

// SAFETY: the pointer is only used while `WATCHED` is locked, and its entry is removed before the device is deleted, as `Watch`
// has it. librealsense's devices may be queried from any thread.
unsafe impl Send for WatchedDevice {}

/// Watches a device until it is dropped, which has to happen before the device is dropped.
pub(crate) struct Watch {
    number: usize,
    gone: Arc<AtomicBool>,
}

impl Watch {
    /// Watches `device`, which `context` found; a context can watch one device.
    ///
    /// # Safety
    /// The device is alive, and the watch is dropped before the device is.
    pub(super) unsafe fn new(context: &Context, device: NonNull<rs2::rs2_device>) -> Result<Self, Fault> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let gone = Arc::new(AtomicBool::new(false));
        watched().insert(number, WatchedDevice { device, gone: Arc::clone(&gone) });
        let watch = Self { number, gone };
        let user = ptr::without_provenance_mut::<c_void>(number);
        // SAFETY: the context is alive. The callback uses `user` as a number, never as a pointer.
        call(|error| unsafe {
            rs2::rs2_set_devices_changed_callback(context.0.as_ptr(), Some(on_change), user, error);
        })?;
        Ok(watch)
    }

    /// Returns whether the device was unplugged. This stays true when it comes back, because it then is a new device.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        watched().remove(&self.number);
    }
}

/// Called by librealsense when devices come and go; the caller of this function passes the ownership of both lists.
extern "C" fn on_change(
    removed: *mut rs2::rs2_device_list,
    added: *mut rs2::rs2_device_list,
    user: *mut c_void,
) {
    if let (Some(watched), false) = (watched().get(&user.addr()), removed.is_null()) {
        // SAFETY: the list is alive, and so is the device while it is watched, which the lock ensures.
        let contains =
            call(|error| unsafe { rs2::rs2_device_list_contains(removed, watched.device.as_ptr(), error) });
        if contains.is_ok_and(|contains| contains != 0) {
            watched.gone.store(true, Ordering::Release);
        }
    }
    for list in [removed, added].into_iter().filter(|list| !list.is_null()) {
        // SAFETY: librealsense passed the list on; it is deleted once.
        unsafe { rs2::rs2_delete_device_list(list) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::record;

    #[test]
    fn only_the_removed_device_is_reported_as_unplugged() {
        let context = Context::new().unwrap();
        let (ours, other) = (record("ours.bag", 1), record("other.bag", 1));
        let mut device = context.open_file(&ours.0, "ours").unwrap();
        let _other = context.open_file(&other.0, "other").unwrap();
        device.watch(&context).unwrap();
        context.remove_file(&other.0).unwrap();
        assert!(!device.is_gone());
        context.remove_file(&ours.0).unwrap();
        assert!(device.is_gone());
    }
}
