//! The stock camrig program: everything that camrig has, registered.

use std::process::ExitCode;

use camrig::App;
use camrig_realsense::{Options, RealSense};

fn main() -> ExitCode {
    let app = App::new().demo(include_str!("demo.toml"));
    camrig_record::add_to(camrig_view::add_to(app))
        .driver::<RealSense>("realsense")
        .usb::<RealSense>("realsense", Options::usb_demand)
        .main()
}
