//! Everything that the stock program has, for programs with drivers and processors of their own.
//!
//! ```no_run
//! use camrig::prelude::*;
//!
//! struct Count(u64);
//!
//! impl Processor for Count {
//!     fn process(&mut self, _: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
//!         self.0 += 1;
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     camrig_cli::app().processor("count", |_: NoOptions| Ok(Count(0))).main()
//! }
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "calibrate")]
mod calibrate;

use camrig::App;
use camrig_realsense::{Options, RealSense};

/// Creates a program with the processors `view` and `record`, the drivers `replay` and `realsense`, the commands
/// `record`, `replay` and `recording`, with the feature `calibrate` also `board`, `calibrate` and `calibration`, and all
/// that [`App::new`] has. `realsense` opens cameras with the feature `realsense` only. The feature `hosts` adds `join`
/// and `route`, and rigs over several hosts.
pub fn app() -> App {
    let app = App::new().demo(include_str!("demo.toml"));
    let app = camrig_record::add_to(camrig_view::add_to(app))
        .driver::<RealSense>("realsense")
        .usb::<RealSense>("realsense", Options::usb_demand);
    #[cfg(feature = "calibrate")]
    let app = calibrate::add_to(app);
    #[cfg(feature = "hosts")]
    let app = camrig_hosts::add_to(app);
    app
}
