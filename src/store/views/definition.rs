//! The text of a typed view.

use std::collections::BTreeSet;

use crate::domain::{Column, EventKind, SqlType};

use super::super::StoreError;
use super::error;

/// Columns every view has, before the arguments.
const BASE: &[(&str, &str)] = &[
    ("event_id", "event_id(e.chain_id, e.block_number, e.block_hash, e.tx_index, e.log_index)"),
    ("chain_id", "e.chain_id"),
    ("block_number", "e.block_number"),
    ("block_hash", "e.block_hash"),
    ("block_time", "e.block_time"),
    ("tx_hash", "e.tx_hash"),
    ("tx_index", "e.tx_index"),
    ("log_index", "e.log_index"),
    ("contract", "e.address"),
];

/// Bytes of a name in PostgreSQL; longer ones are cut silently, and two may become one.
const NAME_BYTES: usize = 63;

/// The kind that speaks for all kinds of a view: they must be of one ABI event and agree on its columns.
pub(super) fn agree<'a>(view: &str, kinds: &[&'a EventKind]) -> Result<&'a EventKind, StoreError> {
    let Some(first) = kinds.first().copied() else {
        return Err(error(view, "it has no events"));
    };
    if view.is_empty() || view.len() > NAME_BYTES || view.contains('\0') {
        return Err(error(view, "a name has 1 to 63 bytes; shorten the source's name"));
    }
    for kind in kinds {
        if (&kind.source, &kind.signature) != (&first.source, &first.signature) {
            let reason = format!(
                "{} of `{}` and {} of `{}` would share it; rename one source",
                first.signature, first.source, kind.signature, kind.source
            );
            return Err(error(view, &reason));
        }
        if kind.columns != first.columns {
            return Err(error(view, "its kinds of events do not agree on the columns"));
        }
    }
    Ok(first)
}

/// Selects the events of these kinds. The chain is named although the kinds imply it: with it, the primary
/// key serves a bound on block numbers.
pub(super) fn query(chain_id: i64, kind: &EventKind, stored: &[(i32, String)]) -> String {
    let mut used: BTreeSet<String> = BASE.iter().map(|(name, _)| (*name).to_owned()).collect();
    used.insert("type".to_owned());
    let mut select: Vec<String> = BASE.iter().map(|(name, sql)| format!("{sql} as {name}")).collect();
    let types: String =
        stored.iter().map(|(id, name)| format!(" when {id} then {}", literal(name))).collect();
    select.push(format!("case e.kind_id{types} end as \"type\""));
    for column in &kind.columns {
        let name = unused(&mut used, &column.name);
        select.push(format!("{} as {}", expression(&column.column), identifier(&name)));
    }
    let ids = stored.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(", ");
    format!(
        "select {} from events e where e.chain_id = {chain_id} and e.kind_id in ({ids})",
        select.join(", ")
    )
}

/// An argument may be called like a column every view has, or like another when cut to length: it gets
/// underscores.
fn unused(used: &mut BTreeSet<String>, name: &str) -> String {
    let mut suffix = String::new();
    loop {
        let mut cut = name.len().min(NAME_BYTES - suffix.len());
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
    let (key, sql_type) = match column {
        Column::Account => return "e.account".to_owned(),
        Column::Counterparty => return "e.counterparty".to_owned(),
        Column::Amount => return "e.amount".to_owned(),
        Column::TokenId => return "e.token_id".to_owned(),
        Column::Arg { key, sql_type } => (literal(key), sql_type),
    };
    match sql_type {
        SqlType::Numeric => format!("(e.args ->> {key})::numeric"),
        SqlType::Boolean => format!("(e.args ->> {key})::boolean"),
        SqlType::Bytea => format!("decode(substring(e.args ->> {key} from 3), 'hex')"),
        SqlType::Text => format!("e.args ->> {key}"),
        SqlType::Jsonb => format!("e.args -> {key}"),
    }
}

/// A quoted name.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted text, read the same whatever `standard_conforming_strings` says.
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
