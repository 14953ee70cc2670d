//! The text of a typed view.

use std::collections::BTreeSet;

use chainflume_core::domain::{
    Column, EventKind, SqlType, TupleMembers, VIEW_COLUMNS, VIEW_NAME_BYTES, ViewColumn,
};

use chainflume_core::messages::DescribedKind;

/// The values of [`VIEW_COLUMNS`] except the last, the type, which depends on the kinds. Bytes have domains that compare with text
/// (`migrations/0024_hex.sql`): a plain `bytea` compared with `'0x…'` would match nothing, without an error.
const VALUES: [&str; 9] = [
    "event_id(e.chain_id, e.block_number, e.block_hash, e.tx_index, e.log_index)",
    "e.chain_id",
    "e.block_number",
    "e.block_hash::evm_hash",
    "e.block_time",
    "e.tx_hash::evm_hash",
    "e.tx_index",
    "e.log_index",
    "e.address::evm_address",
];

/// A view's query and the names of its columns.
pub(super) struct Definition {
    pub(super) query: String,
    pub(super) columns: Vec<String>,
}

/// The view of an ABI event that shows the events of these stored kinds under the names of `kind`: each row is read by the
/// layout of its own kind. The chain is named although the kinds imply it: with it, the primary key serves a bound on block
/// numbers.
pub(super) fn define(chain_id: i64, kind: &EventKind, stored: &[(i32, &DescribedKind)]) -> Definition {
    let mut columns: Vec<String> = VIEW_COLUMNS.map(str::to_owned).to_vec();
    let mut used: BTreeSet<String> = columns.iter().cloned().collect();
    let mut select: Vec<String> =
        VALUES.iter().zip(VIEW_COLUMNS).map(|(sql, name)| format!("{sql} as {name}")).collect();
    select.push(format!("{} as \"type\"", type_of(stored)));
    for (position, column) in kind.columns.iter().enumerate() {
        let name = unused(&mut used, &column.name);
        select.push(format!("{} as {}", shown(column, position, stored), identifier(&name)));
        columns.push(name);
    }
    let ids = match stored {
        [] => "null".to_owned(),
        stored => list(stored.iter().map(|(id, _)| *id)),
    };
    let query = format!(
        "select {} from events e where e.chain_id = {chain_id} and e.kind_id in ({ids})",
        select.join(", ")
    );
    Definition { query, columns }
}

fn type_of(stored: &[(i32, &DescribedKind)]) -> String {
    if stored.is_empty() {
        return "null::text".to_owned();
    }
    let types: String =
        stored.iter().map(|(id, kind)| format!(" when {id} then {}", literal(&kind.event_type))).collect();
    format!("case e.kind_id{types} end")
}

/// The value of a column. Kinds of one event may keep it in different places, for instance under another family.
fn shown(column: &ViewColumn, position: usize, stored: &[(i32, &DescribedKind)]) -> String {
    let mut by_place: Vec<(String, Vec<i32>)> = Vec::new();
    for (id, described) in stored {
        let place = match described.layout.column_like(position, column) {
            Some(kept) => expression(&named(column, kept)),
            None => elsewhere(column, described.layout.columns.get(position)),
        };
        match by_place.iter_mut().find(|(known, _)| *known == place) {
            Some((_, ids)) => ids.push(*id),
            None => by_place.push((place, vec![*id])),
        }
    }
    match by_place.as_slice() {
        [] => expression(&column.column),
        [(place, _)] => place.clone(),
        several => {
            let when = |(place, ids): &(String, Vec<i32>)| {
                format!(" when e.kind_id in ({}) then {place}", list(ids.iter().copied()))
            };
            format!("case{} end", several.iter().map(when).collect::<String>())
        }
    }
}

/// Reads where `kept` is stored, under the member names of `column`.
fn named(column: &ViewColumn, kept: &ViewColumn) -> Column {
    let mut column = column.clone();
    column.keep_as(kept);
    column.column
}

/// The column's value if another kind of the event stores it elsewhere: in a column of its own, or among the arguments.
fn elsewhere(column: &ViewColumn, kept: Option<&ViewColumn>) -> String {
    let null = |sql_type: &str| format!("null::{sql_type}");
    let Some(kept) = kept else { return null(type_name(&column.column)) };
    let is_same_type = |a: &Column, b: &Column| {
        let base = |column: &Column| match type_name(column) {
            "evm_address" | "evm_bytes" => "bytea",
            "numeric(78, 0)" => "numeric",
            other => other,
        };
        base(a) == base(b)
    };
    let is_hash = |column: &Column| matches!(column, Column::Arg { hashed: Some(true), .. });
    let both_args = matches!((&column.column, &kept.column), (Column::Arg { .. }, Column::Arg { .. }));
    if both_args
        || is_hash(&column.column)
        || is_hash(&kept.column)
        || !is_same_type(&column.column, &kept.column)
    {
        return null(type_name(&column.column));
    }
    format!("({})::{}", expression(&kept.column), type_name(&column.column))
}

fn type_name(column: &Column) -> &'static str {
    match column {
        Column::Account | Column::Counterparty => "evm_address",
        Column::Amount | Column::TokenId => "numeric(78, 0)",
        Column::Arg { sql_type, .. } => match sql_type {
            SqlType::Numeric => "numeric",
            SqlType::Boolean => "boolean",
            SqlType::Bytea => "evm_bytes",
            SqlType::Text => "text",
            SqlType::Jsonb => "jsonb",
        },
    }
}

fn list(ids: impl Iterator<Item = i32>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
}

/// A unique name: underscores are added to a name that a fixed column or another argument has already.
fn unused(used: &mut BTreeSet<String>, name: &str) -> String {
    let mut suffix = String::new();
    loop {
        let mut cut = name.len().min(VIEW_NAME_BYTES - suffix.len());
        while !name.is_char_boundary(cut) {
            cut -= 1;
        }
        let candidate = format!("{}{suffix}", &name[..cut]);
        if used.insert(candidate.clone()) {
            return candidate;
        }
        suffix.push('_');
    }
}

fn expression(column: &Column) -> String {
    let (key, sql_type, members) = match column {
        Column::Account => return "e.account::evm_address".to_owned(),
        Column::Counterparty => return "e.counterparty::evm_address".to_owned(),
        Column::Amount => return "e.amount".to_owned(),
        Column::TokenId => return "e.token_id".to_owned(),
        Column::Arg { key, sql_type, members, .. } => (literal(key), sql_type, members),
    };
    match sql_type {
        SqlType::Numeric => format!("(e.args ->> {key})::numeric"),
        SqlType::Boolean => format!("(e.args ->> {key})::boolean"),
        SqlType::Bytea => format!("decode(substring(e.args ->> {key} from 3), 'hex')::evm_bytes"),
        SqlType::Text => format!("e.args ->> {key}"),
        SqlType::Jsonb => {
            let value = format!("e.args -> {key}");
            match members {
                Some(members) if members.is_renamed() => with_names(&format!("({value})"), members, 0),
                _ => value,
            }
        }
    }
}

/// The JSON value with the present names of its members. An expression, not a function: PostgreSQL would look for a function on
/// the reader's `search_path`.
fn with_names(value: &str, members: &TupleMembers, level: usize) -> String {
    if let Some(arrays) = members.arrays.checked_sub(1) {
        let inner = TupleMembers { arrays, list: members.list.clone() };
        let item = with_names(&format!("a{level}.value"), &inner, level + 1);
        return format!(
            "case jsonb_typeof({value}) when 'array' then (select coalesce(jsonb_agg({item} order by a{level}.place), \
             '[]'::jsonb) from jsonb_array_elements({value}) with ordinality as a{level} (value, place)) else {value} end"
        );
    }
    let pairs: Vec<String> = members
        .list
        .iter()
        .map(|member| {
            let kept = format!("({value} -> {})", literal(&member.key));
            let shown = match &member.members {
                Some(members) if members.is_renamed() => with_names(&kept, members, level),
                _ => kept,
            };
            format!("jsonb_build_object({}, {shown})", literal(&member.name))
        })
        .collect();
    format!("case jsonb_typeof({value}) when 'object' then {} else {value} end", pairs.join(" || "))
}

/// A quoted name.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted text, which does not depend on `standard_conforming_strings`.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_break_out_of_their_quotes() {
        assert_eq!(identifier(r#"a"; drop table x; --"#), r#""a""; drop table x; --""#);
        assert_eq!(literal(r"a'b\"), r"E'a''b\\'");
    }

    #[test]
    fn an_argument_called_like_another_column_gets_underscores() {
        let mut used = BTreeSet::from(["type".to_owned()]);
        assert_eq!(unused(&mut used, "type"), "type_");
        assert_eq!(unused(&mut used, "type"), "type__");
        let long = "é".repeat(40);
        assert_eq!(unused(&mut used, &long).len(), 62);
        assert_eq!(unused(&mut used, &long), format!("{}_", "é".repeat(31)));
    }
}
