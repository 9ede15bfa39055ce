//! The driver `realsense`: live RealSense cameras, and recordings that librealsense made of them.
//!
//! A camera and a `.bag` file take the same way. Its sensors are opened one by one, every frame that
//! librealsense hands out goes through one bounded queue, and frames of the same instant are gathered into
//! framesets here. librealsense's own pipeline is deliberately not used: it repeats the last frame of a
//! stream that fell silent and withholds frames that find no partner, and a recording has to come out whole.
//!
//! Frames are held, not copied: see [`RealSense`] for how that stays below librealsense's limits.
//!
//! * `options`, `request`: what a topology says, and what is asked for once it is checked
//! * `turn`: one process of the host at a time looks for cameras, opens or starts one
//! * `find`, `profiles`: which device is meant, and which of its streams
//! * `settings`: what is set on a live camera, checked against it
//! * `recording`: where a live camera's recording goes
//! * `camera`: a device with its streams chosen and its sensors running; what it says of itself
//! * `convert`: what librealsense says of frames and lenses, in camrig's terms
//! * `gather`: which frames make a frameset. It knows no librealsense
//! * `motion`: which samples of motion come with one
//! * `filters`: what is done to the frames of a frameset
//! * `driver`: [`RealSense`], the driver itself
//! * `sys`: the calls that realsense-rust lacks, and all of this crate's `unsafe`
//!
//! It deliberately knows no actor, no link and no slot: framesets leave through the [`camrig::CameraOutput`].

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
