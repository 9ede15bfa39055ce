//! The formats of light that a synthetic camera renders: every one that `camrig-frame` defines.
//!
//! No format is named here, so a new one in `camrig-frame` is a choice of the options without an edit.

use std::borrow::Cow;

use camrig_frame::{Format, MJPEG, PixelFormat};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The format of color: every one with color, and JPEG images.
pub(super) type ColorFormat = LightFormat<true>;

/// The format of infrared: every one without color.
pub(super) type InfraredFormat = LightFormat<false>;

/// A format of light, with color or without.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct LightFormat<const COLORED: bool>(pub(super) Format);

impl<const COLORED: bool> LightFormat<COLORED> {
    fn choices() -> impl Iterator<Item = Format> {
        let is_one = |format: &PixelFormat| format.is_light() && format.is_colored() == COLORED;
        let images = PixelFormat::ALL.into_iter().filter(is_one).map(Format::Image);
        images.chain(COLORED.then_some(Format::Encoded(MJPEG)))
    }
}

impl<const COLORED: bool> Default for LightFormat<COLORED> {
    fn default() -> Self {
        Self(Format::Image(if COLORED { PixelFormat::Rgb8 } else { PixelFormat::Y8 }))
    }
}

impl<const COLORED: bool> From<LightFormat<COLORED>> for String {
    fn from(LightFormat(format): LightFormat<COLORED>) -> Self {
        format.to_string()
    }
}

impl<const COLORED: bool> TryFrom<String> for LightFormat<COLORED> {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::choices().find(|format| format.to_string() == name).map(Self).ok_or_else(|| {
            let choices: Vec<_> = Self::choices().map(|format| format!("`{format}`")).collect();
            format!("unknown format `{name}`, expected one of {}", choices.join(", "))
        })
    }
}

impl<const COLORED: bool> JsonSchema for LightFormat<COLORED> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        if COLORED { "ColorFormat" } else { "InfraredFormat" }.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = Self::choices().map(|format| format.to_string()).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<const COLORED: bool>() -> Vec<String> {
        LightFormat::<COLORED>::choices().map(|format| format.to_string()).collect()
    }

    #[test]
    fn formats_are_known_by_name_and_refused_with_the_choices() {
        // Names of formats that are not light are no choices, however many formats there are.
        let (colored, gray) = (names::<true>(), names::<false>());
        assert!(["rgb8", "yuyv", "mjpeg"].iter().all(|name| colored.iter().any(|it| it == name)));
        assert!(["y8", "y16"].iter().all(|name| gray.iter().any(|it| it == name)));
        assert!(!colored.iter().chain(&gray).any(|name| name == "z16" || name == "distance"));
        for name in names::<true>() {
            assert_eq!(String::from(ColorFormat::try_from(name.clone()).unwrap()), name);
        }
        assert_eq!(
            InfraredFormat::try_from("rgb8".to_owned()).unwrap_err(),
            format!("unknown format `rgb8`, expected one of `{}`", gray.join("`, `"))
        );
    }
}
