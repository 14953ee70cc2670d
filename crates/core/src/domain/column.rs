//! Columns of typed views: what an argument is called today, and under which name its values are kept.
//!
//! The two differ once an argument was given another name in the ABI: stored rows are never written again, so that each
//! argument is kept for good under the name it had when its kind of event was first registered.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The columns that the view of every event has, in front of those of its arguments.
pub const VIEW_COLUMNS: [&str; 10] = [
    "event_id",
    "chain_id",
    "block_number",
    "block_hash",
    "block_time",
    "tx_hash",
    "tx_index",
    "log_index",
    "contract",
    "type",
];

/// Bytes of the name of a view or a column at most. PostgreSQL cuts longer ones silently (`NAMEDATALEN`), and two may
/// become one.
pub const VIEW_NAME_BYTES: usize = 63;

/// One column of a typed view: an ABI argument and where it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewColumn {
    /// Name in SQL, unique in the view, not quoted.
    pub name: String,
    /// Name of the argument in the ABI, unique in the event: the key in a message's payload.
    pub argument: String,
    /// Where the value is kept.
    pub column: Column,
}

/// Where an argument of an event is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// `events.account`.
    Account,
    /// `events.counterparty`.
    Counterparty,
    /// `events.amount`.
    Amount,
    /// `events.token_id`.
    TokenId,
    /// `events.args ->> key`, read as this type.
    Arg {
        /// Key in the JSON object.
        key: String,
        /// Type in SQL.
        sql_type: SqlType,
        /// Whether the hash of the argument is kept and not the argument; `None` where an earlier version stored the
        /// column, which did not note it.
        #[serde(default)]
        hashed: Option<bool>,
        /// Its members, where it is a struct or an array of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        members: Option<TupleMembers>,
    },
}

/// How a view shows a value kept in `args`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SqlType {
    /// Whole numbers of any width: kept as a decimal string.
    Numeric,
    /// `bool`.
    Boolean,
    /// Addresses, bytes and hashes: kept as a `0x` string.
    Bytea,
    /// Strings.
    Text,
    /// Arrays and tuples.
    Jsonb,
}

/// The members of a struct, or of the structs in an array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TupleMembers {
    /// How many arrays enclose the struct.
    pub arrays: u32,
    /// In the order of the ABI.
    pub list: Vec<TupleMember>,
}

/// A member of a struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TupleMember {
    /// Name in the ABI.
    pub name: String,
    /// Key in the JSON object that is kept.
    pub key: String,
    /// Its own members, where it is a struct or an array of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<TupleMembers>,
}

impl ViewColumn {
    /// Whether a value of this column is the same thing as one of `stored`, a column of the same event at the same
    /// position: a hash is not the value it is the hash of.
    pub fn is_kept_like(&self, stored: &Self) -> bool {
        match (&self.column, &stored.column) {
            (Column::Arg { hashed: Some(this), .. }, Column::Arg { hashed: Some(stored), .. }) => {
                this == stored
            }
            (
                Column::Arg { key, sql_type, hashed, .. },
                Column::Arg { key: stored_key, sql_type: stored_type, .. },
            ) => {
                // Hashes are bytes, and their keys ended with this word from the beginning.
                let seems_hashed = *stored_type == SqlType::Bytea && stored_key.ends_with("_hash");
                key == stored_key || (sql_type == stored_type && *hashed == Some(seems_hashed))
            }
            (this, stored) => this == stored,
        }
    }

    /// Reads and writes its values where `stored` does.
    pub fn keep_as(&mut self, stored: &Self) {
        if let (
            Column::Arg { key, members, .. },
            Column::Arg { key: stored_key, members: stored_members, .. },
        ) = (&mut self.column, &stored.column)
        {
            key.clone_from(stored_key);
            if let (Some(members), Some(stored)) = (members, stored_members) {
                members.keep_as(stored);
            }
        }
    }
}

impl TupleMembers {
    fn keep_as(&mut self, stored: &Self) {
        for (member, stored) in self.list.iter_mut().zip(&stored.list) {
            member.key.clone_from(&stored.key);
            if let (Some(members), Some(stored)) = (&mut member.members, &stored.members) {
                members.keep_as(stored);
            }
        }
    }

    /// Whether any member, at any depth, is kept under another name than it has.
    pub fn is_renamed(&self) -> bool {
        let renamed = |member: &TupleMember| {
            member.name != member.key || member.members.as_ref().is_some_and(Self::is_renamed)
        };
        self.list.iter().any(renamed)
    }

    /// A kept value with the names the members have today.
    pub fn named(&self, value: Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(|item| self.named(item)).collect(),
            Value::Object(mut kept) => {
                let named = |member: &TupleMember| {
                    let value = kept.remove(&member.key)?;
                    let value = match &member.members {
                        Some(members) => members.named(value),
                        None => value,
                    };
                    Some((member.name.clone(), value))
                };
                Value::Object(self.list.iter().filter_map(named).collect())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn member(name: &str, key: &str, members: Option<TupleMembers>) -> TupleMember {
        TupleMember { name: name.to_owned(), key: key.to_owned(), members }
    }

    #[test]
    fn swapped_members_are_swapped_and_not_mixed_at_any_depth() {
        let inner = TupleMembers { arrays: 1, list: vec![member("x", "y", None), member("y", "x", None)] };
        let members =
            TupleMembers { arrays: 0, list: vec![member("b", "a", Some(inner)), member("a", "b", None)] };
        assert!(members.is_renamed());
        assert_eq!(
            members.named(json!({ "a": [{ "x": "1", "y": "2" }], "b": "3" })),
            json!({ "b": [{ "y": "1", "x": "2" }], "a": "3" })
        );
    }

    #[test]
    fn a_column_of_an_earlier_version_is_known_again() {
        let stored: ViewColumn = serde_json::from_value(json!({
            "name": "memo_hash", "argument": "memo_hash", "column": { "arg": { "key": "memo_hash", "sql_type": "bytea" } }
        }))
        .expect("it is one");
        let column = |key: &str, sql_type, hashed| ViewColumn {
            name: key.to_owned(),
            argument: key.to_owned(),
            column: Column::Arg { key: key.to_owned(), sql_type, hashed: Some(hashed), members: None },
        };
        assert!(column("text_hash", SqlType::Bytea, true).is_kept_like(&stored));
        assert!(!column("memo", SqlType::Bytea, false).is_kept_like(&stored));
        assert!(!column("memo", SqlType::Text, false).is_kept_like(&stored));
    }
}
