//! Problems of a machine that affect a rig of cameras, with advice.
//!
//! [`examine`] reads `/proc`, `/sys`, `/etc` and `/run` below a root folder, which may be a copy from another machine,
//! and returns a [`Finding`] for each property that it examined. [`measure_disk`] is the only function that writes.
//!
//! This crate does not depend on drivers, actors or topologies, and prints nothing: [`Needs`] are the needs of a rig.
#![forbid(unsafe_code)]

mod disk;
mod finding;
mod kernel;
mod limits;
mod machine;
mod memory;
mod power;
mod root;
mod time;
mod usb;

use std::path::Path;

pub use disk::{DISK_BYTES, measure_disk};
pub use finding::{Finding, State};
use root::Root;

/// The needs of a rig, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Upper bound of the memory of its slots and queues in bytes; `None` without a topology.
    pub memory_bytes: Option<u64>,
    /// Number of actors; `None` without a topology.
    pub actors: Option<usize>,
    /// Size of the USB transfers of its cameras in MiB, with librealsense's RSUSB backend; `None` without a topology.
    pub transfers_mb: Option<u64>,
}

/// Returns the program that synchronises the system's clock of the machine whose file system is below `root`, such as
/// `chronyd`; `None` without one.
pub fn clock_synchronizer(root: &Path) -> Option<&'static str> {
    time::synchronizer(&Root::new(root))
}

/// Examines the machine whose file system is below `root`, which is `/` for this one.
///
/// The findings are in the order in which a user would solve them: the machine, USB, the kernel, power, memory,
/// limits, time. A file that cannot be read makes its finding a [`State::Note`] that names the unknown property.
pub fn examine(root: &Path, needs: Needs) -> Vec<Finding> {
    let root = Root::new(root);
    let machine = machine::Machine::read(&root);
    let cameras = usb::cameras(&root);
    let mut findings = vec![machine.finding()];
    findings.extend(usb::examine(&root, &cameras, needs.transfers_mb));
    findings.extend(kernel::examine(&root, &machine, &cameras));
    findings.extend(power::examine(&root, &machine));
    findings.extend(memory::examine(&root, needs.memory_bytes));
    findings.extend(limits::examine(&root, needs.actors));
    findings.push(time::examine(&root));
    findings
}
