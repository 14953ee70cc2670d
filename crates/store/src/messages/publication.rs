use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::super::events::Stored;
use super::super::followed;
use super::super::open::OpenChain;
use super::event::{self, EventRef, UserIds};
use super::users::{self, Stakers};
use chainflume_core::domain::{Event, Message};
use chainflume_db::StoreError;
use chainflume_db::convert::unsigned;
use chainflume_db::transaction::Tx;
use chainflume_outbox::{Draft, append, drafts};

/// The messages of a step: begun before the projections change, written as the last thing before the commit.
pub(in super::super) struct Publication<'a> {
    refs: Vec<EventRef<'a>>,
    /// Published as pending, and retracted with this step.
    gone: Vec<EventRef<'a>>,
    stakers: Stakers,
}

impl<'a> Publication<'a> {
    /// Of the events, given with their kinds' ids in chain order, those that are to be announced.
    pub(in super::super) async fn begin(
        tx: &mut Tx,
        chain: &OpenChain,
        events: impl Iterator<Item = (i32, &'a Event)>,
    ) -> Result<Self, StoreError> {
        let refs = published(tx, chain, events).await?;
        let stakers = users::before(tx, chain, &refs).await?;
        Ok(Self { refs, gone: Vec::new(), stakers })
    }

    /// Retracts with the step what was published as pending.
    pub(in super::super) fn with_retractions(self, pending: &'a [Stored]) -> Self {
        Self { gone: pending.iter().map(EventRef::of).collect(), ..self }
    }

    /// Looks up, now that the projections have changed, what is to be published of it.
    pub(in super::super) async fn resolve(
        self,
        tx: &mut Tx,
        chain: &OpenChain,
    ) -> Result<Confirmation<'a>, StoreError> {
        let gone = event::retracted(tx, chain, &self.gone).await?;
        let users = UserIds::of(tx, &self.refs).await?;
        let stakers = self.stakers.messages(tx, chain, &self.refs).await?;
        Ok(Confirmation { gone, refs: self.refs, users, stakers })
    }

    /// Publishes that the events are confirmed, under a head of this height.
    pub(in super::super) async fn confirm(
        self,
        tx: &mut Tx,
        chain: &OpenChain,
        head: u64,
    ) -> Result<(), StoreError> {
        let drafts = self.resolve(tx, chain).await?.write(chain, head)?;
        append(tx, chain.id, drafts, None).await
    }
}

/// The confirmation of events, with everything that its messages need: composing them needs no database.
pub(in super::super) struct Confirmation<'a> {
    /// What is taken back goes first: another event may be confirmed at its place.
    gone: Vec<Message>,
    refs: Vec<EventRef<'a>>,
    users: UserIds,
    stakers: Vec<Message>,
}

impl Confirmation<'_> {
    /// The messages, under a head of this height.
    pub(in super::super) fn write(self, chain: &OpenChain, head: u64) -> Result<Vec<Draft>, StoreError> {
        let mut messages = self.gone;
        messages.extend(event::confirmed(chain, &self.refs, &self.users, head)?);
        messages.extend(self.stakers);
        drafts(messages)
    }
}

/// Of the events, given with their kinds' ids, those that are to be announced.
pub(in super::super) async fn published<'a>(
    tx: &mut Tx,
    chain: &OpenChain,
    events: impl Iterator<Item = (i32, &'a Event)>,
) -> Result<Vec<EventRef<'a>>, StoreError> {
    let events: Vec<(i32, &'a Event)> = events.collect();
    let mut refs = Vec::new();
    if events.is_empty() {
        return Ok(refs);
    }
    // Of the sources that have events, not of all: a chain may have thousands, and this is for every block.
    let mut sources = BTreeSet::new();
    for (kind_id, _) in &events {
        sources.insert(chain.described(*kind_id)?.source.as_str());
    }
    let from = publish_from(tx, chain, Some(sources)).await?;
    for (kind_id, event) in events {
        let source = &chain.described(kind_id)?.source;
        if from.get(source).is_some_and(|from| event.place.block_number >= *from) {
            refs.push(EventRef { kind_id, event });
        }
    }
    Ok(refs)
}

/// Publishes that events are seen at the head, under a head of this height that was seen then.
pub(in super::super) async fn publish_pending(
    tx: &mut Tx,
    chain: &OpenChain,
    refs: &[EventRef<'_>],
    (head, seen_at): (u64, Option<SystemTime>),
) -> Result<(), StoreError> {
    let users = UserIds::of(tx, refs).await?;
    let messages = event::pending(chain, refs, &users, head)?;
    append(tx, chain.id, drafts(messages)?, seen_at).await
}

/// Publishes that events, given in chain order, are taken back: the newest first.
pub(in super::super) async fn retract(
    tx: &mut Tx,
    chain: &OpenChain,
    events: impl Iterator<Item = &Stored>,
) -> Result<(), StoreError> {
    let drafts = retractions(tx, chain, events).await?;
    append(tx, chain.id, drafts, None).await
}

/// As [`retract`], to be published later in the transaction.
pub(in super::super) async fn retractions(
    tx: &mut Tx,
    chain: &OpenChain,
    events: impl Iterator<Item = &Stored>,
) -> Result<Vec<Draft>, StoreError> {
    let refs: Vec<EventRef<'_>> = events.map(EventRef::of).collect();
    drafts(event::retracted(tx, chain, &refs).await?)
}

/// Which stored events have been published.
pub(in super::super) struct PublishedEvents {
    from: BTreeMap<String, u64>,
    quiet: followed::Quiet,
}

impl PublishedEvents {
    /// As the sources of the chain are now.
    pub(in super::super) async fn of(tx: &mut Tx, chain: &OpenChain) -> Result<Self, StoreError> {
        Ok(Self { from: publish_from(tx, chain, None).await?, quiet: followed::Quiet::of(tx, chain).await? })
    }

    /// Nothing below this block has been published; `None` where nothing has.
    pub(in super::super) fn lowest(&self) -> Option<u64> {
        self.from.values().min().copied()
    }

    /// Whether this event has been: what was stored without a message leaves without one.
    pub(in super::super) fn has(&self, chain: &OpenChain, stored: &Stored) -> Result<bool, StoreError> {
        let kind = chain.described(stored.kind_id)?;
        let from = self.from.get(&kind.source);
        Ok(from.is_some_and(|from| stored.event.place.block_number >= *from)
            && !self.quiet.has(kind, &stored.event))
    }
}

/// From which block on each of these sources is announced, or each of all; a source that has not decided yet is not.
async fn publish_from(
    tx: &mut Tx,
    chain: &OpenChain,
    sources: Option<BTreeSet<&str>>,
) -> Result<BTreeMap<String, u64>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        r"
        select name, publish_from from sources
        where chain_id = $1 and publish_from is not null and ($2::text[] is null or name = any($2))
        ",
    )
    .bind(chain.id)
    .bind(sources.map(|sources| sources.into_iter().collect::<Vec<_>>()))
    .fetch_all(&mut **tx)
    .await?;
    rows.into_iter().map(|(source, from)| Ok((source, unsigned("block number", from)?))).collect()
}
