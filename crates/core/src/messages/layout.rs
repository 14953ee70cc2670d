use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::{Aggregate, Projection, ViewColumn};

/// How a message about a kind of event is made from its columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The subject of the messages.
    pub aggregate: Aggregate,
    /// The arguments, in the order of the ABI.
    pub columns: Vec<ViewColumn>,
    /// As `columns`, of declarations of the same signature of which other arguments are hashed: `string indexed` beside
    /// `string`. Their values are other things and have keys of their own, by which a row shows what it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Vec<ViewColumn>>,
}

impl Layout {
    /// All forms of the columns, the first one first.
    pub fn forms(&self) -> impl Iterator<Item = &Vec<ViewColumn>> {
        std::iter::once(&self.columns).chain(&self.others)
    }

    /// The columns of a row with these arguments.
    pub fn columns_of(&self, args: &Map<String, Value>) -> &[ViewColumn] {
        let has_all = |form: &&Vec<ViewColumn>| {
            form.iter().filter_map(ViewColumn::key).all(|key| args.contains_key(key))
        };
        if self.others.is_empty() {
            return &self.columns;
        }
        self.forms().find(has_all).unwrap_or(&self.columns)
    }

    /// The column at a position whose values mean the same as those of `wanted`.
    pub fn column_like(&self, position: usize, wanted: &ViewColumn) -> Option<&ViewColumn> {
        self.forms().filter_map(|form| form.get(position)).find(|column| wanted.is_kept_like(column))
    }
}

/// A registered kind of event, and how messages describe it.
#[derive(Clone, Debug)]
pub struct DescribedKind {
    /// Name of the source.
    pub source: String,
    /// Type of the message, `erc20.mint` for instance.
    pub event_type: String,
    /// Name of the ABI event.
    pub event: String,
    /// Canonical signature of the ABI event.
    pub signature: String,
    /// The state that it changes.
    pub projection: Projection,
    /// How its messages are made.
    pub layout: Layout,
    /// Decimals of the source's token, where they are known.
    pub decimals: Option<u8>,
}
