//! Options of a RealSense camera in a topology, and the checks that need no device.

use std::collections::BTreeMap;
use std::path::PathBuf;

use camrig::frame::StreamProfile;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::processing::{Align, FilterChoice};
use crate::settings::{HardwareSync, Setting};
use crate::streams::{ImageFormat, StreamChoices};

/// Maximum offset of a file's start: a day.
pub(crate) const MAX_OFFSET_MILLIS: u64 = 86_400_000;

/// The options of the driver `realsense`: a camera, selected by its `serial`, its USB `port`, its `name`, or with
/// `any` the only connected one; or a recording, selected by its `file`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The serial number of a live camera.
    pub serial: Option<String>,
    /// The physical USB port of a live camera, as a path from the root hub such as `2-1.3`.
    pub port: Option<String>,
    /// The name of a live camera, such as `Intel RealSense D435`, or its last word.
    pub name: Option<String>,
    /// Selects the only connected live camera.
    pub any: Option<bool>,
    /// A `.bag` or `.db3` file recorded by librealsense.
    pub file: Option<PathBuf>,
    /// The depth stream, such as `640x480@30`.
    pub depth: Option<StreamProfile>,
    /// The color stream.
    pub color: Option<StreamProfile>,
    /// The left infrared stream.
    pub infrared_1: Option<StreamProfile>,
    /// The right infrared stream.
    pub infrared_2: Option<StreamProfile>,
    /// The confidence of each depth pixel, if the camera has that stream.
    pub confidence: Option<StreamProfile>,
    /// Further streams by name: a second one of a kind, such as `color-2`, or those of a kind without an option of
    /// its own, such as `fisheye-1`.
    pub streams: Option<StreamChoices>,
    /// Rate of the accelerometer, if the camera has one. The samples are part of the framesets of images.
    #[schemars(extend("x-unit" = "samples/s"))]
    pub accel: Option<u32>,
    /// Rate of the gyroscope.
    #[schemars(extend("x-unit" = "samples/s"))]
    pub gyro: Option<u32>,
    /// Resets a live camera before it is opened for the first time.
    #[schemars(extend("default" = false))]
    pub reset: Option<bool>,
    /// Accepts a live camera on USB 2, which has fewer and slower profiles.
    #[schemars(extend("default" = false))]
    pub allow_usb2: Option<bool>,
    /// Settings of a live camera, by librealsense's names: `{ exposure = 8500, visual_preset = "hand" }`.
    pub set: Option<BTreeMap<String, Setting>>,
    /// Settings of the color sensor, if color has its own sensor; on a D405, that is the depth sensor.
    pub set_color: Option<BTreeMap<String, Setting>>,
    /// The region of the depth image in which auto exposure measures the brightness: left, top, right and bottom.
    pub exposure_region: Option<[u32; 4]>,
    /// Like `exposure_region`, for the sensor that gives color.
    pub exposure_region_color: Option<[u32; 4]>,
    /// A JSON file exported by realsense-viewer, for a live camera; `set` is applied after it.
    pub preset: Option<PathBuf>,
    /// Role of a live camera in hardware synchronisation.
    pub sync: Option<HardwareSync>,
    /// A `.bag` file, or `.db3` since librealsense 2.58, to which it records a live camera, without filters.
    pub record_to: Option<PathBuf>,
    /// The depth filters of librealsense: a table in the order that the camera recommends, or a list in its own order.
    pub filters: Option<FilterChoice>,
    /// Aligns depth to color or color to depth.
    pub align: Option<Align>,
    /// Color format of a live camera.
    #[schemars(extend("default" = "rgb8"))]
    pub color_format: Option<ImageFormat>,
    /// Format of both infrared streams of a live camera.
    #[schemars(extend("default" = "y8"))]
    pub infrared_format: Option<ImageFormat>,
    /// Plays a file at its recorded speed. If false, it plays as fast as its frames are read, without losses.
    #[schemars(extend("default" = true))]
    pub real_time: Option<bool>,
    /// Restarts a file at its end.
    #[schemars(extend("default" = false))]
    pub repeat: Option<bool>,
    /// Time after the rig's start at which a file begins. Without it, files whose frames have times of the host start so that
    /// frames recorded together play together; others start immediately.
    #[schemars(range(max = MAX_OFFSET_MILLIS), extend("x-unit" = "ms"))]
    pub start_offset_millis: Option<u64>,
}
