//! Messages: written in the transaction of what they are about, read by whoever carries them out.

mod about;
mod announcement;
mod history;
mod reader;
mod users;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::domain::{Aggregate, Message, ViewColumn};

use super::StoreError;
use super::convert::{int8, unsigned};
use super::open::Chain;
use super::transaction::Tx;

pub(super) use about::Said;
pub(super) use announcement::{Announcement, announced, pend, retract};
pub use history::{ReplayLock, ReplayQuery};
pub use reader::{OutboxListener, OutboxRow, OutboxState};

/// The channel on which a commit with messages is announced.
pub(super) const CHANNEL: &str = "chainflume_outbox";

/// How a message about a kind of event is made from its columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    pub(super) aggregate: Aggregate,
    pub(super) columns: Vec<ViewColumn>,
}

/// Gives the messages their numbers and writes them. Must come last in the transaction: from here on every other
/// writer with messages waits for its end.
pub(super) async fn push(
    tx: &mut Tx,
    chain: &Chain,
    mut messages: Vec<Message>,
    seen_at: Option<SystemTime>,
) -> Result<(), StoreError> {
    if messages.is_empty() {
        return Ok(());
    }
    // What is told must outlive a crash of the server: a commit that is lost after its messages have left would give their
    // numbers to others. So this commit waits for the disk, history or not.
    sqlx::query("set local synchronous_commit to default").execute(&mut **tx).await?;
    let count = int8("messages", messages.len() as u64)?;
    let last: i64 = sqlx::query_scalar("update outbox_head set seq = seq + $1 returning seq")
        .bind(count)
        .fetch_one(&mut **tx)
        .await?;
    let first = unsigned("sequence", last - count + 1)?;
    for (seq, message) in (first..).zip(&mut messages) {
        message.seq = seq;
    }
    let texts = messages.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    let texts = texts.map_err(|error| StoreError::invalid(format!("a message is no JSON: {error}")))?;
    sqlx::query(
        "insert into outbox (seq, chain_id, aggregate_type, type, state, user_id, message, seen_at) \
         select $1 + ordinality - 1, $2, aggregate_type, type, state, user_id, message, to_timestamp($8 / 1000000.0) \
         from unnest($3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[]) \
             with ordinality as m (aggregate_type, type, state, user_id, message, ordinality)",
    )
    .bind(int8("sequence", first)?)
    .bind(chain.id)
    .bind(messages.iter().map(|m| m.aggregate_type.as_str()).collect::<Vec<_>>())
    .bind(messages.iter().map(|m| m.message_type.as_str()).collect::<Vec<_>>())
    .bind(messages.iter().map(|m| m.state.as_str()).collect::<Vec<_>>())
    .bind(messages.iter().map(|m| m.metadata.user_id).collect::<Vec<_>>())
    .bind(texts)
    .bind(seen_at.and_then(micros))
    .execute(&mut **tx)
    .await?;
    sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(last.to_string()).execute(&mut **tx).await?;
    Ok(())
}

/// Microseconds since the Unix epoch; no clock is far enough off to exceed the type.
fn micros(at: SystemTime) -> Option<i64> {
    i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()
}
