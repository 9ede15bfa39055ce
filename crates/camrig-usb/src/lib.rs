//! USB and Ethernet bandwidth: the demand of cameras, the budgets of controllers and links, and the controllers and links of a
//! machine.
//!
//! * [`UsbDemand`]: the data rates of a camera, and the selection of its device
//! * [`UsbTree`], [`UsbSettings`]: the devices of a machine and its settings, read from sysfs
//! * [`Interface`]: an Ethernet interface, read from sysfs
//! * [`Budgets`], [`plan()`]: the data rates of each controller's cameras, compared with its budget
//!
//! This crate does not depend on drivers, actors or topologies, and prints nothing.
#![forbid(unsafe_code)]

mod attribute;
mod demand;
mod network;
mod plan;
mod tree;

pub use demand::UsbDemand;
pub use network::Interface;
pub use plan::{
    Assessment, Budgets, CameraLocation, CameraPlan, ControllerPlan, LargestProfile, MEGABITS_MAX, Plan,
    UsbCamera, find, is_on_ethernet, largest_transfers_mb, meant, plan, transfers_mb,
};
pub use tree::{RULES_FOLDERS, USB_TREE, UsbDevice, UsbSettings, UsbTree, is_of_realsense};
