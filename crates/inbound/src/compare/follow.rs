//! Hints that no stored event can confirm: about a transaction alone, or about a contract that no source reads. Their
//! transactions are followed, and a receipt from our own node confirms them.

use alloy_primitives::B256;
use sqlx::postgres::PgPool;
use uuid::Uuid;

use super::{ComparedChain, Comparison, covered};
use chainflume_db::StoreError;
use chainflume_db::convert::{hash, int8};
use chainflume_db::transaction::{self, Tx};
use chainflume_follow::{
    AfterCommit, NewWatch, Subject, Taken, TransactionChange, WatchOutcome, WatchState, watch,
};
use chainflume_ops::metrics;

/// The first half of the ids under which hints are followed: `inbound.` in ASCII.
const MARK: u64 = u64::from_be_bytes(*b"inbound.");
/// Hints that one round begins to follow.
const PAGE: i64 = 200;

const UNREAD: &str = concat!(
    r"
    select h.id, h.tx_hash from inbound_hints h
    where h.chain_id = $1 and h.state = 'open' and h.due_block is not null and h.compared_at is null
        and (h.address is null or not ",
    covered!("$2"),
    ") order by h.id limit $3"
);

const CONFIRM: &str = r"
    update inbound_hints h set state = 'confirmed', compared_at = now()
    from inbound_deliveries d
    where d.id = h.delivery and h.state = 'open'
        and (h.id = any($1) or (h.id = any($2) and h.address is null))
    returning d.endpoint
";

/// The id under which a hint is followed.
pub(super) fn subject(hint: u64) -> Uuid {
    Uuid::from_u64_pair(MARK, hint)
}

/// Whether a transaction is followed for a hint.
pub fn is_hint(subject: Uuid) -> bool {
    hint(subject).is_some()
}

/// The hint with this id; `None` for the id of another subject.
fn hint(subject: Uuid) -> Option<i64> {
    let (mark, hint) = subject.as_u64_pair();
    (mark == MARK).then(|| i64::try_from(hint).ok()).flatten()
}

/// Opens hints again whose transaction a reorg removed from its block, or moved to another block.
const REOPEN: &str =
    "update inbound_hints set state = 'open', compared_at = now() where id = any($1) and state = 'confirmed'";

impl Comparison {
    /// Begins to follow the transactions of new hints that no stored event can confirm. Where `most` transactions are
    /// followed already, a hint ends as `uncovered`.
    pub(super) async fn follow(&self, chain: &ComparedChain, most: u64) -> Result<(), StoreError> {
        let mut tx = transaction::begin_bounded(self.pool()).await?;
        let unread = sqlx::query_as(UNREAD).bind(int8("chain id", chain.chain_id)?);
        let unread: Vec<(i64, Vec<u8>)> = unread.bind(&chain.sources).bind(PAGE).fetch_all(&mut *tx).await?;
        let mut followed = Vec::new();
        for (id, transaction) in &unread {
            let transaction: B256 = hash(transaction)?;
            let new = NewWatch { chain_id: chain.chain_id, transaction, subject: subject(id.unsigned_abs()) };
            if watch(&mut tx, &new, most).await? == WatchOutcome::Watched {
                followed.push(*id);
            }
        }
        let seen: Vec<i64> = unread.iter().map(|(id, _)| *id).collect();
        if !seen.is_empty() {
            let sql =
                "update inbound_hints set compared_at = now(), followed = id = any($2) where id = any($1)";
            sqlx::query(sql).bind(&seen).bind(&followed).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    fn pool(&self) -> &PgPool {
        &self.pool
    }
}

fn of_moved(changes: &[TransactionChange]) -> Vec<i64> {
    let is_moved = |change: &&TransactionChange| match change.to {
        WatchState::Waiting => true,
        WatchState::Mined => matches!(change.from, WatchState::Succeeded | WatchState::Reverted),
        _ => false,
    };
    changes.iter().filter(is_moved).filter_map(|change| hint(change.subject)).collect()
}

impl Subject for Comparison {
    fn changed<'a>(&'a self, tx: &'a mut Tx, changes: Vec<TransactionChange>) -> Taken<'a> {
        Box::pin(async move {
            let of = |state: WatchState| -> Vec<i64> {
                let these = changes.iter().filter(|change| change.to == state);
                these.filter_map(|change| hint(change.subject)).collect()
            };
            let moved = of_moved(&changes);
            if !moved.is_empty() {
                sqlx::query(REOPEN).bind(&moved).execute(&mut **tx).await?;
            }
            // A transaction that reverted was mined, and has no log. It confirms only hints without a log.
            let (succeeded, reverted) = (of(WatchState::Succeeded), of(WatchState::Reverted));
            if succeeded.is_empty() && reverted.is_empty() {
                return Ok(AfterCommit::new());
            }
            let confirmed = sqlx::query_scalar(CONFIRM).bind(&succeeded).bind(&reverted);
            let confirmed: Vec<String> = confirmed.fetch_all(&mut **tx).await?;
            let count =
                move || confirmed.iter().for_each(|endpoint| metrics::inbound_hint(endpoint, "confirmed"));
            Ok(vec![Box::new(count)])
        })
    }
}
