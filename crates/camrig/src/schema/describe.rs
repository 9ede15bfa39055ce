//! Extracts descriptions of options from a schema, for display.

use serde::Serialize;
use serde_json::Value;

use super::UNIT;
use super::check::{alternatives, choices, types};

/// Description of one option for `camrig list`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct OptionDescription {
    pub(crate) name: String,
    /// `bool`, `integer`, `number`, `string`, `list of ...`, `table`, `any`, or choices as in `fast|exact`.
    #[serde(rename = "type")]
    pub(crate) takes: String,
    /// The unit of a number, such as `ms`.
    pub(crate) unit: Option<String>,
    pub(crate) required: bool,
    /// The default value; `None` if there is none.
    pub(crate) default: Option<Value>,
    /// The first paragraph of its documentation, on one line.
    pub(crate) description: String,
}

/// Returns the properties of `schema`, in order.
pub(super) fn options(schema: &Value) -> Vec<OptionDescription> {
    let required = |name: &str| {
        let names = schema.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|required| required == name))
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let option = |(name, schema): (&String, &Value)| OptionDescription {
        name: name.clone(),
        takes: takes(schema),
        unit: schema.get(UNIT).and_then(Value::as_str).map(str::to_owned),
        required: required(name),
        default: schema.get("default").filter(|default| !default.is_null()).cloned(),
        description: first_paragraph(schema),
    };
    properties.into_iter().flatten().map(option).collect()
}

/// Returns the type of a value in TOML's terms.
fn takes(schema: &Value) -> String {
    let choices = choices(schema);
    if !choices.is_empty() {
        return choices.join("|");
    }
    let own = types(schema).into_iter().map(|name| match name {
        "boolean" => "bool".to_owned(),
        "object" => "table".to_owned(),
        "array" => format!("list of {}", schema.get("items").map_or_else(|| "any".to_owned(), takes)),
        name => name.to_owned(),
    });
    let mut all: Vec<_> = own.chain(alternatives(schema).into_iter().map(takes)).collect();
    all.dedup();
    if all.is_empty() { "any".to_owned() } else { all.join("|") }
}

/// Returns the first paragraph of a description, on one line.
fn first_paragraph(schema: &Value) -> String {
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let lines = description.lines().take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use camrig_frame::StreamProfile;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::processor::NoOptions;
    use crate::schema::OptionsSchema;

    /// Returns `name: type (unit) = default: description`, with `!` for required options.
    fn lines<O: JsonSchema>() -> Vec<String> {
        let line = |option: OptionDescription| {
            let mark = if option.required { "!" } else { "" };
            let unit = option.unit.map(|unit| format!(" ({unit})")).unwrap_or_default();
            let default = option.default.map(|value| format!(" = {value}")).unwrap_or_default();
            format!("{}{mark}: {}{unit}{default}: {}", option.name, option.takes, option.description)
        };
        OptionsSchema::of::<O>().options().into_iter().map(line).collect()
    }

    #[derive(Default, Deserialize, Serialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[allow(dead_code)] // Only the schema is used.
    enum Mode {
        #[default]
        Fast,
        VeryExact,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(transparent)]
    #[allow(dead_code)]
    struct Millis(u32);

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    #[allow(dead_code)]
    struct Rich {
        /// The serial number,
        /// as printed.
        ///
        /// More.
        serial: String,
        color: StreamProfile,
        depth: Option<StreamProfile>,
        #[serde(default)]
        mode: Mode,
        #[schemars(extend("x-unit" = "ms"))]
        exposure: Millis,
        gain: Option<f32>,
        loops: bool,
        names: Vec<String>,
        corner: [u32; 2],
        inner: Option<Inner>,
        #[serde(default)]
        anything: Option<Value>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code)]
    struct Inner {
        a: u8,
    }

    #[test]
    fn names_types_units_defaults_and_descriptions() {
        assert_eq!(
            lines::<Rich>(),
            [
                "serial!: string: The serial number, as printed.",
                "color!: string: Width, height and rate of a stream, such as `640x480@30`.",
                "depth: string: Width, height and rate of a stream, such as `640x480@30`.",
                "mode: fast|very-exact = \"fast\": ",
                "exposure!: integer (ms): ",
                "gain: number: ",
                "loops!: bool: ",
                "names!: list of string: ",
                "corner!: list of integer: ",
                "inner: table: ",
                "anything: any: ",
            ]
        );
    }

    #[test]
    fn types_without_fields_have_no_options() {
        assert!(lines::<NoOptions>().is_empty());
        assert!(lines::<Mode>().is_empty());
    }
}
