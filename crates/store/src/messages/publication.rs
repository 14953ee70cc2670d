use std::collections::BTreeMap;
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

    /// As [`Self::begin`], of events that are taken back: those that were stored without a message leave without one.
    pub(in super::super) async fn of_orphaned(
        tx: &mut Tx,
        chain: &OpenChain,
        events: impl Iterator<Item = (i32, &'a Event)>,
    ) -> Result<Self, StoreError> {
        let quiet = followed::Quiet::of(tx, chain).await?;
        let mut kept = Vec::new();
        for (kind_id, event) in events {
            if !quiet.has(chain.described(kind_id)?, event) {
                kept.push((kind_id, event));
            }
        }
        Self::begin(tx, chain, kept.into_iter()).await
    }

    /// Retracts with the step what was published as pending.
    pub(in super::super) fn with_retractions(self, pending: &'a [Stored]) -> Self {
        Self { gone: refs_of(pending), ..self }
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

    /// Publishes that the events are taken back, the newest first, pending or not.
    pub(in super::super) async fn retract(self, tx: &mut Tx, chain: &OpenChain) -> Result<(), StoreError> {
        let mut all: Vec<EventRef<'_>> = self.refs.iter().chain(&self.gone).copied().collect();
        all.sort_by_key(|event_ref| event_ref.event.place);
        let mut messages = event::retracted(tx, chain, &all).await?;
        messages.extend(self.stakers.messages(tx, chain, &self.refs).await?);
        append(tx, chain.id, drafts(messages)?, None).await
    }
}

/// That events are confirmed, with all it takes to say so: writing it down needs no database.
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
    let from = publish_from(tx, chain).await?;
    let mut refs = Vec::new();
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

/// Publishes that pending events are taken back, the newest first. No message about a user came of them.
pub(in super::super) async fn retract(
    tx: &mut Tx,
    chain: &OpenChain,
    pending: &[Stored],
) -> Result<(), StoreError> {
    let messages = event::retracted(tx, chain, &refs_of(pending)).await?;
    append(tx, chain.id, drafts(messages)?, None).await
}

fn refs_of(stored: &[Stored]) -> Vec<EventRef<'_>> {
    stored.iter().map(|stored| EventRef { kind_id: stored.kind_id, event: &stored.event }).collect()
}

/// From which block on each source is announced; a source that has not decided yet is not.
async fn publish_from(tx: &mut Tx, chain: &OpenChain) -> Result<BTreeMap<String, u64>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select name, publish_from from sources where chain_id = $1 and publish_from is not null",
    )
    .bind(chain.id)
    .fetch_all(&mut **tx)
    .await?;
    rows.into_iter().map(|(source, from)| Ok((source, unsigned("block number", from)?))).collect()
}
