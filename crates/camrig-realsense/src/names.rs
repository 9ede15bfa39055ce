//! librealsense's options by name, and those of its filters, for checks without a device or a library.
//!
//! Tests compare the tables with the library.

/// An option of a filter.
#[derive(Debug, PartialEq)]
pub(crate) struct FilterOption {
    pub(crate) name: &'static str,
    pub(crate) min: f32,
    pub(crate) max: f32,
    pub(crate) step: f32,
    /// The names of its values, from `min` on; empty where values have no names.
    pub(crate) values: &'static [&'static str],
}

/// Returns an option of a filter whose values have no names.
const fn number(name: &'static str, min: f32, max: f32, step: f32) -> FilterOption {
    FilterOption { name, min, max, step, values: &[] }
}

/// Returns an option of a filter that selects one of `values`.
const fn choice(name: &'static str, values: &'static [&'static str]) -> FilterOption {
    FilterOption { name, min: 0.0, max: (values.len() - 1) as f32, step: 1.0, values }
}

pub(crate) const DECIMATION: &[FilterOption] = &[number("filter_magnitude", 1.0, 8.0, 1.0)];

pub(crate) const SEQUENCE_ID: &[FilterOption] = &[choice("sequence_id", &["all", "1", "2"])];

/// Degrees clockwise. This driver rotates itself.
pub(crate) const ROTATION: &[FilterOption] = &[number("rotation", -90.0, 180.0, 90.0)];

pub(crate) const THRESHOLD: &[FilterOption] =
    &[number("min_distance", 0.0, 16.0, 0.1), number("max_distance", 0.0, 16.0, 0.1)];

pub(crate) const SPATIAL: &[FilterOption] = &[
    number("filter_magnitude", 1.0, 5.0, 1.0),
    number("filter_smooth_alpha", 0.25, 1.0, 0.01),
    number("filter_smooth_delta", 1.0, 50.0, 1.0),
    choice(
        "holes_fill",
        &["Disabled", "2-pixel radius", "4-pixel radius", "8-pixel radius", "16-pixel radius", "Unlimited"],
    ),
];

pub(crate) const TEMPORAL: &[FilterOption] = &[
    number("filter_smooth_alpha", 0.0, 1.0, 0.01),
    number("filter_smooth_delta", 1.0, 100.0, 1.0),
    choice(
        "holes_fill",
        &[
            "Disabled",
            "Valid in 8/8",
            "Valid in 2/last 3",
            "Valid in 2/last 4",
            "Valid in 2/8",
            "Valid in 1/last 2",
            "Valid in 1/last 5",
            "Valid in 1/8",
            "Always on",
        ],
    ),
];

pub(crate) const HOLE_FILLING: &[FilterOption] =
    &[choice("holes_fill", &["Fill from Left", "Farest from around", "Nearest from around"])];

/// The options of devices, by librealsense's numbers.
pub(crate) const OPTIONS: [&str; 100] = [
    "backlight_compensation",
    "brightness",
    "contrast",
    "exposure",
    "gain",
    "gamma",
    "hue",
    "saturation",
    "sharpness",
    "white_balance",
    "enable_auto_exposure",
    "enable_auto_white_balance",
    "visual_preset",
    "laser_power",
    "accuracy",
    "motion_range",
    "filter_option",
    "confidence_threshold",
    "emitter_enabled",
    "frames_queue_size",
    "total_frame_drops",
    "fisheye_auto_exposure_mode",
    "power_line_frequency",
    "asic_temperature",
    "error_polling_enabled",
    "projector_temperature",
    "output_trigger_enabled",
    "motion_module_temperature",
    "depth_units",
    "enable_motion_correction",
    "auto_exposure_priority",
    "color_scheme",
    "histogram_equalization_enabled",
    "min_distance",
    "max_distance",
    "texture_source",
    "filter_magnitude",
    "filter_smooth_alpha",
    "filter_smooth_delta",
    "holes_fill",
    "stereo_baseline",
    "auto_exposure_converge_step",
    "inter_cam_sync_mode",
    "stream_filter",
    "stream_format_filter",
    "stream_index_filter",
    "emitter_on_off",
    "zero_order_point_x",
    "zero_order_point_y",
    "ldd_temperature",
    "mc_temperature",
    "ma_temperature",
    "hardware_preset",
    "global_time_enabled",
    "apd_temperature",
    "enable_mapping",
    "enable_relocalization",
    "enable_pose_jumping",
    "enable_dynamic_calibration",
    "depth_offset",
    "led_power",
    "zero_order_enabled",
    "enable_map_preservation",
    "freefall_detection_enabled",
    "receiver_gain",
    "post_processing_sharpening",
    "pre_processing_sharpening",
    "noise_filtering",
    "invalidation_bypass",
    "digital_gain",
    "sensor_mode",
    "emitter_always_on",
    "thermal_compensation",
    "trigger_camera_accuracy_health",
    "reset_camera_accuracy_health",
    "host_performance",
    "hdr_enabled",
    "sequence_name",
    "sequence_size",
    "sequence_id",
    "humidity_temperature",
    "enable_max_usable_range",
    "alternate_ir",
    "noise_estimation",
    "enable_ir_reflectivity",
    "auto_exposure_limit",
    "auto_gain_limit",
    "auto_rx_sensitivity",
    "transmitter_frequency",
    "vertical_binning",
    "receiver_sensitivity",
    "auto_exposure_limit_toggle",
    "auto_gain_limit_toggle",
    "emitter_frequency",
    "auto_exposure_mode",
    "ohm_temperature",
    "soc_pvt_temperature",
    "gyro_sensitivity",
    "region_of_interest",
    "rotation",
];

/// Returns a suggestion for `name`, if an option has nearly that name.
pub(crate) fn near(name: &str) -> String {
    let distance = |known: &&str| strsim::damerau_levenshtein(name, known);
    let nearest = OPTIONS.into_iter().min_by_key(distance);
    let near = nearest.filter(|known| distance(known) <= name.len().clamp(3, 64) / 3);
    near.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default()
}

/// Returns choices on one line.
pub(crate) fn list(choices: impl Iterator<Item = String>) -> String {
    let choices: Vec<_> = choices.collect();
    if choices.is_empty() { "none".to_owned() } else { choices.join(", ") }
}

#[cfg(test)]
#[cfg(feature = "librealsense")]
mod tests {
    use super::*;
    use crate::sys::OptionKind;

    #[test]
    fn options_are_those_of_the_library() {
        assert_eq!(OptionKind::all().map(OptionKind::name).collect::<Vec<_>>(), OPTIONS);
    }
}
