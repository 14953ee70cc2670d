use std::collections::BTreeMap;

use chainflume_core::domain::{Address, SignedSum};

use super::super::open::OpenChain;
use super::{all_found, entries, net};
use chainflume_db::StoreError;
use chainflume_db::transaction::Tx;

type Balances = BTreeMap<(Address, Address), SignedSum>;

pub(super) async fn apply(tx: &mut Tx, chain: &OpenChain, balances: &Balances) -> Result<(), StoreError> {
    if balances.is_empty() {
        return Ok(());
    }
    let keys = BalanceArrays::new(balances)?;
    sqlx::query(
        r"
        insert into token_balances as b (chain_id, token, account, balance, events)
        select $1, token, account, balance::numeric, events
        from unnest($2::bytea[], $3::bytea[], $4::text[], $5::bigint[]) as d (token, account, balance, events)
        on conflict on constraint token_balances_pkey
        do update set balance = b.balance + excluded.balance, events = b.events + excluded.events
        ",
    )
    .bind(chain.id)
    .bind(keys.tokens)
    .bind(keys.accounts)
    .bind(keys.sums)
    .bind(keys.events)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The inverse of [`apply`].
pub(super) async fn undo(tx: &mut Tx, chain: &OpenChain, balances: &Balances) -> Result<(), StoreError> {
    if balances.is_empty() {
        return Ok(());
    }
    let keys = BalanceArrays::new(balances)?;
    let undone = sqlx::query(
        r"
        update token_balances b set balance = b.balance - d.balance::numeric, events = b.events - d.events
        from unnest($2::bytea[], $3::bytea[], $4::text[], $5::bigint[]) as d (token, account, balance, events)
        where b.chain_id = $1 and b.token = d.token and b.account = d.account
        ",
    )
    .bind(chain.id)
    .bind(&keys.tokens)
    .bind(&keys.accounts)
    .bind(keys.sums)
    .bind(keys.events)
    .execute(&mut **tx)
    .await?;
    all_found("token_balances", undone.rows_affected(), balances.len())?;
    sqlx::query(
        r"
        delete from token_balances b using unnest($2::bytea[], $3::bytea[]) as d (token, account)
        where b.chain_id = $1 and b.token = d.token and b.account = d.account and b.events = 0
        ",
    )
    .bind(chain.id)
    .bind(keys.tokens)
    .bind(keys.accounts)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// One array a column, in key order.
struct BalanceArrays<'a> {
    tokens: Vec<&'a [u8]>,
    accounts: Vec<&'a [u8]>,
    sums: Vec<String>,
    events: Vec<i64>,
}

impl<'a> BalanceArrays<'a> {
    fn new(balances: &'a Balances) -> Result<Self, StoreError> {
        Ok(Self {
            tokens: balances.keys().map(|(token, _)| token.as_slice()).collect(),
            accounts: balances.keys().map(|(_, account)| account.as_slice()).collect(),
            sums: balances.values().map(net).collect(),
            events: balances.values().map(entries).collect::<Result<_, _>>()?,
        })
    }
}
