//! What a topology says of a RealSense camera, and whether it makes sense by itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use camrig::frame::StreamProfile;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::processing::{Align, Filters};
use crate::settings::{HardwareSync, Setting};

/// The options of the driver `realsense`: a camera by its `serial`, its USB `port` or its `name`, whichever
/// one is connected if there is `any`, or a recording by its `file`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The serial number of a live camera.
    pub serial: Option<String>,
    /// The physical USB port of a live camera, as a path from the root hub such as `2-1.3`.
    pub port: Option<String>,
    /// The name of a live camera, such as `Intel RealSense D435`, or its last word.
    pub name: Option<String>,
    /// Whether the one live camera that is connected is meant, whichever it is.
    pub any: Option<bool>,
    /// A `.bag` file that librealsense recorded.
    pub file: Option<PathBuf>,
    /// The depth stream, such as `640x480@30`.
    pub depth: Option<StreamProfile>,
    /// The color stream.
    pub color: Option<StreamProfile>,
    /// The left infrared stream.
    pub infrared_1: Option<StreamProfile>,
    /// The right infrared stream.
    pub infrared_2: Option<StreamProfile>,
    /// Samples of the accelerometer per second, where the camera has one. They come with framesets of images.
    pub accel: Option<u32>,
    /// Samples of the gyroscope per second.
    pub gyro: Option<u32>,
    /// Whether a live camera on USB 2 is accepted, which has fewer and slower profiles; it is not unless this
    /// is true.
    pub allow_usb2: Option<bool>,
    /// What is set on a live camera, by librealsense's names: `{ exposure = 8500, visual_preset = "hand" }`.
    pub set: Option<BTreeMap<String, Setting>>,
    /// What is set for its color, where color has an own sensor; it is the depth sensor of a D405.
    pub set_color: Option<BTreeMap<String, Setting>>,
    /// A JSON file that realsense-viewer exported, for a live camera; `set` comes after it.
    pub preset: Option<PathBuf>,
    /// Whether a live camera gives the pulse of a hardware sync, or follows it.
    pub sync: Option<HardwareSync>,
    /// A `.bag` file that librealsense writes of a live camera, as it is before any filter.
    pub record_to: Option<PathBuf>,
    /// What is done to depth: librealsense's filters.
    pub filters: Option<Filters>,
    /// Which of depth and color is shown as seen from the other's place.
    pub align: Option<Align>,
    /// How a live camera's color is stored; `rgb8` unless it is given.
    pub color_format: Option<ColorFormat>,
    /// Whether a file plays at the pace of its recording, as it does unless this is false. If false, it
    /// plays as fast as its frames are taken, and none is lost.
    pub real_time: Option<bool>,
    /// Whether a file starts again at its end; it does not unless this is true.
    pub repeat: Option<bool>,
}

/// How the pixels of a live camera's color are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ColorFormat {
    /// Red, green, blue: converted by librealsense.
    Rgb8,
    /// Blue, green, red: converted by librealsense.
    Bgr8,
    /// As it comes over USB, without a conversion.
    Yuyv,
}
