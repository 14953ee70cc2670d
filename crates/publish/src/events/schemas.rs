use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use chainflume_api::routes::Refusal;

/// Bytes of one file at most: a schema is written by people.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// JSON Schemas of payloads by the type of the event. A type without one takes any object.
#[derive(Default)]
pub struct EventSchemas(BTreeMap<String, Validator>);

impl fmt::Debug for EventSchemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why schemas cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}", path = path.display())]
pub struct SchemaFileError {
    path: PathBuf,
    what: String,
}

impl EventSchemas {
    /// Reads every `<type>.json` of a folder.
    ///
    /// # Errors
    /// The first file that cannot be read or is no schema. A schema that refers to another file or address is none.
    pub fn load(folder: &Path) -> Result<Self, SchemaFileError> {
        let failed = |path: &Path, what: String| SchemaFileError { path: path.to_owned(), what };
        let entries = std::fs::read_dir(folder).map_err(|error| failed(folder, error.to_string()))?;
        let mut schemas = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(|error| failed(folder, error.to_string()))?.path();
            let name =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
            let Some(name) = name else { continue };
            super::names::event_type(name).map_err(|refusal| failed(&path, refusal.detail))?;
            let size = path.metadata().map_err(|error| failed(&path, error.to_string()))?.len();
            if size > MAX_FILE_BYTES {
                return Err(failed(&path, format!("is larger than {MAX_FILE_BYTES} bytes")));
            }
            let text = std::fs::read(&path).map_err(|error| failed(&path, error.to_string()))?;
            let schema = serde_json::from_slice(&text).map_err(|error| failed(&path, error.to_string()))?;
            let compiled = compile(&schema).map_err(|what| failed(&path, what))?;
            schemas.insert(name.to_owned(), compiled);
        }
        Ok(Self(schemas))
    }

    /// Checks a payload.
    pub(super) fn check(&self, event_type: &str, payload: &Value) -> Result<(), Refusal> {
        let Some(schema) = self.0.get(event_type) else { return Ok(()) };
        schema.validate(payload).map_err(|error| {
            // What is wrong and where, without the value, which may be long or private.
            let shown = error.masked().to_string();
            let detail = format!("the payload does not fit the schema of {event_type}: {shown}");
            Refusal::new(422, "schema_violation", detail).at(format!("/payload{}", error.instance_path()))
        })
    }
}

/// Patterns run in time that grows with the text alone, whatever a publisher sends.
fn compile(schema: &Value) -> Result<Validator, String> {
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    options.should_validate_formats(true).build(schema).map_err(|error| format!("is no JSON Schema: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schemas(schema: &Value) -> EventSchemas {
        EventSchemas([("order.shipped".to_owned(), compile(schema).expect("a schema"))].into())
    }

    #[test]
    fn a_payload_that_does_not_fit_is_refused_with_its_place() {
        let schemas = schemas(&json!({
            "type": "object", "required": ["items"], "additionalProperties": false,
            "properties": { "items": { "type": "array", "items": { "type": "object", "properties": { "count": { "type": "integer" } } } } }
        }));
        assert!(schemas.check("order.shipped", &json!({ "items": [{ "count": 1 }] })).is_ok());
        assert!(schemas.check("order.paid", &json!({ "anything": true })).is_ok());
        let payload = json!({ "items": [{ "count": 1 }, { "count": "secret" }] });
        let refusal = schemas.check("order.shipped", &payload).expect_err("a text");
        assert_eq!((refusal.status, refusal.code), (422, "schema_violation"));
        assert_eq!(refusal.pointer.as_deref(), Some("/payload/items/1/count"));
        assert!(!refusal.detail.contains("secret"), "{}", refusal.detail);
        assert_eq!(
            schemas.check("order.shipped", &json!({})).expect_err("empty").pointer.as_deref(),
            Some("/payload")
        );
    }

    #[test]
    fn schemas_that_name_other_places_or_are_none_are_refused() {
        for schema in
            [json!({ "$ref": "https://example.com/a.json" }), json!({ "type": "number!" }), json!(7)]
        {
            assert!(compile(&schema).is_err(), "{schema}");
        }
    }
}
