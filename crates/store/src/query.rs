//! Reads for status and readiness. The time of each does not grow with the number of events.

use chainflume_core::domain::BlockId;

use super::{Store, UndoReason};
use chainflume_db::convert::{block_id, count, unsigned};
use chainflume_db::{StoreError, transaction};

/// The state of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// EIP-155.
    pub chain_id: u64,
    /// The chain's name.
    pub chain: String,
    /// The source's name.
    pub source: String,
    /// `stake`, `erc20`, `erc721` or `generic`.
    pub family: String,
    /// The lowest block whose events may be stored; `None` until the first head has decided it.
    pub start_block: Option<u64>,
    /// Whether the first head decides it.
    pub starts_at_latest: bool,
    /// The newest block stored; `None` when nothing is stored yet.
    pub checkpoint: Option<BlockId>,
    /// When the checkpoint last moved, in seconds since the Unix epoch.
    pub updated_at: Option<u64>,
    /// The newest final block, below which nothing is undone.
    pub final_number: Option<u64>,
    /// Events stored.
    pub events: u64,
    /// Dead letters that are open.
    pub dead_letters_open: u64,
}

/// How many events of a type a source has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCount {
    /// EIP-155.
    pub chain_id: u64,
    /// The source's name.
    pub source: String,
    /// `erc20.mint` for instance.
    pub event_type: String,
    /// Events stored.
    pub events: u64,
}

/// A rewind that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReorgRecord {
    /// EIP-155.
    pub chain_id: u64,
    /// The newest block that stayed.
    pub ancestor: BlockId,
    /// The highest checkpoint before.
    pub old_tip: BlockId,
    /// Blocks between the two.
    pub depth: u64,
    /// Events taken back.
    pub events: u64,
    /// When, in seconds since the Unix epoch.
    pub detected_at: u64,
    /// Why.
    pub reason: UndoReason,
}

#[derive(sqlx::FromRow)]
struct StatusRow {
    chain_id: i64,
    chain: String,
    source: String,
    family: String,
    start_block: Option<i64>,
    starts_at_latest: bool,
    block_number: Option<i64>,
    block_hash: Option<Vec<u8>>,
    updated_at: Option<i64>,
    final_number: Option<i64>,
    events: i64,
    dead_letters: i64,
}

#[derive(sqlx::FromRow)]
struct ReorgRow {
    chain_id: i64,
    ancestor_number: i64,
    ancestor_hash: Vec<u8>,
    old_tip_number: i64,
    old_tip_hash: Vec<u8>,
    depth: i64,
    events: i64,
    detected_at: i64,
    reason: String,
}

impl Store {
    /// Every source that was ever opened, by chain and name.
    ///
    /// # Errors
    /// A database error; also if the tables are missing: check [`Store::schema`] before.
    pub async fn status(&self) -> Result<Vec<SourceStatus>, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        let rows: Vec<StatusRow> = sqlx::query_as(
            r"
            select s.chain_id, c.name as chain, s.name as source, s.family, s.start_block, s.starts_at_latest,
                p.block_number, p.block_hash, extract(epoch from p.updated_at)::bigint as updated_at,
                c.final_number,
                (select coalesce(sum(k.events), 0)::bigint from event_kinds k where k.source = s.name) as events,
                (select count(*) from dead_letters d where d.source = s.name and d.resolved_at is null)
                    as dead_letters
            from sources s join chains c on c.chain_id = s.chain_id
            left join checkpoints p on p.source = s.name
            order by s.chain_id, s.name
            ",
        )
        .fetch_all(&mut *tx)
        .await?;
        rows.into_iter().map(StatusRow::read).collect()
    }

    /// Number of events by source and type, from counters that the writers maintain: cheap at any size.
    ///
    /// # Errors
    /// A database error.
    pub async fn event_counts(&self) -> Result<Vec<EventCount>, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        let rows: Vec<(i64, String, String, i64)> = sqlx::query_as(
            r"
            select chain_id, source, type, sum(events)::bigint from event_kinds
            group by chain_id, source, type order by chain_id, source, type
            ",
        )
        .fetch_all(&mut *tx)
        .await?;
        rows.into_iter()
            .map(|(chain_id, source, event_type, events)| {
                Ok(EventCount {
                    chain_id: unsigned("chain id", chain_id)?,
                    source,
                    event_type,
                    events: count(events),
                })
            })
            .collect()
    }

    /// Number of balances below zero by chain, as (chain id, balances); chains without any are left out. The cause is a token that
    /// rebases, or one whose history was not read from its start.
    ///
    /// # Errors
    /// A database error.
    pub async fn negative_balances(&self) -> Result<Vec<(u64, u64)>, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "select chain_id, count(*) from token_balances where negative group by chain_id order by chain_id",
        )
        .fetch_all(&mut *tx)
        .await?;
        rows.into_iter().map(|(chain_id, rows)| Ok((unsigned("chain id", chain_id)?, count(rows)))).collect()
    }

    /// The latest rewinds, newest first, `limit` at most.
    ///
    /// # Errors
    /// A database error.
    pub async fn reorgs(&self, limit: u32) -> Result<Vec<ReorgRecord>, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        let rows: Vec<ReorgRow> = sqlx::query_as(
            r"
            select chain_id, ancestor_number, ancestor_hash, old_tip_number, old_tip_hash, depth, events,
                extract(epoch from detected_at)::bigint as detected_at, reason
            from reorgs order by id desc limit $1
            ",
        )
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        rows.into_iter().map(ReorgRow::read).collect()
    }
}

impl StatusRow {
    fn read(self) -> Result<SourceStatus, StoreError> {
        let checkpoint = match (self.block_number, &self.block_hash) {
            (Some(number), Some(hash)) => Some(block_id(number, hash)?),
            _ => None,
        };
        Ok(SourceStatus {
            chain_id: unsigned("chain id", self.chain_id)?,
            chain: self.chain,
            source: self.source,
            family: self.family,
            starts_at_latest: self.starts_at_latest,
            start_block: self.start_block.map(|start| unsigned("start block", start)).transpose()?,
            checkpoint,
            updated_at: self.updated_at.map(count),
            final_number: self.final_number.map(count),
            events: count(self.events),
            dead_letters_open: count(self.dead_letters),
        })
    }
}

impl ReorgRow {
    fn read(self) -> Result<ReorgRecord, StoreError> {
        let reason = UndoReason::from_word(&self.reason).ok_or_else(|| StoreError::Corrupt {
            table: "reorgs",
            what: format!("reason `{}`", self.reason),
        })?;
        Ok(ReorgRecord {
            chain_id: unsigned("chain id", self.chain_id)?,
            ancestor: block_id(self.ancestor_number, &self.ancestor_hash)?,
            old_tip: block_id(self.old_tip_number, &self.old_tip_hash)?,
            depth: count(self.depth),
            events: count(self.events),
            detected_at: count(self.detected_at),
            reason,
        })
    }
}
