//! The processing of a camera's frames that a topology asks for: filters of depth, and alignment.
//!
//! It knows no librealsense: `filters` does the processing.

use std::collections::BTreeMap;

use camrig::DriverError;
use camrig::frame::{Format, PixelFormat, Stream};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::names::{self, FilterOption, list};
use crate::settings::{Setting, number};

/// The filters of a camera's depth, each with librealsense's options for it; `{}` are its own defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Makes depth smaller: `{ filter_magnitude = 2 }` halves each side.
    pub decimation: Option<BTreeMap<String, Setting>>,
    /// Leaves out what is too near or too far: `{ min_distance = 0.1, max_distance = 4.0 }`, in metres.
    pub threshold: Option<BTreeMap<String, Setting>>,
    /// Smooths along rows and columns, and keeps edges.
    pub spatial: Option<BTreeMap<String, Setting>>,
    /// Smooths from frame to frame.
    pub temporal: Option<BTreeMap<String, Setting>>,
    /// Fills what has no depth from around it.
    pub hole_filling: Option<BTreeMap<String, Setting>>,
}

/// Which of depth and color is shown as seen from the other's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Align {
    /// Depth at the pixels of color.
    DepthToColor,
    /// Color at the pixels of depth.
    ColorToDepth,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Processing {
    pub(crate) filters: Filters,
    pub(crate) align: Option<Align>,
}

impl Processing {
    /// The streams that it needs, of those that come.
    pub(crate) fn check_streams(&self, streams: &[(Stream, Option<Format>)]) -> Result<(), DriverError> {
        let has = |stream| streams.iter().any(|(own, _)| *own == stream);
        if self.filters != Filters::default() && !has(Stream::DEPTH) {
            return Err(DriverError::new("`filters` are for depth, and there is no `depth` stream"));
        }
        if self.align.is_some() && !(has(Stream::DEPTH) && has(Stream::COLOR)) {
            return Err(DriverError::new("`align` needs both a `depth` and a `color` stream"));
        }
        let color = streams.iter().find(|(stream, _)| *stream == Stream::COLOR);
        if let (Some(Align::ColorToDepth), Some(&(_, Some(format)))) = (self.align, color)
            && !is_of_single_pixels(format)
        {
            return Err(DriverError::new(format!(
                "color in `{format}` cannot be aligned to depth; `rgb8`, `bgr8`, `rgba8` and `bgra8` can"
            )));
        }
        Ok(())
    }

    /// Checks the options of the filters, without librealsense.
    pub(crate) fn check_filters(&self) -> Result<(), DriverError> {
        let Filters { decimation, threshold, spatial, temporal, hole_filling } = &self.filters;
        for (filter, known, settings) in [
            ("decimation", names::DECIMATION, decimation),
            ("threshold", names::THRESHOLD, threshold),
            ("spatial", names::SPATIAL, spatial),
            ("temporal", names::TEMPORAL, temporal),
            ("hole_filling", names::HOLE_FILLING, hole_filling),
        ] {
            for (name, setting) in settings.iter().flatten() {
                check_option(filter, known, name, setting)?;
            }
        }
        Ok(())
    }
}

/// Returns whether alignment can move single pixels: two pixels of YUYV share their color, and an encoded image has no
/// pixels.
fn is_of_single_pixels(format: Format) -> bool {
    match format {
        Format::Image(format) => !matches!(format, PixelFormat::Yuyv | PixelFormat::Uyvy),
        _ => false,
    }
}

fn check_option(
    filter: &str,
    known: &[FilterOption],
    name: &str,
    setting: &Setting,
) -> Result<(), DriverError> {
    let owner = format!("filter `{filter}`");
    let option = known.iter().find(|option| option.name == name).ok_or_else(|| {
        let it_has = list(known.iter().map(|option| format!("`{}`", option.name)));
        DriverError::new(format!("{owner} has no option `{name}`; it has: {it_has}"))
    })?;
    let FilterOption { name, min, max, step, values } = *option;
    let named = values.iter().enumerate().map(|(index, &value)| (value.to_owned(), min + index as f32));
    number(&owner, name, (min, max, step), &named.collect::<Vec<_>>(), setting).map(drop)
}
