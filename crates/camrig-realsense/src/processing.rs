//! The processing of a camera's frames as a topology requests it: filters of depth, and alignment.
//!
//! It does not depend on librealsense: `filters` does the processing.

use std::collections::BTreeMap;
use std::fmt;

use camrig::DriverError;
use camrig::frame::{Format, PixelFormat, Stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::names::{self, FilterOption, list};
use crate::settings::{Setting, number};

/// The options of one filter, by librealsense's names.
type FilterSettings = BTreeMap<String, Setting>;

/// The filters of a camera's depth.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum FilterChoice {
    /// In the order that the device recommends.
    Recommended(Box<Filters>),
    /// In the order of the list, each entry with one filter.
    InOrder(Vec<Filters>),
}

impl Default for FilterChoice {
    fn default() -> Self {
        Self::Recommended(Box::default())
    }
}

impl<'de> Deserialize<'de> for FilterChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableOrList;
        impl<'de> Visitor<'de> for TableOrList {
            type Value = FilterChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of filters or a list of tables with one filter each")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FilterChoice, A::Error> {
                Box::deserialize(MapAccessDeserializer::new(map)).map(FilterChoice::Recommended)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<FilterChoice, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(sequence)).map(FilterChoice::InOrder)
            }
        }
        deserializer.deserialize_any(TableOrList)
    }
}

/// Filters of a camera's depth, each with librealsense's options for it; `{}` are its own defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Makes depth smaller: `{ filter_magnitude = 2 }` halves each side.
    pub decimation: Option<FilterSettings>,
    /// Merges frames of two exposures into one, for cameras with `hdr_enabled`.
    pub hdr_merge: Option<FilterSettings>,
    /// Leaves out the frames of other exposures: `{ sequence_id = 1 }`.
    pub sequence_id: Option<FilterSettings>,
    /// Removes depth that is too near or too far: `{ min_distance = 0.1, max_distance = 4.0 }`, in metres.
    pub threshold: Option<FilterSettings>,
    /// Converts depth to disparity for the filters that follow in a list. A table has it with `spatial` and `temporal`.
    pub depth_to_disparity: Option<FilterSettings>,
    /// Smooths along rows and columns, and keeps edges.
    pub spatial: Option<FilterSettings>,
    /// Smooths from frame to frame.
    pub temporal: Option<FilterSettings>,
    /// Fills pixels without depth from adjacent ones.
    pub hole_filling: Option<FilterSettings>,
    /// Converts disparity back to depth.
    pub disparity_to_depth: Option<FilterSettings>,
    /// Rotates depth clockwise: `{ rotation = 90 }`; -90, 0, 90 or 180 degrees. It comes last.
    pub rotation: Option<FilterSettings>,
}

/// A filter of depth, in the order that librealsense recommends for a D400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterKind {
    Decimation,
    HdrMerge,
    SequenceId,
    Threshold,
    DepthToDisparity,
    Spatial,
    Temporal,
    HoleFilling,
    DisparityToDepth,
    Rotation,
}

impl FilterKind {
    pub(crate) const ALL: [Self; 10] = [
        Self::Decimation,
        Self::HdrMerge,
        Self::SequenceId,
        Self::Threshold,
        Self::DepthToDisparity,
        Self::Spatial,
        Self::Temporal,
        Self::HoleFilling,
        Self::DisparityToDepth,
        Self::Rotation,
    ];

    /// Returns its name in topologies.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Decimation => "decimation",
            Self::HdrMerge => "hdr_merge",
            Self::SequenceId => "sequence_id",
            Self::Threshold => "threshold",
            Self::DepthToDisparity => "depth_to_disparity",
            Self::Spatial => "spatial",
            Self::Temporal => "temporal",
            Self::HoleFilling => "hole_filling",
            Self::DisparityToDepth => "disparity_to_depth",
            Self::Rotation => "rotation",
        }
    }

    /// Returns librealsense's name of it.
    #[cfg(feature = "librealsense")]
    pub(crate) fn block_name(self) -> &'static str {
        match self {
            Self::Decimation => "Decimation Filter",
            Self::HdrMerge => "HDR Merge",
            Self::SequenceId => "Filter By Sequence id",
            Self::Threshold => "Threshold Filter",
            Self::DepthToDisparity => "Depth to Disparity",
            Self::Spatial => "Spatial Filter",
            Self::Temporal => "Temporal Filter",
            Self::HoleFilling => "Hole Filling Filter",
            Self::DisparityToDepth => "Disparity to Depth",
            Self::Rotation => "Rotation Filter",
        }
    }

    /// Returns the options that it has.
    pub(crate) fn options(self) -> &'static [FilterOption] {
        match self {
            Self::Decimation => names::DECIMATION,
            Self::SequenceId => names::SEQUENCE_ID,
            Self::Threshold => names::THRESHOLD,
            Self::Spatial => names::SPATIAL,
            Self::Temporal => names::TEMPORAL,
            Self::HoleFilling => names::HOLE_FILLING,
            Self::Rotation => names::ROTATION,
            Self::HdrMerge | Self::DepthToDisparity | Self::DisparityToDepth => &[],
        }
    }
}

/// A filter with its options.
pub(crate) type Step = (FilterKind, FilterSettings);

impl Filters {
    fn get(&self, kind: FilterKind) -> Option<&FilterSettings> {
        match kind {
            FilterKind::Decimation => self.decimation.as_ref(),
            FilterKind::HdrMerge => self.hdr_merge.as_ref(),
            FilterKind::SequenceId => self.sequence_id.as_ref(),
            FilterKind::Threshold => self.threshold.as_ref(),
            FilterKind::DepthToDisparity => self.depth_to_disparity.as_ref(),
            FilterKind::Spatial => self.spatial.as_ref(),
            FilterKind::Temporal => self.temporal.as_ref(),
            FilterKind::HoleFilling => self.hole_filling.as_ref(),
            FilterKind::DisparityToDepth => self.disparity_to_depth.as_ref(),
            FilterKind::Rotation => self.rotation.as_ref(),
        }
    }

    /// Returns the given filters in this order.
    fn steps(&self, order: &[FilterKind]) -> Vec<Step> {
        let step = |&kind: &FilterKind| Some((kind, self.get(kind)?.clone()));
        order.iter().filter_map(step).collect()
    }
}

impl FilterChoice {
    /// Returns the filters in the order in which they run. `recommended` is the order of the device; a filter that it does
    /// not recommend comes after the one that precedes it on a D400.
    pub(crate) fn steps(&self, recommended: &[FilterKind]) -> Vec<Step> {
        let filters = match self {
            Self::InOrder(filters) => {
                return filters.iter().flat_map(|one| one.steps(&FilterKind::ALL)).collect();
            }
            Self::Recommended(filters) => filters,
        };
        let mut order = recommended.to_vec();
        for (index, kind) in FilterKind::ALL.into_iter().enumerate() {
            if !order.contains(&kind) {
                let mut before = FilterKind::ALL[..index].iter().rev();
                let at = before.find_map(|one| order.iter().position(|own| own == one));
                order.insert(at.map_or(0, |at| at + 1), kind);
            }
        }
        let mut filters = filters.clone();
        if filters.spatial.is_some() || filters.temporal.is_some() {
            filters.depth_to_disparity.get_or_insert_default();
            filters.disparity_to_depth.get_or_insert_default();
        }
        filters.steps(&order)
    }

    fn is_empty(&self) -> bool {
        self.steps(&[]).is_empty()
    }

    fn rotates(&self) -> bool {
        self.steps(&[]).iter().any(|(kind, _)| *kind == FilterKind::Rotation)
    }

    /// Checks the order of a list.
    fn check_order(&self) -> Result<(), DriverError> {
        if let Self::InOrder(filters) = self
            && let Some(index) = filters.iter().position(|one| one.steps(&FilterKind::ALL).len() != 1)
        {
            return Err(DriverError::new(format!(
                "entry {} of the list `filters` is not one filter",
                index + 1
            )));
        }
        let steps = self.steps(&[]);
        let mut in_disparity = false;
        for (index, (kind, _)) in steps.iter().enumerate() {
            let fault = match kind {
                FilterKind::DepthToDisparity if in_disparity => {
                    "comes twice without `disparity_to_depth` between"
                }
                FilterKind::DisparityToDepth if !in_disparity => "needs `depth_to_disparity` before it",
                FilterKind::Rotation if index + 1 < steps.len() => "comes last",
                _ => "",
            };
            if !fault.is_empty() {
                let error = DriverError::new(format!("filter `{}` {fault}", kind.name()));
                return Err(error.at(format!("filters.{}", kind.name())));
            }
            match kind {
                FilterKind::DepthToDisparity => in_disparity = true,
                FilterKind::DisparityToDepth => in_disparity = false,
                _ => {}
            }
        }
        if in_disparity {
            let error = DriverError::new("filter `depth_to_disparity` needs `disparity_to_depth` after it");
            return Err(error.at("filters.depth_to_disparity"));
        }
        Ok(())
    }
}

/// The alignment: one of depth and color is shown from the viewpoint of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Align {
    /// Depth at the pixels of color.
    DepthToColor,
    /// Color at the pixels of depth.
    ColorToDepth,
}

/// The requested processing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Processing {
    pub(crate) filters: FilterChoice,
    pub(crate) align: Option<Align>,
}

impl Processing {
    /// Checks that the streams it needs are among these.
    pub(crate) fn check_streams(&self, streams: &[(Stream, Option<Format>)]) -> Result<(), DriverError> {
        let has = |stream| streams.iter().any(|(own, _)| *own == stream);
        if !self.filters.is_empty() && !has(Stream::DEPTH) {
            let error = "`filters` are for depth, and there is no `depth` stream";
            return Err(DriverError::new(error).at("filters"));
        }
        if self.align.is_some() && !(has(Stream::DEPTH) && has(Stream::COLOR)) {
            return Err(DriverError::new("`align` needs both a `depth` and a `color` stream").at("align"));
        }
        if self.align.is_some() && self.filters.rotates() {
            return Err(DriverError::new(
                "`align` and the filter `rotation` exclude each other: only depth is rotated",
            )
            .at("align"));
        }
        let color = streams.iter().find(|(stream, _)| *stream == Stream::COLOR);
        if let (Some(Align::ColorToDepth), Some(&(_, Some(format)))) = (self.align, color)
            && !is_of_single_pixels(format)
        {
            return Err(DriverError::new(format!(
                "color in `{format}` cannot be aligned to depth; `rgb8`, `bgr8`, `rgba8` and `bgra8` can"
            ))
            .at("align"));
        }
        Ok(())
    }

    /// Checks the options and the order of the filters, without librealsense.
    pub(crate) fn check_filters(&self) -> Result<(), DriverError> {
        for (kind, settings) in self.filters.steps(&[]) {
            for (name, setting) in &settings {
                let checked = check_option(kind.name(), kind.options(), name, setting);
                checked.map_err(|error| error.at(format!("filters.{}.{name}", kind.name())))?;
            }
        }
        self.filters.check_order().map_err(|error| error.at("filters"))
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
    if let Setting::Number(number) = setting
        && step >= 1.0
        && (*number as f32 - min) % step != 0.0
    {
        let steps = format!("it must be {min} to {max} in steps of {step}");
        return Err(DriverError::new(format!("option `{name}` of {owner} is {setting}: {steps}")));
    }
    let named = values.iter().enumerate().map(|(index, &value)| (value.to_owned(), min + index as f32));
    number(&owner, name, (min, max, step), &named.collect::<Vec<_>>(), setting).map(drop)
}

#[cfg(test)]
mod tests {
    use super::FilterKind::{DepthToDisparity, DisparityToDepth, HoleFilling, Spatial, Temporal};
    use super::*;

    /// Returns the filters in their order.
    fn order(filters: &str, recommended: &[FilterKind]) -> Vec<&'static str> {
        let choice = choice(filters).unwrap();
        choice.steps(recommended).into_iter().map(|(kind, _)| kind.name()).collect()
    }

    fn choice(filters: &str) -> Result<FilterChoice, String> {
        #[derive(Deserialize)]
        struct Wrapped {
            filters: FilterChoice,
        }
        let wrapped: Result<Wrapped, _> = toml::from_str(&format!("filters = {filters}"));
        wrapped.map(|wrapped| wrapped.filters).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_table_has_the_order_of_the_device() {
        let all = "{ hole_filling = {}, temporal = {}, spatial = {}, threshold = {}, decimation = {} }";
        let d400 = [
            "decimation",
            "threshold",
            "depth_to_disparity",
            "spatial",
            "temporal",
            "hole_filling",
            "disparity_to_depth",
        ];
        assert_eq!(order(all, &[]), d400);
        assert_eq!(order("{ hole_filling = {}, rotation = {} }", &[]), ["hole_filling", "rotation"]);
        let last = [DepthToDisparity, Temporal, Spatial, DisparityToDepth, HoleFilling];
        assert_eq!(
            order(all, &last),
            [
                "decimation",
                "threshold",
                "depth_to_disparity",
                "temporal",
                "spatial",
                "disparity_to_depth",
                "hole_filling",
            ],
        );
    }

    #[test]
    fn a_list_keeps_its_order() {
        let list = "[{ temporal = {} }, { decimation = {} }, { hole_filling = {} }, { decimation = {} }]";
        assert_eq!(order(list, &FilterKind::ALL), ["temporal", "decimation", "hole_filling", "decimation"]);
    }

    #[test]
    fn an_order_that_makes_no_sense_is_refused() {
        for (filters, message) in [
            ("[{}]", "entry 1 of the list `filters` is not one filter"),
            (
                "[{ spatial = {} }, { spatial = {}, temporal = {} }]",
                "entry 2 of the list `filters` is not one filter",
            ),
            (
                "[{ depth_to_disparity = {} }, { spatial = {} }]",
                "filter `depth_to_disparity` needs `disparity_to_depth` after it",
            ),
            (
                "[{ disparity_to_depth = {} }]",
                "filter `disparity_to_depth` needs `depth_to_disparity` before it",
            ),
            (
                "[{ depth_to_disparity = {} }, { depth_to_disparity = {} }]",
                "filter `depth_to_disparity` comes twice without `disparity_to_depth` between",
            ),
            ("[{ rotation = {} }, { spatial = {} }]", "filter `rotation` comes last"),
            (
                "{ rotation = { rotation = 45 } }",
                "option `rotation` of filter `rotation` is 45: it must be -90 to 180 in steps of 90",
            ),
            ("{ hdr_merge = { size = 2 } }", "filter `hdr_merge` has no option `size`; it has: none"),
        ] {
            let processing = Processing { filters: choice(filters).unwrap(), align: None };
            assert_eq!(processing.check_filters().unwrap_err().to_string(), message, "{filters}");
        }
        assert!(choice("{ blur = {} }").unwrap_err().starts_with("unknown field `blur`"));
        assert_eq!(
            choice("1").unwrap_err(),
            "invalid type: integer `1`, expected a table of filters or a list of tables with one filter each",
        );
    }
}
