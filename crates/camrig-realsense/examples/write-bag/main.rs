//! Writes a recording that librealsense plays, without a camera: for tests, and to try out a topology.
//!
//! Each frameset is a Z16 and an RGB8 image, numbered from 0, with timestamps of the device's clock; their content is a
//! pure function of number and pixel, which `software.rs` documents. Writing takes as long as playing.

mod software;

use std::path::PathBuf;

use camrig::frame::StreamProfile;
use clap::{Parser, ValueEnum};
use software::{Identity, Scene, SoftwareCamera};

/// Write a .bag file of a software camera: Z16 depth and RGB8 color.
#[derive(Parser)]
struct Arguments {
    /// The file to write; it is replaced if it exists.
    out: PathBuf,
    /// Number of pairs of a depth and a color frame.
    #[arg(long, default_value_t = 30)]
    framesets: u32,
    /// Width and height of both images, in pixels.
    #[arg(long, default_value = "64x48")]
    size: String,
    /// Frames of each stream per second.
    #[arg(long, default_value_t = 30)]
    rate: u32,
    /// Add a Y8 image of the left infrared stream to each pair.
    #[arg(long)]
    infrared: bool,
    /// Add an image of the left infrared stream in RAW16, which the driver leaves out with a warning.
    #[arg(long, conflicts_with = "infrared")]
    raw: bool,
    /// Leave color out.
    #[arg(long)]
    depth_only: bool,
    /// The camera's model: a D405 has depth in 0.1 mm, a D435 in 1 mm; a D435i has motion sensors, an accelerometer at
    /// 100 Hz and a gyroscope at 200 Hz.
    #[arg(long, value_enum, default_value_t = Model::D405)]
    model: Model,
    /// Show only a wall at this distance, in metres.
    #[arg(long)]
    wall_meters: Option<f32>,
    /// Stamp images by the global clock, the first one with this time, in milliseconds since 1970.
    #[arg(long)]
    begin_millis: Option<f64>,
    /// Stamp this many images by the host's clock first, as while librealsense maps the camera's clock.
    #[arg(long, default_value_t = 0, requires = "begin_millis")]
    unsettled: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    D405,
    D435,
    D435i,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments {
        out,
        framesets,
        size,
        rate,
        infrared,
        raw,
        depth_only,
        model,
        wall_meters,
        begin_millis,
        unsettled,
    } = Arguments::parse();
    let profile: StreamProfile = format!("{size}@{rate}").parse()?;
    let scene = Scene {
        identity: match model {
            Model::D405 => Identity::D405,
            Model::D435 => Identity::D435,
            Model::D435i => Identity::D435I,
        },
        width: profile.width(),
        height: profile.height(),
        frames_per_second: profile.frames_per_second(),
        color_delay_millis: 1.0,
        infrared: if raw {
            Some(realsense_sys::rs2_format_RS2_FORMAT_RAW16)
        } else {
            infrared.then_some(realsense_sys::rs2_format_RS2_FORMAT_Y8)
        },
        infrared_2: false,
        extra: &[],
        also: &[],
        one_sensor: false,
        options: &[],
        motion: matches!(model, Model::D435i),
        begin_millis,
        unsettled,
        wall_meters,
    };
    SoftwareCamera::new(scene).record(&out, |camera, pacer| {
        for number in 0..framesets {
            pacer.wait();
            camera.send_samples_until(number);
            camera.send_depth(number);
            camera.send_infrared(number);
            if !depth_only {
                camera.send_color(number);
            }
        }
    });
    Ok(())
}
