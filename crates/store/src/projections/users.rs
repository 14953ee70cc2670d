//! `users`: the stakes of all chains, rolled up by wallet.
//!
//! Chains write side by side and one wallet may stake on several, so the roll-up takes a lock first and
//! sums in a statement after it: that statement sees what the lock's last holder committed, where a sum
//! computed before waiting for the row would overwrite it.

use std::collections::BTreeSet;

use sqlx::Connection;

use super::super::open::OpenChain;
use super::stakes::Stakes;
use chainflume_core::domain::Address;
use chainflume_db::StoreError;
use chainflume_db::convert::address;
use chainflume_db::sqlstate;
use chainflume_db::transaction::{self, Tx};

/// Writes the sums of wallets that staked; returns how many of them have no row and get none.
pub(super) async fn apply(tx: &mut Tx, chain: &OpenChain, stakes: &Stakes) -> Result<u64, StoreError> {
    if stakes.is_empty() {
        return Ok(0);
    }
    let wallets = wallets(stakes);
    let touched = wallets.len() as u64;
    transaction::lock(tx, transaction::USERS).await?;
    let sql = if chain.create_missing_users { CREATE_OR_UPDATE } else { UPDATE };
    let known = sqlx::query(sql).bind(wallets).execute(&mut **tx).await?;
    Ok(touched.saturating_sub(known.rows_affected()))
}

// The status that a stake replaces is stored once. An `active` that replaces an `active` is not stored, unless the application
// had set it before the first stake.
//
// Ids are those that the trigger `users_set_id` would give. It is called for each row without one, known or not, and costs more
// than all the rest.
const CREATE_OR_UPDATE: &str = r"
    
    insert into users as u (id, wallet, stake_amount, staked_at, status, origin)
    select coalesce(known.id, kept.id, user_id(s.account)), s.account, s.amount, s.last_at, 'active', 'chain'
    from (
        select account, sum(amount) as amount, max(last_at) as last_at from stakes
        where account = any($1) group by account
    ) s
    left join users known on known.wallet = s.account
    left join user_ids kept on kept.wallet = s.account
    order by s.account
    on conflict on constraint users_wallet_key do update set
        stake_amount = excluded.stake_amount,
        staked_at = excluded.staked_at,
        status_before = case when u.staked_at is null or u.status <> 'active' then u.status
            else u.status_before end,
        status = 'active'
";

const UPDATE: &str = r"
    
    update users u set
        stake_amount = s.amount,
        staked_at = s.last_at,
        status_before = case when u.staked_at is null or u.status <> 'active' then u.status
            else u.status_before end,
        status = 'active'
    from (
        select account, sum(amount) as amount, max(last_at) as last_at from stakes
        where account = any($1) group by account
    ) s
    where u.wallet = s.account
";

/// The inverse of [`apply`] for these wallets, after their stakes were undone. A row that was never rolled up (an application
/// added it after the wallet's last stake) stays as it is. Returns the wallets whose rows are deleted.
pub(in super::super) async fn undo(tx: &mut Tx, wallets: &[&[u8]]) -> Result<Vec<Address>, StoreError> {
    transaction::lock(tx, transaction::USERS).await?;
    sqlx::query(
        r"
        update users u set stake_amount = s.amount, staked_at = s.last_at
        from (
            select account, sum(amount) as amount, max(last_at) as last_at from stakes
            where account = any($1) group by account
        ) s
        where u.wallet = s.account and u.staked_at is not null
        ",
    )
    .bind(wallets)
    .execute(&mut **tx)
    .await?;
    sqlx::query(WITHOUT_STAKE).bind(wallets).execute(&mut **tx).await?;
    remove_created(tx, wallets).await
}

const WITHOUT_STAKE: &str = r"
    
    update users u set
        stake_amount = 0,
        staked_at = null,
        status = case when u.status = 'active' then coalesce(u.status_before, 'registered') else u.status end,
        status_before = null
    where u.wallet = any($1) and u.origin = 'application' and u.staked_at is not null
        and not exists (select from stakes s where s.account = u.wallet)
";

/// Deletes rows that the chain created and that no event supports any more. A row that a table of the application refers to
/// stays, without a stake: refusing the undo would stop the chain. Returns the wallets of the deleted rows.
async fn remove_created(tx: &mut Tx, wallets: &[&[u8]]) -> Result<Vec<Address>, StoreError> {
    let mut attempt = tx.begin().await?;
    let removed: Result<Vec<Vec<u8>>, sqlx::Error> = sqlx::query_scalar(
        r"
        delete from users u where u.wallet = any($1) and u.origin = 'chain'
        and not exists (select from stakes s where s.account = u.wallet)
        returning u.wallet
        ",
    )
    .bind(wallets)
    .fetch_all(&mut *attempt)
    .await;
    match removed {
        Ok(removed) => {
            attempt.commit().await?;
            removed.iter().map(|wallet| address(wallet)).collect()
        }
        Err(error) if sqlstate(&error).is_some_and(|code| code == FOREIGN_KEY_VIOLATION) => {
            attempt.rollback().await?;
            sqlx::query(
                r"
                update users u set origin = 'application' where u.wallet = any($1) and u.origin = 'chain'
                and not exists (select from stakes s where s.account = u.wallet)
                ",
            )
            .bind(wallets)
            .execute(&mut **tx)
            .await?;
            sqlx::query(WITHOUT_STAKE).bind(wallets).execute(&mut **tx).await?;
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}

/// SQLSTATE of deleting a row that another table refers to.
const FOREIGN_KEY_VIOLATION: &str = "23503";

/// Each once, in order.
fn wallets(stakes: &Stakes) -> Vec<&[u8]> {
    let distinct: BTreeSet<&[u8]> = stakes.keys().map(|(_, account)| account.as_slice()).collect();
    distinct.into_iter().collect()
}
