//! The driver `realsense`: live RealSense cameras, and recordings that librealsense made of them.
//!
//! Cameras and `.bag` files are handled alike. Their sensors are opened one by one, all frames of librealsense go through
//! one bounded queue, and frames of the same instant are gathered into framesets here. librealsense's own pipeline is
//! not used: it repeats the last frame of a stream that has stopped and withholds frames without a partner, but every
//! frame of a recording has to be delivered.
//!
//! Frames are held, not copied: see [`RealSense`] for how that stays below librealsense's limits.
//!
//! * `options`, `settings`, `processing`: the options of a topology
//! * `streams`: formats and names of streams; `request`: the checked request; `names`: librealsense's options by name
//! * `realsense`: [`RealSense`], the driver itself; `library`: the functions that it calls in the half that needs librealsense
//! * `turn`: the host-wide lock for enumerate, open and reset
//! * `guess`: which cameras have to be opened to find the selected one; `checks`: which options they were checked with;
//!   `hints`: the files that keep both
//! * `find`, `profiles`: selects the device and its streams
//! * `reset`: the reset before the first opening
//! * `resolve`: the settings of a live camera, checked against it
//! * `subject`: the name of a device in messages
//! * `broken`: files that could not be played to their end
//! * `recording`: the file of a live camera's recording
//! * `camera`: an open device with its streams and running sensors, and its description
//! * `convert`: converts frames and intrinsics of librealsense to camrig's
//! * `controls`: the options of sensors, listed and set while they run
//! * `order`: which frames of a stream are new; `gather`: gathers frames into framesets; both without librealsense
//! * `motion`: selects the samples of motion of each frameset
//! * `filters`: processes the frames of a frameset; `rotation`: turns depth
//! * `driver`: the half of the driver that needs librealsense
//! * `version`: differences between versions of librealsense
//! * `repeats`: which of librealsense's messages are logged
//! * `sys`: the calls that realsense-rust lacks, and all of this crate's `unsafe`
//!
//! It depends on no actor, no link and no slot: framesets are published through the [`camrig::CameraOutput`].
//!
//! The first three lines need no librealsense and are always built; the feature `librealsense` adds the others.

mod library;
mod names;
mod options;
mod processing;
mod realsense;
mod request;
mod settings;
mod streams;

#[cfg(feature = "librealsense")]
mod broken;
#[cfg(feature = "librealsense")]
mod camera;
#[cfg(feature = "librealsense")]
mod checks;
#[cfg(feature = "librealsense")]
mod controls;
#[cfg(feature = "librealsense")]
mod convert;
#[cfg(feature = "librealsense")]
mod driver;
#[cfg(feature = "librealsense")]
mod filters;
#[cfg(feature = "librealsense")]
mod find;
#[cfg(feature = "librealsense")]
mod gather;
#[cfg(feature = "librealsense")]
mod guess;
#[cfg(feature = "librealsense")]
mod hints;
#[cfg(feature = "librealsense")]
mod motion;
#[cfg(feature = "librealsense")]
mod order;
#[cfg(feature = "librealsense")]
mod profiles;
#[cfg(feature = "librealsense")]
mod recording;
#[cfg(feature = "librealsense")]
mod repeats;
#[cfg(feature = "librealsense")]
mod reset;
#[cfg(feature = "librealsense")]
mod resolve;
#[cfg(feature = "librealsense")]
mod rotation;
#[cfg(feature = "librealsense")]
mod subject;
#[cfg(feature = "librealsense")]
mod sys;
#[cfg(test)]
#[cfg(feature = "librealsense")]
mod tests;
#[cfg(feature = "librealsense")]
mod turn;
#[cfg(feature = "librealsense")]
mod version;

pub use options::Options;
pub use processing::{Align, FilterChoice, Filters};
pub use realsense::RealSense;
pub use settings::{HardwareSync, Setting};
pub use streams::{ImageFormat, StreamChoice, StreamChoices};
