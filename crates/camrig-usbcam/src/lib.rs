//! Emulated Intel RealSense D4xx cameras over USB/IP.
//!
//! The kernel's `vhci_hcd` attaches them as USB devices, `uvcvideo` binds to them, and librealsense opens them like
//! real ones. All answers come from reading librealsense and the UVC specification: a test that passes shows that
//! librealsense accepts them, not that a camera's firmware gives the same answers.
//!
//! * [`models`]: D405, D435, D455 as data, one file for each model
//! * [`descriptors`], [`calibration`], [`controls`], [`hwmon`], [`motion`]: the parts of a device, pure
//! * [`device`]: control transfers in, answers and effects out, pure
//! * [`frames`]: payloads with metadata and pixels, pure; the pixels are those of camrig's synthetic cameras
//! * [`faults`]: faults as commands
//! * [`usbip`], [`server`]: the wire and the threads
//! * [`vhci`]: attaches cameras to this machine's kernel
//!
//! The crate `usbip` (0.9.0) was considered first: it handles the URBs of a connection one after the other, so that a bulk URB
//! that waits for a frame holds up every control transfer, and it answers an unlink message without looking for the URB.

pub mod calibration;
pub mod controls;
pub mod descriptors;
pub mod device;
pub mod faults;
pub mod frames;
pub mod hwmon;
pub mod models;
pub mod motion;
pub mod server;
pub mod usbip;
pub mod vhci;

#[cfg(test)]
mod tests;
