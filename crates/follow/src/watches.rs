//! The table of watched transactions.

use std::time::Duration;

use alloy_primitives::B256;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::judge::{SeenSender, TransactionWatch, WatchState, WatchVerdict};
use chainflume_core::domain::BlockId;
use chainflume_db::StoreError;
use chainflume_db::convert::{address, hash, int8, unsigned};
use chainflume_db::transaction::Tx;

/// A transaction to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewWatch {
    /// EIP-155.
    pub chain_id: u64,
    /// The transaction.
    pub transaction: B256,
    /// The record that it is followed for.
    pub subject: Uuid,
}

/// Whether a transaction is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchOutcome {
    /// From now on, or already.
    Watched,
    /// The maximum number of transactions of the chain is followed already.
    Full,
}

/// Follows a transaction from the commit on, unless `most` transactions of its chain are followed.
///
/// # Errors
/// A database error.
pub async fn watch(tx: &mut Tx, new: &NewWatch, most: u64) -> Result<WatchOutcome, StoreError> {
    let NewWatch { chain_id, transaction, subject } = new;
    let followed: bool = sqlx::query_scalar(
        r"
        with added as (
            insert into watched_transactions (chain_id, tx_hash, subject)
            select $1, $2, $3 where (select count(*) from watched_transactions where chain_id = $1) < $4
            on conflict on constraint watched_transactions_subject_key do nothing
            returning id
        )
        select exists (select from added) or exists (
            select from watched_transactions where subject = $3 and chain_id = $1 and tx_hash = $2
        )
        ",
    )
    .bind(int8("chain id", *chain_id)?)
    .bind(transaction.as_slice())
    .bind(subject)
    .bind(int8("transactions", most)?)
    .fetch_one(&mut **tx)
    .await?;
    Ok(if followed { WatchOutcome::Watched } else { WatchOutcome::Full })
}

/// Follows the transactions of open activities that are not followed yet, while fewer than `most` of the chain are.
pub(crate) async fn adopt(tx: &mut Tx, chain_id: i64, most: i64) -> Result<(), StoreError> {
    sqlx::query(
        r"
        insert into watched_transactions (chain_id, tx_hash, subject)
        select a.chain_id, a.tx_hash, a.id from activities a
        where a.chain_id = $1 and a.tx_hash is not null and a.closed_by is null
            and not exists (select from watched_transactions w where w.subject = a.id)
        order by a.created_at, a.id
        limit greatest(0, $2 - (select count(*) from watched_transactions where chain_id = $1))
        on conflict on constraint watched_transactions_subject_key do nothing
        ",
    )
    .bind(chain_id)
    .bind(most)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ends all watches of these subjects.
///
/// # Errors
/// A database error.
pub async fn unwatch(tx: &mut Tx, subjects: &[Uuid]) -> Result<(), StoreError> {
    let sql = "delete from watched_transactions where subject = any($1)";
    sqlx::query(sql).bind(subjects).execute(&mut **tx).await?;
    Ok(())
}

/// The transactions of a chain that are checked next. One that has timed out is checked once a minute.
pub(crate) async fn due(tx: &mut Tx, chain_id: i64, most: i64) -> Result<Vec<TransactionWatch>, StoreError> {
    let rows = sqlx::query(
        r"
        select id, subject, tx_hash, state, block_number, block_hash, sender, nonce::text as nonce, replaced_at, is_doubted,
            extract(epoch from now() - known_at)::float8 as unknown_for
        from watched_transactions
        where chain_id = $1 and (state <> 'timed_out' or checked_at < now() - interval '1 minute')
        order by checked_at nulls first, id limit $2
        ",
    )
    .bind(chain_id)
    .bind(most)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(|row| Ok(WatchRow::from_row(row)?.0)).collect()
}

/// Stores verdicts, except where another instance has changed the row since. Returns the rows that were changed.
pub(crate) async fn store(
    tx: &mut Tx,
    decided: &[(TransactionWatch, WatchVerdict)],
) -> Result<Vec<i64>, StoreError> {
    let verdicts = || decided.iter().map(|(_, verdict)| verdict);
    let number = |number: Option<u64>| number.map(|number| int8("block number", number)).transpose();
    let blocks: Vec<Option<i64>> = verdicts()
        .map(|verdict| number(verdict.block.map(|block| block.number)))
        .collect::<Result<_, _>>()?;
    let replaced: Vec<Option<i64>> =
        verdicts().map(|verdict| number(verdict.replaced_at)).collect::<Result<_, _>>()?;
    let hashes = |block: Option<BlockId>| block.map(|block| block.hash.to_vec());
    Ok(sqlx::query_scalar(
        r"
        update watched_transactions w set state = v.state, block_number = v.block_number, block_hash = v.block_hash,
            sender = v.sender, nonce = v.nonce::numeric, replaced_at = v.replaced_at, is_doubted = v.is_doubted,
            known_at = case when v.is_known then now() else w.known_at end, checked_at = now()
        from unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[], $5::bigint[], $6::bytea[], $7::bytea[], $8::text[],
            $9::bigint[], $10::boolean[], $11::boolean[])
            as v (id, old_state, old_hash, state, block_number, block_hash, sender, nonce, replaced_at, is_doubted, is_known)
        where w.id = v.id and w.state = v.old_state and w.block_hash is not distinct from v.old_hash
        returning w.id
        ",
    )
    .bind(decided.iter().map(|(watch, _)| watch.id).collect::<Vec<_>>())
    .bind(decided.iter().map(|(watch, _)| watch.state.as_str()).collect::<Vec<_>>())
    .bind(decided.iter().map(|(watch, _)| hashes(watch.block)).collect::<Vec<_>>())
    .bind(verdicts().map(|verdict| verdict.state.as_str()).collect::<Vec<_>>())
    .bind(blocks)
    .bind(verdicts().map(|verdict| hashes(verdict.block)).collect::<Vec<_>>())
    .bind(verdicts().map(|verdict| Some(verdict.sender?.account.to_vec())).collect::<Vec<_>>())
    .bind(verdicts().map(|verdict| Some(verdict.sender?.nonce.to_string())).collect::<Vec<_>>())
    .bind(replaced)
    .bind(verdicts().map(|verdict| verdict.is_doubted).collect::<Vec<_>>())
    .bind(verdicts().map(|verdict| verdict.is_known).collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?)
}

/// Ends watches.
pub(crate) async fn end(tx: &mut Tx, ids: &[i64]) -> Result<(), StoreError> {
    sqlx::query("delete from watched_transactions where id = any($1)").bind(ids).execute(&mut **tx).await?;
    Ok(())
}

/// How many transactions of a chain are followed.
pub(crate) async fn count(tx: &mut Tx, chain_id: i64) -> Result<u64, StoreError> {
    let sql = "select count(*) from watched_transactions where chain_id = $1";
    let count: i64 = sqlx::query_scalar(sql).bind(chain_id).fetch_one(&mut **tx).await?;
    Ok(count.unsigned_abs())
}

/// A row as a watch.
struct WatchRow(TransactionWatch);

impl WatchRow {
    fn from_row(row: &PgRow) -> Result<Self, StoreError> {
        let bytes = |name| row.try_get::<Option<Vec<u8>>, _>(name);
        let number = |name| -> Result<Option<u64>, StoreError> {
            row.try_get::<Option<i64>, _>(name)?.map(|number| unsigned("block number", number)).transpose()
        };
        let block_hash = bytes("block_hash")?.map(|bytes| hash(&bytes)).transpose()?;
        let account = bytes("sender")?.map(|bytes| address(&bytes)).transpose()?;
        let nonce: Option<u64> = row.try_get::<Option<&str>, _>("nonce")?.and_then(|text| text.parse().ok());
        let state: &str = row.try_get("state")?;
        let unknown = || StoreError::invalid(format!("a watched transaction has the state {state:?}"));
        Ok(Self(TransactionWatch {
            id: row.try_get("id")?,
            subject: row.try_get("subject")?,
            transaction: hash(&row.try_get::<Vec<u8>, _>("tx_hash")?)?,
            state: WatchState::from_word(state).ok_or_else(unknown)?,
            block: number("block_number")?.zip(block_hash).map(|(number, hash)| BlockId { number, hash }),
            sender: account.zip(nonce).map(|(account, nonce)| SeenSender { account, nonce }),
            replaced_at: number("replaced_at")?,
            is_doubted: row.try_get("is_doubted")?,
            unknown_for: Duration::from_secs_f64(row.try_get::<f64, _>("unknown_for")?.max(0.0)),
        }))
    }
}
