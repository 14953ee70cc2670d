use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::change::{Activity, ActivityStatus, ActivityTransaction, ClosedBy, NewActivity};
use chainflume_core::domain::B256;
use chainflume_db::StoreError;
use chainflume_db::convert::unsigned;

/// A row of `activities`.
#[derive(sqlx::FromRow)]
pub(super) struct ActivityRow {
    id: Uuid,
    user_id: String,
    r#type: String,
    status: String,
    title: String,
    description: Option<String>,
    data: String,
    chain_id: Option<i64>,
    tx_hash: Option<Vec<u8>>,
    closed_by: Option<String>,
    changes: i64,
    created_at: String,
    updated_at: String,
}

impl TryFrom<ActivityRow> for Activity {
    type Error = StoreError;

    fn try_from(row: ActivityRow) -> Result<Self, StoreError> {
        let corrupt = |what: &str| StoreError::Corrupt { table: "activities", what: what.to_owned() };
        let hash = row.tx_hash.as_deref().map(B256::try_from).transpose().map_err(|_| corrupt("tx_hash"))?;
        let chain_id = row.chain_id.map(|id| unsigned("chain id", id)).transpose()?;
        let closer = |word: &str| ClosedBy::from_word(word).ok_or_else(|| corrupt("closed_by"));
        let closed_by = row.closed_by.as_deref().map(closer).transpose()?;
        Ok(Self {
            now: NewActivity {
                id: row.id,
                user_id: row.user_id,
                activity_type: row.r#type,
                status: ActivityStatus::from_word(&row.status).ok_or_else(|| corrupt("status"))?,
                title: row.title,
                description: row.description,
                data: serde_json::from_str(&row.data).map_err(|_| corrupt("data"))?,
                transaction: chain_id
                    .zip(hash)
                    .map(|(chain_id, hash)| ActivityTransaction { chain_id, hash }),
            },
            closed_by,
            changes: unsigned("changes", row.changes)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

impl Activity {
    /// What callers see.
    pub(crate) fn to_json(&self) -> Value {
        let now = &self.now;
        json!({
            "eventId": now.id.to_string(), "userId": now.user_id, "type": now.activity_type,
            "status": now.status.as_str(), "title": now.title, "description": now.description, "data": now.data,
            "transaction": now.transaction.map(ActivityTransaction::to_json), "changes": self.changes,
            "createdAt": self.created_at, "updatedAt": self.updated_at,
        })
    }
}

impl NewActivity {
    /// The payload of its messages, which is the data of the push event `activity`.
    pub(super) fn payload(&self, at: &str) -> Map<String, Value> {
        let mut payload = Map::new();
        let mut set = |name: &str, value: Value| drop(payload.insert(name.to_owned(), value));
        set("eventId", self.id.to_string().into());
        set("type", self.activity_type.clone().into());
        set("status", self.status.as_str().into());
        set("title", self.title.clone().into());
        set("description", self.description.clone().into());
        if !self.data.is_empty() {
            set("data", Value::Object(self.data.clone()));
        }
        if let Some(transaction) = self.transaction {
            set("transaction", transaction.to_json());
        }
        set("timestamp", at.into());
        payload
    }
}
