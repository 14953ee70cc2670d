use std::collections::BTreeMap;
use std::time::SystemTime;

use super::super::StoreError;
use super::super::convert::unsigned;
use super::super::events::Stored;
use super::super::followed;
use super::super::open::Chain;
use super::super::transaction::Tx;
use super::about::{self, Said, Users};
use super::draft::{Draft, drafts};
use super::users::{self, Stakers};
use chainflume_core::domain::{Event, Message};

/// What a step has to tell: begun before the projections change, told as the last thing before the commit.
pub(in super::super) struct Announcement<'a> {
    said: Vec<Said<'a>>,
    /// Told as pending, and taken back with this step.
    gone: Vec<Said<'a>>,
    stakers: Stakers,
}

impl<'a> Announcement<'a> {
    /// Of the events, given with their kinds' ids in chain order, those that are to be announced.
    pub(in super::super) async fn begin(
        tx: &mut Tx,
        chain: &Chain,
        events: impl Iterator<Item = (i32, &'a Event)>,
    ) -> Result<Self, StoreError> {
        let said = announced(tx, chain, events).await?;
        let stakers = users::before(tx, chain, &said).await?;
        Ok(Self { said, gone: Vec::new(), stakers })
    }

    /// As [`Self::begin`], of events that are taken back: those that were stored without a word leave without one.
    pub(in super::super) async fn of_undone(
        tx: &mut Tx,
        chain: &Chain,
        events: impl Iterator<Item = (i32, &'a Event)>,
    ) -> Result<Self, StoreError> {
        let quiet = followed::Quiet::of(tx, chain).await?;
        let mut told = Vec::new();
        for (kind_id, event) in events {
            if !quiet.has(chain.described(kind_id)?, event) {
                told.push((kind_id, event));
            }
        }
        Self::begin(tx, chain, told.into_iter()).await
    }

    /// Takes back with the step what was told as pending.
    pub(in super::super) fn taking_back(self, pending: &'a [Stored]) -> Self {
        Self { gone: said_of(pending), ..self }
    }

    /// Looks up, now that the projections have changed, what is to be said of it.
    pub(in super::super) async fn settle(
        self,
        tx: &mut Tx,
        chain: &Chain,
    ) -> Result<Confirmation<'a>, StoreError> {
        let gone = about::retracted(tx, chain, &self.gone).await?;
        let users = Users::of(tx, &self.said).await?;
        let stakers = self.stakers.messages(tx, chain, &self.said).await?;
        Ok(Confirmation { gone, said: self.said, users, stakers })
    }

    /// Tells that the events are confirmed, under a head of this height.
    pub(in super::super) async fn confirm(
        self,
        tx: &mut Tx,
        chain: &Chain,
        head: u64,
    ) -> Result<(), StoreError> {
        let drafts = self.settle(tx, chain).await?.write(chain, head)?;
        super::push(tx, chain, drafts, None).await
    }

    /// Tells that the events are taken back, the newest first, pending or not.
    pub(in super::super) async fn retract(self, tx: &mut Tx, chain: &Chain) -> Result<(), StoreError> {
        let mut all: Vec<Said<'_>> = self.said.iter().chain(&self.gone).copied().collect();
        all.sort_by_key(|said| said.event.place);
        let mut messages = about::retracted(tx, chain, &all).await?;
        messages.extend(self.stakers.messages(tx, chain, &self.said).await?);
        super::push(tx, chain, drafts(messages)?, None).await
    }
}

/// That events are confirmed, with all it takes to say so: writing it down needs no database.
pub(in super::super) struct Confirmation<'a> {
    /// What is taken back goes first: another event may be confirmed at its place.
    gone: Vec<Message>,
    said: Vec<Said<'a>>,
    users: Users,
    stakers: Vec<Message>,
}

impl Confirmation<'_> {
    /// The messages, under a head of this height.
    pub(in super::super) fn write(self, chain: &Chain, head: u64) -> Result<Vec<Draft>, StoreError> {
        let mut messages = self.gone;
        messages.extend(about::confirmed(chain, &self.said, &self.users, head)?);
        messages.extend(self.stakers);
        drafts(messages)
    }
}

/// Of the events, given with their kinds' ids, those that are to be announced.
pub(in super::super) async fn announced<'a>(
    tx: &mut Tx,
    chain: &Chain,
    events: impl Iterator<Item = (i32, &'a Event)>,
) -> Result<Vec<Said<'a>>, StoreError> {
    let from = publish_from(tx, chain).await?;
    let mut said = Vec::new();
    for (kind_id, event) in events {
        let source = &chain.described(kind_id)?.source;
        if from.get(source).is_some_and(|from| event.place.block_number >= *from) {
            said.push(Said { kind_id, event });
        }
    }
    Ok(said)
}

/// Tells that events are seen at the head, under a head of this height that was seen then.
pub(in super::super) async fn pend(
    tx: &mut Tx,
    chain: &Chain,
    said: &[Said<'_>],
    (head, seen_at): (u64, Option<SystemTime>),
) -> Result<(), StoreError> {
    let users = Users::of(tx, said).await?;
    let messages = about::pending(chain, said, &users, head)?;
    super::push(tx, chain, drafts(messages)?, seen_at).await
}

/// Tells that pending events are taken back, the newest first. No user was told of them.
pub(in super::super) async fn retract(
    tx: &mut Tx,
    chain: &Chain,
    pending: &[Stored],
) -> Result<(), StoreError> {
    let messages = about::retracted(tx, chain, &said_of(pending)).await?;
    super::push(tx, chain, drafts(messages)?, None).await
}

fn said_of(stored: &[Stored]) -> Vec<Said<'_>> {
    stored.iter().map(|stored| Said { kind_id: stored.kind_id, event: &stored.event }).collect()
}

/// From which block on each source is announced; a source that has not decided yet is not.
async fn publish_from(tx: &mut Tx, chain: &Chain) -> Result<BTreeMap<String, u64>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select name, publish_from from sources where chain_id = $1 and publish_from is not null",
    )
    .bind(chain.id)
    .fetch_all(&mut **tx)
    .await?;
    rows.into_iter().map(|(source, from)| Ok((source, unsigned("block number", from)?))).collect()
}
