//! The driver `realsense`: live RealSense cameras, and recordings that librealsense made of them.
//!
//! Cameras and `.bag` files are handled alike. Their sensors are opened one by one, all frames of librealsense go through
//! one bounded queue, and frames of the same instant are gathered into framesets here. librealsense's own pipeline is
//! not used: it repeats the last frame of a stream that has stopped and withholds frames without a partner, but every
//! frame of a recording has to be delivered.
//!
//! Frames are held, not copied: see [`RealSense`] for how that stays below librealsense's limits.
//!
//! * `options`, `request`: the options of a topology, and the checked request
//! * `turn`: the host-wide lock for enumerate, open and reset
//! * `find`, `profiles`: selects the device and its streams
//! * `settings`: the settings of a live camera, checked against it
//! * `recording`: the file of a live camera's recording
//! * `camera`: an open device with its streams and running sensors, and its description
//! * `convert`: converts frames and lenses of librealsense to camrig's
//! * `gather`: gathers frames into framesets, without librealsense
//! * `motion`: selects the samples of motion of each frameset
//! * `filters`: processes the frames of a frameset
//! * `driver`: [`RealSense`], the driver itself
//! * `sys`: the calls that realsense-rust lacks, and all of this crate's `unsafe`
//!
//! It depends on no actor, no link and no slot: framesets are published through the [`camrig::CameraOutput`].

mod camera;
mod convert;
mod driver;
mod filters;
mod find;
mod gather;
mod motion;
mod options;
mod profiles;
mod recording;
mod request;
mod settings;
mod sys;
#[cfg(test)]
mod tests;
mod turn;

pub use driver::RealSense;
pub use filters::{Align, Filters};
pub use options::{ColorFormat, HardwareSync, Options};
pub use settings::Setting;
