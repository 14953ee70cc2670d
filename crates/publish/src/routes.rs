//! The routes of this crate: from a request to a call, and from its outcome to an answer.

mod activities;
mod caller;
mod events;
mod users;

use serde_json::Map;

use crate::Publisher;
use chainflume_api::routes::Api;

impl Publisher {
    /// What this crate offers on the public listener.
    pub fn api(&self) -> Api {
        let mut schemas = Map::new();
        schemas.extend(events::schemas());
        schemas.extend(activities::schemas(&self.0.settings));
        schemas.extend(users::schemas());
        let routes = [events::routes(self), activities::routes(self), users::routes(self)].concat();
        let emit = Some(events::publish_route(self));
        Api { routes, schemas, codes: CODES, emit }
    }
}

/// Codes of refusals, as docs/APPLICATION.md lists them.
const CODES: &[&str] = &[
    "activity_final",
    "bad_aggregate",
    "bad_contact",
    "bad_device",
    "bad_event_id",
    "bad_event_type",
    "bad_hash",
    "bad_status",
    "bad_timestamp",
    "bad_user_id",
    "bad_wallet",
    "busy",
    "immutable_field",
    "other_transaction",
    "payload_too_large",
    "reserved_aggregate",
    "reserved_type",
    "schema_violation",
    "too_many_aggregate_types",
    "too_many_events",
    "unknown_activity_type",
    "unknown_chain",
    "unsupported_media_type",
    "update_by_id_only",
    "user_too_large",
    "wrong_transition",
];
