//! The stock camrig program: everything that camrig has, registered.

#[cfg(not(feature = "realsense"))]
mod stand_in;

use std::process::ExitCode;

use camrig::App;

fn main() -> ExitCode {
    with_realsense(camrig_record::add_to(App::new())).main()
}

#[cfg(feature = "realsense")]
fn with_realsense(app: App) -> App {
    app.driver::<camrig_realsense::RealSense>("realsense")
}

#[cfg(not(feature = "realsense"))]
fn with_realsense(app: App) -> App {
    let reason = "it was built without librealsense; build it with `--features realsense`";
    app.absent_driver::<stand_in::RealSense>("realsense", reason)
}
