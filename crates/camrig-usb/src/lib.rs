//! USB bandwidth: the demand of cameras, the budgets of controllers, and the USB tree of a machine.
//!
//! * [`UsbDemand`]: what a camera needs, and how its device is selected
//! * [`UsbTree`], [`UsbSettings`]: the devices of a machine and its settings, read from sysfs
//! * [`Budgets`], [`plan()`]: whether each controller has what its cameras need
//!
//! This crate knows no driver, no actor and no topology, and prints nothing.
#![forbid(unsafe_code)]

mod demand;
mod plan;
mod tree;

pub use demand::UsbDemand;
pub use plan::{
    Assessment, Budgets, CameraPlan, ControllerPlan, LargestProfile, MEGABITS_MAX, Place, Plan, UsbCamera,
    find, meant, plan,
};
pub use tree::{RULES_FOLDERS, USB_TREE, UsbDevice, UsbSettings, UsbTree, is_of_realsense};
