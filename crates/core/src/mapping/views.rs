//! Names and columns of typed views. They are decided here and not with the tables in `store`: a name depends on all events of its
//! source, and the columns are the layout by which facts are stored and payloads are written. Two sources that would share a view are
//! a fault of the configuration, which is reported before there is a database.

use std::collections::BTreeSet;

use alloy_primitives::{B256, hex, keccak256};

use crate::decode::{AbiEvent, AbiType, Param};
use crate::domain::{Column, SqlType, TupleMember, TupleMembers, VIEW_COLUMNS, VIEW_NAME_BYTES, ViewColumn};

use super::recipe::{ArgumentRole, Recipe};

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

/// Names of the views of one source, one for each of `events`. Events with the same arguments in the same columns (an
/// indexed and an unindexed `Transfer`) share a view. Other events of the same name all get the first topic in theirs,
/// so the names do not depend on the order of the ABI.
pub(super) fn names(source: &str, events: &[(&AbiEvent, &[ViewColumn])]) -> Vec<String> {
    let base = |event: &AbiEvent| base(source, event);
    let same = |a: &(&AbiEvent, &[ViewColumn]), b: &(&AbiEvent, &[ViewColumn])| {
        a.0.signature == b.0.signature && same_columns(a.1, b.1)
    };
    let name = |this: &(&AbiEvent, &[ViewColumn])| {
        let mut name = base(this.0);
        let mut rivals = events.iter().filter(|other| !same(this, other) && base(other.0) == name);
        if let Some(rival) = rivals.next() {
            let of_one_signature: Vec<_> =
                std::iter::once(rival).chain(rivals).filter(|r| r.0.topic0 == this.0.topic0).collect();
            name = overload(&name, this.0.topic0);
            if !of_one_signature.is_empty() {
                name = format!("{name}_{}", this.0.topic_count());
            }
            if this.0.anonymous && of_one_signature.iter().any(|r| r.0.topic_count() == this.0.topic_count())
            {
                name.push_str("_anonymous");
            }
        }
        shorten(name, &format!("{source}.{}", this.0.signature))
    };
    events.iter().map(name).collect()
}

/// The view of an overload: the plain name with the first bytes of the signature's hash.
fn overload(name: &str, topic0: B256) -> String {
    format!("{name}_{}", hex::encode(&topic0[..4]))
}

/// The view name of an event when another event has the plain name, for instance an older event of the same name. The
/// result is the same as if both were in the ABI.
pub(super) fn other_name(source: &str, event: &AbiEvent) -> String {
    let name = overload(&base(source, event), event.topic0);
    shorten(name, &format!("{source}.{}", event.signature))
}

fn base(source: &str, event: &AbiEvent) -> String {
    format!("{}_{}", snake_case(source), snake_case(&event.name))
}

/// `tokenId` → `token_id`, `ERC20Paused` → `erc20_paused`, `_from` → `from`.
fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (i, c) in chars.iter().enumerate() {
        let after = i.checked_sub(1).and_then(|before| chars.get(before));
        let starts_word = c.is_ascii_uppercase()
            && after.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || chars.get(i + 1).is_some_and(char::is_ascii_lowercase)
            });
        if c.is_ascii_alphanumeric() {
            if starts_word && !snake.is_empty() && !snake.ends_with('_') {
                snake.push('_');
            }
            snake.push(c.to_ascii_lowercase());
        } else if !snake.is_empty() && !snake.ends_with('_') {
            snake.push('_');
        }
    }
    snake.truncate(snake.trim_end_matches('_').len());
    snake
}

/// Cuts a name that is too long and marks it with a digest of the whole name.
fn shorten(mut name: String, whole: &str) -> String {
    if name.len() > VIEW_NAME_BYTES {
        let digest = keccak256(whole.as_bytes());
        name.truncate(VIEW_NAME_BYTES - 9);
        name = format!("{name}_{}", hex::encode(&digest[..4]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_abi_become_names_of_sql() {
        let cases = [
            ("tokenId", "token_id"),
            ("_from", "from"),
            ("ERC20Paused", "erc20_paused"),
            ("ApprovalForAll", "approval_for_all"),
            ("NFTMinted", "nft_minted"),
            ("amount0Out", "amount0_out"),
            ("sqrtPriceX96", "sqrt_price_x96"),
            ("a$b__c_", "a_b_c"),
            ("$_", ""),
        ];
        for (name, snake) in cases {
            assert_eq!(snake_case(name), snake);
        }
    }

    #[test]
    fn a_long_name_keeps_its_front_and_a_digest_of_the_whole() {
        let long = "x".repeat(70);
        let short = shorten(long.clone(), "a");
        assert_eq!(short.len(), VIEW_NAME_BYTES);
        assert_ne!(short, shorten(long, "b"));
        assert_eq!(shorten("x".repeat(63), "a"), "x".repeat(63));
    }
}
