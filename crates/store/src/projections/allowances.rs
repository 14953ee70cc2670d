use std::collections::BTreeMap;

use chainflume_core::domain::{Address, U256};

use super::super::open::OpenChain;
use chainflume_db::StoreError;
use chainflume_db::transaction::Tx;

type Allowances = BTreeMap<(Address, Address, Address), U256>;

pub(super) async fn apply(tx: &mut Tx, chain: &OpenChain, allowances: &Allowances) -> Result<(), StoreError> {
    if allowances.is_empty() {
        return Ok(());
    }
    let keys = Keys::new(allowances);
    sqlx::query(
        r"
        insert into token_allowances (chain_id, token, owner, spender, amount)
        select $1, token, owner, spender, amount::numeric
        from unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::text[]) as d (token, owner, spender, amount)
        on conflict on constraint token_allowances_pkey do update set amount = excluded.amount
        ",
    )
    .bind(chain.id)
    .bind(keys.tokens)
    .bind(keys.owners)
    .bind(keys.spenders)
    .bind(allowances.values().map(ToString::to_string).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Sets these keys to the last approval among the stored events, and deletes keys without one. The two halves of the statement
/// change different keys, so their order does not matter.
pub(super) async fn recompute(
    tx: &mut Tx,
    chain: &OpenChain,
    allowances: &Allowances,
) -> Result<(), StoreError> {
    if allowances.is_empty() {
        return Ok(());
    }
    let keys = Keys::new(allowances);
    sqlx::query(
        r"
        with last as (
            select d.token, d.owner, d.spender, l.amount
            from unnest($2::bytea[], $3::bytea[], $4::bytea[]) as d (token, owner, spender)
            left join lateral (
                select e.amount from events e
                where e.projection = 'a' and e.account = d.owner and e.counterparty = d.spender
                    and e.address = d.token and e.chain_id = $1 and e.amount is not null
                order by e.block_number desc, e.tx_index desc, e.log_index desc limit 1
            ) l on true
        ), gone as (
            delete from token_allowances a using last l
            where a.chain_id = $1 and a.token = l.token and a.owner = l.owner and a.spender = l.spender
                and l.amount is null
        )
        insert into token_allowances (chain_id, token, owner, spender, amount)
        select $1, token, owner, spender, amount from last where amount is not null
        on conflict on constraint token_allowances_pkey do update set amount = excluded.amount
        ",
    )
    .bind(chain.id)
    .bind(keys.tokens)
    .bind(keys.owners)
    .bind(keys.spenders)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// One array a key column, in key order.
struct Keys<'a> {
    tokens: Vec<&'a [u8]>,
    owners: Vec<&'a [u8]>,
    spenders: Vec<&'a [u8]>,
}

impl<'a> Keys<'a> {
    fn new(allowances: &'a Allowances) -> Self {
        Self {
            tokens: allowances.keys().map(|(token, ..)| token.as_slice()).collect(),
            owners: allowances.keys().map(|(_, owner, _)| owner.as_slice()).collect(),
            spenders: allowances.keys().map(|(.., spender)| spender.as_slice()).collect(),
        }
    }
}
