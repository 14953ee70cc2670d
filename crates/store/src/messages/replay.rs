//! Messages about stored events, composed again for a replay.

use std::collections::{BTreeMap, BTreeSet};

use super::super::open::OpenChain;
use super::super::{ChainStore, ReplayQuery, events};
use super::event::{self, EventRef, UserIds};
use chainflume_core::domain::{Message, Place, TypePattern};
use chainflume_db::convert::{count, unsigned};
use chainflume_db::{StoreError, transaction};
use chainflume_outbox::{Draft, ReplaySource, drafts};

impl ChainStore {
    /// Number of events of each type that a replay publishes.
    ///
    /// # Errors
    /// [`StoreError::NotFinal`]; [`StoreError::UnknownType`]; a database error.
    pub async fn replay_size(&self, query: &ReplayQuery) -> Result<BTreeMap<String, u64>, StoreError> {
        let final_number = self.snapshot().await?.final_number;
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

    /// The next messages of a replay in chain order, `limit` at most, each marked as a replay and without a number. Also returns
    /// the place of the last one; `None` at the end.
    ///
    /// # Errors
    /// A database error.
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
            sqlx::query_scalar("select max(block_number) from source_groups where chain_id = $1")
                .bind(chain.id)
                .fetch_one(&mut *tx)
                .await?;
        let head = unsigned("block number", head.unwrap_or(0))?;
        let refs: Vec<EventRef<'_>> = stored.iter().map(EventRef::of).collect();
        let users = UserIds::of(&mut tx, &refs).await?;
        let mut messages = event::confirmed(chain, &refs, &users, head)?;
        messages.iter_mut().for_each(|message| message.replay = true);
        Ok(Some((messages, last)))
    }
}

/// The events of a chain that a query selects.
pub struct ChainReplay {
    chain: ChainStore,
    query: ReplayQuery,
}

impl ChainReplay {
    /// Creates the source without reading.
    pub fn new(chain: ChainStore, query: ReplayQuery) -> Self {
        Self { chain, query }
    }
}

impl ReplaySource for ChainReplay {
    type Mark = Place;

    fn chain_id(&self) -> Option<i64> {
        Some(self.chain.chain.id)
    }

    async fn page(
        &self,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Option<(Vec<Draft>, Place)>, StoreError> {
        let query = ReplayQuery { after: after.or(self.query.after), ..self.query.clone() };
        let page = self.chain.replay_page(&query, limit).await?;
        page.map(|(messages, last)| Ok((drafts(messages)?, last))).transpose()
    }
}

/// The kinds that a replay publishes. Messages about users are not replayed: they contain the state of a user at the time, which
/// is not stored.
fn kinds(chain: &OpenChain, query: &ReplayQuery) -> Result<Vec<i32>, StoreError> {
    let known: BTreeSet<&str> = chain.all_described().map(|(_, kind)| kind.event_type.as_str()).collect();
    let is_unknown = |given: &&TypePattern| !known.iter().any(|name| given.names(name));
    if let Some(given) = query.types.iter().find(is_unknown) {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(StoreError::UnknownType { given: given.to_string(), known });
    }
    let wanted = |event_type: &String| {
        query.types.is_empty() || query.types.iter().any(|wanted| wanted.names(event_type))
    };
    Ok(chain.all_described().filter(|(_, kind)| wanted(&kind.event_type)).map(|(id, _)| id).collect())
}
