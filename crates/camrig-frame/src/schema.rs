//! The JSON schema of a stream's profile, which is a string in topologies.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::StreamProfile;

impl JsonSchema for StreamProfile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StreamProfile".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Width, height and rate of a stream, such as `640x480@30`.",
            "type": "string",
            "pattern": "^[0-9]+x[0-9]+@[0-9]+$",
        })
    }
}
