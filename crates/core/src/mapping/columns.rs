//! Columns of typed views. They are also the layout by which facts are stored and payloads are written, so they are decided here and
//! not with the views in `store`.

use std::collections::BTreeSet;

use crate::decode::{AbiEvent, AbiType, Param};
use crate::domain::{Column, SqlType, TupleMember, TupleMembers, VIEW_COLUMNS, ViewColumn};

use super::recipe::{ArgumentRole, Recipe};
use super::sql_name::{shorten, snake_case};

/// The columns of an event's view, in the order of the ABI. Names are not quoted here; SQL must quote them, since
/// `from` and `to` are common.
pub(super) fn columns(event: &AbiEvent, recipe: &Recipe) -> Vec<ViewColumn> {
    let mut taken: BTreeSet<String> = VIEW_COLUMNS.iter().map(ToString::to_string).collect();
    let params = event.params.iter().zip(&recipe.roles).enumerate();
    params
        .map(|(i, (param, role))| {
            let name = free(&column_name(param, i), &taken);
            taken.insert(name.clone());
            let column = column(param, role);
            let argument = match &column {
                Column::Arg { key, .. } => key.clone(),
                _ => param.name.clone(),
            };
            ViewColumn { name, argument, column }
        })
        .collect()
}

fn column(param: &Param, role: &ArgumentRole) -> Column {
    match role {
        ArgumentRole::Account => Column::Account,
        ArgumentRole::Counterparty => Column::Counterparty,
        ArgumentRole::Amount => Column::Amount,
        ArgumentRole::TokenId => Column::TokenId,
        ArgumentRole::Arg(key) => Column::Arg {
            key: key.clone(),
            sql_type: sql_type(param),
            hashed: Some(param.is_hashed()),
            members: members(&param.ty).filter(|_| !param.is_hashed()),
        },
    }
}

/// The members of a struct, or of the structs in an array, under their names.
fn members(ty: &AbiType) -> Option<TupleMembers> {
    match ty {
        AbiType::Array(inner) | AbiType::FixedArray(inner, _) => {
            let TupleMembers { arrays, list } = members(inner)?;
            Some(TupleMembers { arrays: arrays + 1, list })
        }
        AbiType::Tuple(fields) => {
            let member = |(name, ty): &(String, AbiType)| TupleMember {
                name: name.clone(),
                key: name.clone(),
                members: members(ty),
            };
            Some(TupleMembers { arrays: 0, list: fields.iter().map(member).collect() })
        }
        _ => None,
    }
}

/// The type with the stored names of its members.
pub(super) fn kept_type(ty: &AbiType, kept: &TupleMembers) -> AbiType {
    match ty {
        AbiType::Array(inner) => AbiType::Array(Box::new(kept_type(inner, kept))),
        AbiType::FixedArray(inner, len) => AbiType::FixedArray(Box::new(kept_type(inner, kept)), *len),
        AbiType::Tuple(fields) => {
            let field = |((_, ty), kept): (&(String, AbiType), &TupleMember)| {
                let ty = kept.members.as_ref().map_or_else(|| ty.clone(), |members| kept_type(ty, members));
                (kept.key.clone(), ty)
            };
            AbiType::Tuple(fields.iter().zip(&kept.list).map(field).collect())
        }
        word => word.clone(),
    }
}

/// Whether two events of one signature have the same arguments in the same columns. The names of struct members do not
/// count.
pub(super) fn same_columns(a: &[ViewColumn], b: &[ViewColumn]) -> bool {
    let shown = |column: &ViewColumn| {
        let mut column = column.clone();
        if let Column::Arg { members, .. } = &mut column.column {
            *members = None;
        }
        column
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| shown(a) == shown(b))
}

fn sql_type(param: &Param) -> SqlType {
    if param.is_hashed() {
        return SqlType::Bytea;
    }
    match param.ty {
        AbiType::Uint(_) | AbiType::Int(_) => SqlType::Numeric,
        AbiType::Bool => SqlType::Boolean,
        AbiType::Address | AbiType::FixedBytes(_) | AbiType::Bytes => SqlType::Bytea,
        AbiType::String => SqlType::Text,
        AbiType::Array(_) | AbiType::FixedArray(..) | AbiType::Tuple(_) => SqlType::Jsonb,
    }
}

fn column_name(param: &Param, position: usize) -> String {
    let mut name = snake_case(&param.name);
    if name.is_empty() {
        name = format!("arg{position}");
    }
    if param.is_hashed() {
        name.push_str("_hash");
    }
    if VIEW_COLUMNS.contains(&name.as_str()) {
        name.push_str("_arg");
    }
    shorten(name, &param.name)
}

/// `name` if it is free, else the name with the first number that makes it unique.
fn free(name: &str, taken: &BTreeSet<String>) -> String {
    if !taken.contains(name) {
        return name.to_owned();
    }
    let numbered = (2u64..).map(|n| shorten(format!("{name}_{n}"), &format!("{name}_{n}")));
    numbered.into_iter().find(|candidate| !taken.contains(candidate)).unwrap_or_default()
}
