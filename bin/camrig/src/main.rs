//! The stock camrig program: everything that camrig has, registered.

#[cfg(not(feature = "realsense"))]
mod stand_in;

use std::process::ExitCode;

use camrig::App;
use camrig_view::View;

fn main() -> ExitCode {
    let app = App::new().actor("view", View::new).demo(include_str!("demo.toml"));
    with_realsense(camrig_record::add_to(app)).main()
}

#[cfg(feature = "realsense")]
fn with_realsense(app: App) -> App {
    use camrig_realsense::{Options, RealSense};
    app.driver::<RealSense>("realsense").usb::<RealSense>("realsense", Options::usb_demand)
}

#[cfg(not(feature = "realsense"))]
fn with_realsense(app: App) -> App {
    let reason = "it was built without librealsense; build it with `--features realsense`";
    app.absent_driver::<stand_in::RealSense>("realsense", reason)
        .usb::<stand_in::RealSense>("realsense", stand_in::Options::usb_demand)
}
