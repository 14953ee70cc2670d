//! The schema of messages, as the tests hold messages to it.

use chainflume_core::domain::MESSAGE_SCHEMA;
use jsonschema::Validator;
use serde_json::{Value, json};

/// The schema as it is published is open, so that a field may be added; here a field it does not name is a mistake.
pub fn closed() -> Validator {
    let mut schema: Value = serde_json::from_str(MESSAGE_SCHEMA).expect("json");
    jsonschema::meta::validate(&schema).expect("it is a schema");
    for place in ["", "/properties/metadata", "/$defs/user"] {
        schema.pointer_mut(place).expect("it is there")["additionalProperties"] = json!(false);
    }
    jsonschema::options().should_validate_formats(true).build(&schema).expect("it is a schema")
}
