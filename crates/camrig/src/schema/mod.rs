//! Options described by their types, as JSON schemas.
//!
//! The type of the options derives [`JsonSchema`], and this schema is the only source of their description: `camrig
//! list` shows it, `camrig schema` prints it, and a topology is checked against it. This module has no knowledge of
//! actors, the registry and the texts of problems.

mod check;
#[cfg(any(test, feature = "program"))]
mod describe;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use toml::Spanned;
use toml::de::DeValue;

pub(crate) use self::check::{Fact, Mismatch};
#[cfg(any(test, feature = "program"))]
pub(crate) use self::describe::OptionDescription;

/// Schema key for the unit of a number: `#[schemars(extend("x-unit" = "ms"))]`.
#[cfg(any(test, feature = "program"))]
const UNIT: &str = "x-unit";

/// The options of a driver or a kind of processor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OptionsSchema {
    json: Value,
}

/// Returns the schema of `T`, in draft 7, with the schemas of all parts in their places.
pub(crate) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

impl OptionsSchema {
    /// Returns the schema of `O`.
    pub(crate) fn of<O: JsonSchema>() -> Self {
        Self { json: schema_of::<O>() }
    }

    /// Returns the schema itself.
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn into_json(self) -> Value {
        self.json
    }

    /// Returns every option, in the order of the type's fields.
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn options(&self) -> Vec<OptionDescription> {
        describe::options(&self.json)
    }

    /// Returns whether there is an option of this name.
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.json.get("properties").and_then(|properties| properties.get(name)).is_some()
    }

    /// Returns all parts of `options` that do not match the schema. Constraints that a schema cannot express,
    /// such as the syntax of a string, are checked by the type.
    pub(crate) fn check(&self, options: &Spanned<DeValue<'_>>) -> Vec<Mismatch> {
        check::check(&self.json, options)
    }
}
