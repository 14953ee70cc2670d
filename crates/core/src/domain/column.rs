//! Columns of typed views: the present name of an argument, and the name under which its values are stored.
//!
//! The two differ once the ABI gives an argument another name. Stored rows are never rewritten. So each argument is
//! stored under its name at the first registration of its kind of event.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The columns that every event view has before the columns of its arguments.
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

/// Maximum length of the name of a view or a column, in bytes. PostgreSQL cuts longer names silently (`NAMEDATALEN`),
/// and two may become one.
pub const VIEW_NAME_BYTES: usize = 63;

/// One column of a typed view: an ABI argument and where it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewColumn {
    /// Name in SQL, unique in the view, not quoted.
    pub name: String,
    /// Name of the argument in the ABI, unique in the event; the key in a message's payload.
    pub argument: String,
    /// Where the value is stored.
    pub column: Column,
}

/// Where an argument of an event is stored.
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
        /// Whether only the hash of the argument is stored; `None` for a column of an earlier version, which did not
        /// record it.
        #[serde(default)]
        hashed: Option<bool>,
        /// Its members, if it is a struct or an array of structs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        members: Option<TupleMembers>,
    },
}

/// How a view shows a value from `args`.
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
    /// Its own members, if it is a struct or an array of structs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<TupleMembers>,
}

impl ViewColumn {
    /// Key of the argument in `events.args`; `None` for one with a column of its own.
    pub fn key(&self) -> Option<&String> {
        match &self.column {
            Column::Arg { key, .. } => Some(key),
            Column::Account | Column::Counterparty | Column::Amount | Column::TokenId => None,
        }
    }

    /// Whether a value of this column means the same as a value of `stored`, a column of the same event at the same
    /// position. A hash differs from the value it hashes.
    pub fn is_kept_like(&self, stored: &Self) -> bool {
        match (&self.column, &stored.column) {
            (Column::Arg { hashed: Some(this), .. }, Column::Arg { hashed: Some(stored), .. }) => {
                this == stored
            }
            (
                Column::Arg { key, sql_type, hashed, .. },
                Column::Arg { key: stored_key, sql_type: stored_type, .. },
            ) => {
                // Hashes are bytes, and their keys have always ended with this word.
                let seems_hashed = *stored_type == SqlType::Bytea && stored_key.ends_with("_hash");
                key == stored_key || (sql_type == stored_type && *hashed == Some(seems_hashed))
            }
            (this, stored) => this == stored,
        }
    }

    /// Makes the column read and write its values where `stored` does.
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

    /// Whether any member, at any depth, is stored under another name than its present one.
    pub fn is_renamed(&self) -> bool {
        let renamed = |member: &TupleMember| {
            member.name != member.key || member.members.as_ref().is_some_and(Self::is_renamed)
        };
        self.list.iter().any(renamed)
    }

    /// A stored value with the present names of its members.
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
