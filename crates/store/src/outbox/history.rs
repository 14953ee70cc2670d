//! Messages about what was stored long ago, told again.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};

use super::super::convert::{count, int8, unsigned};
use super::super::open::Chain;
use super::super::transaction::DURABLE;
use super::super::{ChainStore, Store, StoreError, events, transaction};
use super::about::{self, Said, Users};
use super::draft::drafts;
use chainflume_core::domain::{BlockRange, Message, Place};

/// Which stored events are to be told again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayQuery {
    /// The blocks, all of them final: what is told here is never retracted.
    pub range: BlockRange,
    /// Types of events; empty for all.
    pub types: Vec<String>,
    /// What was told already: nothing up to this place is told again.
    pub after: Option<Place>,
}

/// Held while a replay runs, so that there is one at a time: two would get in each other's numbers.
#[derive(Debug)]
pub struct ReplayLock(PgConnection);

impl ReplayLock {
    /// Lets go. Dropping it does too, when the server notices.
    pub async fn release(self) {
        use sqlx::Connection;
        // A connection that breaks has let go as well.
        let _ = self.0.close().await;
    }
}

impl Store {
    /// The right to replay; `None` while somebody else does.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn lock_replay(&self) -> Result<Option<ReplayLock>, StoreError> {
        if !self.direct {
            return Err(StoreError::NoSession { what: "a replay" });
        }
        let mut connection = self.hosts.options().connect().await?;
        let taken: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(transaction::REPLAY)
            .fetch_one(&mut connection)
            .await?;
        Ok(taken.then_some(ReplayLock(connection)))
    }

    /// The newest number taken for streams of their own, 0 before the first.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn replay_number(&self, streams: &str) -> Result<u64, StoreError> {
        Ok(self.sink_cursor(&format!("replay {streams}")).await?.unwrap_or(0))
    }

    /// The first of `count` numbers for messages on streams of their own, which nobody else will get: numbers that were
    /// taken and not used leave a gap.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn take_replay_numbers(&self, streams: &str, count: u64) -> Result<u64, StoreError> {
        let last: i64 = sqlx::query_scalar(
            AssertSqlSafe(format!(
                "insert into sink_cursors as c (sink, seq) select $1, $2 where {DURABLE} is not null \
                 on conflict on constraint sink_cursors_pkey do update set seq = c.seq + $2, updated_at = now() \
                 returning seq"
            )),
        )
        .bind(format!("replay {streams}"))
        .bind(int8("numbers", count)?)
        .fetch_one(&self.pool)
        .await?;
        Ok(unsigned("sequence", last)?.saturating_sub(count) + 1)
    }
}

impl ChainStore {
    /// How many events of each type a replay tells.
    ///
    /// # Errors
    /// [`StoreError::NotFinal`]; [`StoreError::UnknownType`]; whatever the database says.
    pub async fn replay_size(&self, query: &ReplayQuery) -> Result<BTreeMap<String, u64>, StoreError> {
        let final_number = self.held().await?.final_number;
        if final_number.is_none_or(|number| query.range.to() > number) {
            return Err(StoreError::NotFinal { to: query.range.to(), final_number });
        }
        let kinds = kinds(&self.chain, query)?;
        let rows = events::count_by_kind(&self.pool, &self.chain, (query, &kinds)).await?;
        let mut by_type = BTreeMap::new();
        for (kind, events) in rows {
            *by_type.entry(self.chain.described(kind)?.event_type.clone()).or_default() += count(events);
        }
        Ok(by_type)
    }

    /// The next messages of a replay in chain order, `limit` at most, each marked and without a number, and the place of
    /// the last; none at the end. They are made as the outbox makes them.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn replay_page(
        &self,
        query: &ReplayQuery,
        limit: u32,
    ) -> Result<Option<(Vec<Message>, Place)>, StoreError> {
        let chain = &*self.chain;
        let kinds = kinds(chain, query)?;
        let mut tx = transaction::begin_snapshot(&self.pool).await?;
        let stored = events::page(&mut tx, chain, (query, &kinds), limit).await?;
        let Some(last) = stored.last().map(|stored| stored.event.place) else { return Ok(None) };
        let head: Option<i64> =
            sqlx::query_scalar("select max(block_number) from checkpoints where chain_id = $1")
                .bind(chain.id)
                .fetch_one(&mut *tx)
                .await?;
        let head = unsigned("block number", head.unwrap_or(0))?;
        let said: Vec<Said<'_>> =
            stored.iter().map(|stored| Said { kind_id: stored.kind_id, event: &stored.event }).collect();
        let users = Users::of(&mut tx, &said).await?;
        let mut messages = about::confirmed(chain, &said, &users, head)?;
        messages.iter_mut().for_each(|message| message.replay = true);
        Ok(Some((messages, last)))
    }

    /// Puts messages of a replay into the outbox, behind what is there: every sink gets them.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn announce_again(&self, messages: Vec<Message>) -> Result<(), StoreError> {
        let drafts = drafts(messages)?;
        let mut tx = transaction::begin(&self.pool, true).await?;
        super::push(&mut tx, &self.chain, drafts, None).await?;
        Ok(tx.commit().await?)
    }
}

/// The kinds a replay tells of. Messages about users are no events: they say how a user was at the time, which nobody
/// keeps.
fn kinds(chain: &Chain, query: &ReplayQuery) -> Result<Vec<i32>, StoreError> {
    let known: BTreeSet<&str> = chain.all_described().map(|(_, kind)| kind.event_type.as_str()).collect();
    if let Some(given) = query.types.iter().find(|given| !known.contains(given.as_str())) {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(StoreError::UnknownType { given: given.clone(), known });
    }
    let wanted = |event_type: &String| query.types.is_empty() || query.types.contains(event_type);
    Ok(chain.all_described().filter(|(_, kind)| wanted(&kind.event_type)).map(|(id, _)| id).collect())
}
