//! The stock camrig program: everything that camrig has, registered.

use std::process::ExitCode;

use camrig::App;
use camrig_realsense::{Options, RealSense};
use camrig_view::View;

fn main() -> ExitCode {
    let app = App::new().actor("view", View::new).demo(include_str!("demo.toml"));
    camrig_record::add_to(app)
        .driver::<RealSense>("realsense")
        .usb::<RealSense>("realsense", Options::usb_demand)
        .main()
}
