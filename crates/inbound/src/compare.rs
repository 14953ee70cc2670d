//! Compares hints with the events that the chain's loop stored from our own node. A stored event of its transaction confirms a hint. If
//! there is none when the chain is a reorg window above the hint's block, the message `inbound.unconfirmed` is published. If a reorg undoes
//! the event, the hint is open again.

mod follow;
mod message;
mod reopen;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgPool;
use uuid::Uuid;

use chainflume_db::convert::int8;
use chainflume_db::transaction;
use chainflume_db::{Database, StoreError};
use chainflume_follow::unwatch;
use chainflume_ops::metrics;
pub use follow::is_hint;
use message::{ExpiredHint, append};
pub use watch::ComparisonLoop;

/// A chain whose hints are compared in this process, which leads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedChain {
    /// Name in the configuration.
    pub name: String,
    /// EIP-155.
    pub chain_id: u64,
    /// Newest block that our node knows.
    pub head: u64,
    /// `chain.reorg_window`, in blocks.
    pub window: u64,
    /// Names of its configured sources.
    pub sources: Vec<String>,
}

/// The result of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HintRound {
    /// Whether a new hint is about a block that our node did not know yet.
    pub is_ahead: bool,
    /// Hints that stored events confirm.
    pub confirmed: u64,
    /// Hints that the chain does not confirm.
    pub unconfirmed: u64,
    /// Hints about contracts that no source reads.
    pub uncovered: u64,
}

/// Compares hints with stored events.
#[derive(Clone)]
pub struct Comparison {
    pool: PgPool,
    /// The newest reorg that was processed, by chain.
    reorgs: Arc<Mutex<BTreeMap<u64, i64>>>,
}

impl fmt::Debug for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Comparison").finish_non_exhaustive()
    }
}

/// Maximum number of hints in one round: some milliseconds, because each needs the events of one block.
const PAGE: i64 = 500;
/// Maximum number of transactions of a chain that are followed: with more, each would be checked too rarely.
const MAX_FOLLOWED: u64 = 10_000;
/// Deliveries that one sweep deletes with their hints: a transaction of a second.
const SWEEP: i64 = 1_000;

/// Sets when new hints are due. A block number far above the head counts as a window above it, so that a wrong number
/// cannot keep a hint open for ever.
const BEGIN: &str = r"
    update inbound_hints set due_block = least(coalesce(block_number, $2), $2 + $3) + $3
    where chain_id = $1 and state = 'open' and due_block is null
    returning coalesce(block_number, 0) > $2
";

const OPEN: &str = r"
    select id from inbound_hints where chain_id = $1 and state = 'open' and id > $2 order by id limit $3
";

/// A stored event of the transaction confirms a hint. It must be in the block that the hint names. For a hint without
/// a block, and for one that is due, it may be within a window before or after that block: a reorg moves
/// transactions. The limits keep the search to few blocks, since no index finds events by their transaction.
const CONFIRM: &str = r"
    update inbound_hints h set state = 'confirmed', compared_at = now()
    from (
        select o.id, d.endpoint
        from inbound_hints o join inbound_deliveries d on d.id = o.delivery
        cross join lateral (
            select o.block_number is null or o.block_number > o.due_block or o.due_block <= $3 as is_wide
        ) look
        cross join lateral (
            select 1 from events e where e.chain_id = $1 and e.tx_hash = o.tx_hash
            and e.block_number >= case when look.is_wide then o.due_block - 2 * $4 else o.block_number end
            and e.block_number <= case when look.is_wide then o.due_block else o.block_number end
            and (o.address is null or e.address = o.address)
            limit 1
        ) found
        where o.id = any($2)
    ) confirmed
    where h.id = confirmed.id and h.state = 'open'
    returning confirmed.endpoint
";

/// Whether one of the sources, whose names are the parameter, reads the contract and the event of a hint `h`. A condition in SQL.
macro_rules! covered {
    ($names:literal) => {
        concat!(
            "exists (select from followed f where f.source = any(",
            $names,
            ") and f.to_block is null and (f.addresses is null or h.address = any(f.addresses)) \
             and (f.topic0 is null or f.topic0 = h.topic0))"
        )
    };
}
use covered;

/// Ends hints that are due and have no event. The tip must be read before the events: otherwise an event that is
/// stored in between would be missed.
const EXPIRE: &str = concat!(
    "with due as (select h.id, h.followed or h.address is not null and ",
    covered!("$4"),
    r" as is_covered
        from inbound_hints h where h.chain_id = $1 and h.state = 'open' and h.due_block <= $2
        order by h.id limit $3 for update skip locked
    )
    update inbound_hints h set state = case when due.is_covered then 'unconfirmed' else 'uncovered' end,
        compared_at = now()
    from due, inbound_deliveries d where h.id = due.id and h.state = 'open' and d.id = h.delivery
    returning h.id, h.state, h.kind, h.tx_hash, h.block_number, h.block_hash, h.address, h.log_index, d.endpoint,
        d.delivery_id
    "
);

impl Comparison {
    /// A comparison of the hints in this database.
    pub fn of(database: &Database) -> Self {
        Self { pool: database.pool().clone(), reorgs: Arc::default() }
    }

    fn reorgs(&self) -> MutexGuard<'_, BTreeMap<u64, i64>> {
        self.reorgs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares the open hints of a chain. Several instances may do this at the same time: each hint ends once, with its message.
    ///
    /// # Errors
    /// A database error.
    pub async fn round(&self, chain: &ComparedChain) -> Result<HintRound, StoreError> {
        let (chain_id, window) = (int8("chain id", chain.chain_id)?, int8("blocks", chain.window)?);
        let mut compared = HintRound { is_ahead: self.begin(chain).await?, ..HintRound::default() };
        self.follow(chain, MAX_FOLLOWED).await?;
        self.reopen(chain).await?;
        let Some(tip) = self.tip(chain).await? else { return Ok(compared) };
        let (mut after, mut open) = (0, 0);
        loop {
            let mut tx = transaction::begin_bounded(&self.pool).await?;
            let page = sqlx::query_scalar(OPEN).bind(chain_id).bind(after).bind(PAGE);
            let ids: Vec<i64> = page.fetch_all(&mut *tx).await?;
            let Some(last) = ids.last() else { break };
            after = *last;
            open += ids.len() as u64;
            let confirm = sqlx::query_scalar(CONFIRM).bind(chain_id).bind(&ids).bind(tip).bind(window);
            let confirmed: Vec<String> = confirm.fetch_all(&mut *tx).await?;
            tx.commit().await?;
            compared.confirmed += confirmed.len() as u64;
            confirmed.iter().for_each(|endpoint| metrics::inbound_hint(endpoint, "confirmed"));
        }
        while self.expire(chain, tip, &mut compared).await? {}
        let ended = compared.confirmed + compared.unconfirmed + compared.uncovered;
        metrics::inbound_open(&chain.name, open.saturating_sub(ended));
        Ok(compared)
    }

    /// Deletes deliveries older than `kept` whose hints are all compared, a page at most. Returns whether there may be more.
    ///
    /// # Errors
    /// A database error.
    pub async fn sweep(&self, kept: Duration) -> Result<bool, StoreError> {
        let mut tx = transaction::begin_brief(&self.pool).await?;
        let deleted = sqlx::query(
            r"
            delete from inbound_deliveries where id in (
                select d.id from inbound_deliveries d where d.received_at < now() - make_interval(secs => $1)
                and not exists (select from inbound_hints h where h.delivery = d.id and h.state = 'open')
                order by d.received_at limit $2
            )
            ",
        )
        .bind(kept.as_secs_f64())
        .bind(SWEEP)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(deleted.rows_affected() == SWEEP.unsigned_abs())
    }

    /// Sets when new hints are due. Returns whether one is about a block above the head.
    async fn begin(&self, chain: &ComparedChain) -> Result<bool, StoreError> {
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        let begun: Vec<bool> = sqlx::query_scalar(BEGIN)
            .bind(int8("chain id", chain.chain_id)?)
            .bind(int8("block number", chain.head)?)
            .bind(int8("blocks", chain.window)?)
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(begun.contains(&true))
    }

    /// The block up to which all sources of the chain are stored; `None` while one of them has nothing.
    async fn tip(&self, chain: &ComparedChain) -> Result<Option<i64>, StoreError> {
        // A source that has stored its last block does not limit the tip, unless all have.
        let sql = r"
            select case when count(*) = cardinality($1::text[]) then coalesce(
                min(p.block_number) filter (where p.block_number < s.end_block or s.end_block is null), max(p.block_number)) end
            from checkpoints p join sources s on s.name = p.source where p.source = any($1)
        ";
        let mut tx = transaction::begin_look(&self.pool).await?;
        let tip = sqlx::query_scalar(sql).bind(&chain.sources).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(tip)
    }

    /// Ends hints that are due, a page at most, with the messages about them. Returns whether there may be more.
    async fn expire(
        &self,
        chain: &ComparedChain,
        tip: i64,
        compared: &mut HintRound,
    ) -> Result<bool, StoreError> {
        let chain_id = int8("chain id", chain.chain_id)?;
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        let expire = sqlx::query(EXPIRE).bind(chain_id).bind(tip).bind(PAGE).bind(&chain.sources);
        let ended: Vec<ExpiredHint> =
            expire.fetch_all(&mut *tx).await?.iter().map(ExpiredHint::read).collect::<Result<_, _>>()?;
        let unconfirmed: Vec<&ExpiredHint> = ended.iter().filter(|hint| hint.is_covered).collect();
        let subjects: Vec<Uuid> = ended.iter().map(|hint| follow::subject(hint.id)).collect();
        unwatch(&mut tx, &subjects).await?;
        append(&mut tx, chain, &unconfirmed).await?;
        tx.commit().await?;
        for hint in &ended {
            let outcome = if hint.is_covered { "unconfirmed" } else { "uncovered" };
            metrics::inbound_hint(&hint.endpoint, outcome);
        }
        if let Some(first) = unconfirmed.first() {
            let (chain, hints) = (&chain.name, unconfirmed.len());
            let (endpoint, transaction) = (&first.endpoint, first.transaction);
            tracing::warn!(
                %chain, %endpoint, %transaction, hints,
                "the chain does not confirm what a provider reported; see the table inbound_hints"
            );
        }
        compared.unconfirmed += unconfirmed.len() as u64;
        compared.uncovered += (ended.len() - unconfirmed.len()) as u64;
        Ok(ended.len() as u64 == PAGE.unsigned_abs())
    }
}

#[cfg(test)]
mod tests;
