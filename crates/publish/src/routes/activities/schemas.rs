use serde_json::{Map, Value, json};

use super::super::events::ROOM_ID;
use super::STATUSES;
use crate::Settings;
use crate::activities::{MAX_DESCRIPTION, MAX_TITLE};

/// The JSON Schemas of the bodies and answers about activities. A field of a request that is null counts as left out.
pub fn schemas(settings: &Settings) -> Map<String, Value> {
    let optional = |most: usize| json!({ "type": ["string", "null"], "minLength": 1, "maxLength": most });
    let text = |most: usize| json!({ "type": "string", "minLength": 1, "maxLength": most });
    let (id, object) = (json!({ "type": "string", "format": "uuid" }), json!({ "type": ["object", "null"] }));
    let transaction = json!({
        "type": ["object", "null"], "required": ["chainId", "hash"], "additionalProperties": false, "properties": {
            "chainId": { "type": "integer", "enum": settings.chains },
            "hash": { "type": "string", "pattern": "^0x[0-9a-fA-F]{64}$" } },
    });
    let user = json!({ "type": "string", "maxLength": 250, "pattern": ROOM_ID });
    let statuses: Vec<Value> = STATUSES.iter().map(|word| json!(word)).chain([Value::Null]).collect();
    let end =
        json!({ "title": optional(MAX_TITLE), "description": optional(MAX_DESCRIPTION), "data": object });
    let mut change = end.clone();
    (change["status"], change["transaction"]) = (json!({ "enum": statuses }), transaction);
    let mut new = change.clone();
    (new["userId"], new["type"]) = (user, json!({ "type": "string", "enum": settings.activity_types }));
    let needed: &[&str] = match settings.activity_texts.is_empty() {
        true => {
            new["title"] = text(MAX_TITLE);
            &["userId", "type", "title"]
        }
        // A title may come from the configuration.
        false => &["userId", "type"],
    };
    let time = json!({ "type": "string", "format": "date-time" });
    let mut whole = new.clone();
    (whole["type"], whole["title"], whole["data"]) = (text(64), text(MAX_TITLE), json!({ "type": "object" }));
    (whole["status"], whole["eventId"]) = (json!({ "type": "string", "enum": STATUSES }), id.clone());
    (whole["changes"], whole["createdAt"], whole["updatedAt"]) =
        (json!({ "type": "integer" }), time.clone(), time.clone());
    whole["transaction"]["properties"]["chainId"] = json!({ "type": "integer" });
    let step = json!({
        "type": "object", "required": ["number", "messageId", "kind", "by", "changed", "timestamp"], "properties": {
            "number": { "type": "integer" }, "messageId": id, "kind": { "type": "string" }, "by": { "type": "string" },
            "changed": { "type": "object" }, "timestamp": time },
    });
    let steps =
        json!({ "changes": { "type": "array", "items": step }, "next": { "type": ["integer", "null"] } });
    let sent = |properties: &Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    let read = |properties: &Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required });
    let list = json!({ "activities": { "type": "array", "items": { "$ref": "#/components/schemas/Activity" } },
        "next": { "type": ["string", "null"], "format": "uuid" } });
    let schemas = [
        ("NewActivity", sent(&new, needed)),
        ("CreatedActivity", read(&json!({ "eventId": id }), &["eventId"])),
        ("ActivityChange", sent(&change, &[])),
        ("ActivityEnd", sent(&end, &[])),
        (
            "Activity",
            read(&whole, &["eventId", "userId", "type", "status", "title", "data", "transaction", "changes"]),
        ),
        ("Activities", read(&list, &["activities", "next"])),
        ("ActivityChanges", read(&steps, &["changes", "next"])),
    ];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}
