use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::super::events::Stored;
use super::super::followed;
use super::super::open::OpenChain;
use super::event::{self, EventRef, RemovedUsers, UserIds};
use super::users::{self, Stakers};
use chainflume_core::domain::{Event, Message};
use chainflume_db::StoreError;
use chainflume_db::convert::unsigned;
use chainflume_db::transaction::Tx;
use chainflume_outbox::{Draft, append, drafts};

/// The messages of a step: begun before the projections change, and written last before the commit.
pub(in super::super) struct Publication<'a> {
    refs: Vec<EventRef<'a>>,
    /// Published as pending, and retracted with this step.
    gone: Vec<EventRef<'a>>,
    stakers: Stakers,
}

impl<'a> Publication<'a> {
    /// Selects the events to publish. `events` are in chain order, with the ids of their kinds.
    pub(in super::super) async fn begin(
        tx: &mut Tx,
        chain: &OpenChain,
        events: impl Iterator<Item = (i32, &'a Event)>,
    ) -> Result<Self, StoreError> {
        let refs = published(tx, chain, events).await?;
        let stakers = users::before(tx, chain, &refs).await?;
        Ok(Self { refs, gone: Vec::new(), stakers })
    }

    /// Also retracts these pending events with the step.
    pub(in super::super) fn with_retractions(self, pending: &'a [Stored]) -> Self {
        Self { gone: pending.iter().map(EventRef::pending).collect(), ..self }
    }

    /// Looks up what the messages contain. Call it after the projections have changed.
    pub(in super::super) async fn resolve(
        self,
        tx: &mut Tx,
        chain: &OpenChain,
    ) -> Result<Confirmation<'a>, StoreError> {
        let gone = event::retracted(tx, chain, &self.gone, &RemovedUsers::default()).await?;
        let users = UserIds::of(tx, &self.refs).await?;
        let stakers = self.stakers.messages(tx, chain, &self.refs).await?;
        Ok(Confirmation { gone, refs: self.refs, users, stakers })
    }

    /// Publishes the events as confirmed. `head` is the height of the chain's head.
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

/// The confirmation of events with all that its messages contain, so that composing them needs no database.
pub(in super::super) struct Confirmation<'a> {
    /// Retractions come first: another event may be confirmed at the same place.
    gone: Vec<Message>,
    refs: Vec<EventRef<'a>>,
    users: UserIds,
    stakers: Vec<Message>,
}

impl Confirmation<'_> {
    /// Composes the messages. `head` is the height of the chain's head.
    pub(in super::super) fn write(self, chain: &OpenChain, head: u64) -> Result<Vec<Draft>, StoreError> {
        let mut messages = self.gone;
        messages.extend(event::confirmed(chain, &self.refs, &self.users, head)?);
        messages.extend(self.stakers);
        drafts(messages)
    }
}

/// Selects the events that their sources publish. `events` have the ids of their kinds.
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
    // Only for the sources of these events: a chain may have thousands, and this runs for every block.
    let mut sources = BTreeSet::new();
    for (kind_id, _) in &events {
        sources.insert(chain.described(*kind_id)?.source.as_str());
    }
    let from = publish_from(tx, chain, Some(sources)).await?;
    for (kind_id, event) in events {
        let source = &chain.described(kind_id)?.source;
        if from.get(source).is_some_and(|from| event.place.block_number >= *from) {
            refs.push(EventRef { kind_id, event, is_pending: false });
        }
    }
    Ok(refs)
}

/// Publishes the events as pending. `head` is the height of the chain's head, `seen_at` when it was seen.
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

/// Publishes the retractions of these pending events, the newest first. They are given in chain order.
pub(in super::super) async fn retract_pending(
    tx: &mut Tx,
    chain: &OpenChain,
    gone: &[Stored],
) -> Result<(), StoreError> {
    let refs: Vec<EventRef<'_>> = gone.iter().map(EventRef::pending).collect();
    let drafts = retractions(tx, chain, &refs, &RemovedUsers::default()).await?;
    append(tx, chain.id, drafts, None).await
}

/// The messages that retract these events, for a later append in the transaction. The events are given in chain order.
pub(in super::super) async fn retractions(
    tx: &mut Tx,
    chain: &OpenChain,
    refs: &[EventRef<'_>],
    removed: &RemovedUsers,
) -> Result<Vec<Draft>, StoreError> {
    drafts(event::retracted(tx, chain, refs, removed).await?)
}

/// Which stored events have been published.
pub(in super::super) struct PublishedEvents {
    from: BTreeMap<String, u64>,
    quiet: followed::Quiet,
}

impl PublishedEvents {
    /// Reads the present settings of the chain's sources.
    pub(in super::super) async fn of(tx: &mut Tx, chain: &OpenChain) -> Result<Self, StoreError> {
        Ok(Self { from: publish_from(tx, chain, None).await?, quiet: followed::Quiet::of(tx, chain).await? })
    }

    /// The lowest block of which anything was published; `None` if nothing was.
    pub(in super::super) fn lowest(&self) -> Option<u64> {
        self.from.values().min().copied()
    }

    /// Whether this event was published. An event that was stored without a message is taken back without one.
    pub(in super::super) fn has(&self, chain: &OpenChain, stored: &Stored) -> Result<bool, StoreError> {
        let kind = chain.described(stored.kind_id)?;
        let from = self.from.get(&kind.source);
        Ok(from.is_some_and(|from| stored.event.place.block_number >= *from)
            && !self.quiet.has(kind, &stored.event))
    }
}

/// The block from which each source publishes: of these sources, or of all. A source that waits for its first head has none.
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
