//! Writes a recording that librealsense plays, without a camera: for tests, and to rehearse a topology.
//!
//! Each frameset is a Z16 and an RGB8 image, numbered from 0, dated by the device's clock; what they show is
//! a pure function of number and pixel, which `software.rs` documents. Writing takes as long as playing.

mod software;

use std::path::PathBuf;

use camrig::frame::StreamProfile;
use clap::Parser;
use software::{Identity, Scene, SoftwareCamera};

/// Write a .bag file of a software camera: Z16 depth and RGB8 color.
#[derive(Parser)]
struct Arguments {
    /// The file to write; it is replaced if it exists.
    out: PathBuf,
    /// How many pairs of a depth and a color frame.
    #[arg(long, default_value_t = 30)]
    framesets: u32,
    /// Width and height of both images, in pixels.
    #[arg(long, default_value = "64x48")]
    size: String,
    /// Frames of each stream per second.
    #[arg(long, default_value_t = 30)]
    rate: u32,
    /// Whether each pair comes with a Y8 image of the left infrared stream.
    #[arg(long)]
    infrared: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { out, framesets, size, rate, infrared } = Arguments::parse();
    let profile: StreamProfile = format!("{size}@{rate}").parse()?;
    let scene = Scene {
        identity: Identity::D405,
        width: profile.width(),
        height: profile.height(),
        frames_per_second: profile.frames_per_second(),
        color_delay_millis: 1.0,
        infrared: infrared.then_some(realsense_sys::rs2_format_RS2_FORMAT_Y8),
        also: &[],
        one_sensor: false,
        options: &[],
    };
    SoftwareCamera::new(scene).record(&out, |camera, pacer| {
        for number in 0..framesets {
            pacer.wait();
            camera.see_depth(number);
            camera.see_infrared(number);
            camera.see_color(number);
        }
    });
    Ok(())
}
