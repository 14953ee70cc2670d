//! Adds messages to the outbox, in the transaction that stores their facts.

use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::{AssertSqlSafe, Row as _};

use crate::CHANNEL;
use crate::draft::Draft;
use crate::epochs::{FRESH, HOME, Position};
use chainflume_db::StoreError;
use chainflume_db::convert::{int8, unsigned};
use chainflume_db::copy::{Rows, copy_in};
use chainflume_db::transaction::{DURABLE, Tx};

/// Numbers the messages and stores them. Must come last in the transaction: from here on every other writer with messages waits
/// for its commit.
///
/// # Errors
/// A database error.
pub async fn append(
    tx: &mut Tx,
    chain_id: i64,
    drafts: Vec<Draft>,
    seen_at: Option<SystemTime>,
) -> Result<(), StoreError> {
    number(tx, Some(chain_id), drafts, seen_at.and_then(micros)).await.map(|_| ())
}

/// As [`append`], for messages about facts that are not on a chain. Returns the position of the last message; the others have the
/// numbers directly before it. `None` without messages.
///
/// # Errors
/// A database error.
pub async fn append_off_chain(tx: &mut Tx, drafts: Vec<Draft>) -> Result<Option<Position>, StoreError> {
    append_all(tx, None, drafts).await
}

/// As [`append`]; `chain_id` is `None` for facts that are not on a chain. Returns as [`append_off_chain`].
pub(crate) async fn append_all(
    tx: &mut Tx,
    chain_id: Option<i64>,
    drafts: Vec<Draft>,
) -> Result<Option<Position>, StoreError> {
    number(tx, chain_id, drafts, None).await
}

async fn number(
    tx: &mut Tx,
    chain_id: Option<i64>,
    drafts: Vec<Draft>,
    seen_at: Option<i64>,
) -> Result<Option<Position>, StoreError> {
    if drafts.is_empty() {
        return Ok(None);
    }
    let count = int8("messages", drafts.len() as u64)?;
    let (last, epoch) = reserve(tx, count).await?;
    let position = Position { seq: unsigned("sequence", last)?, epoch: Some(epoch) };
    let numbered: Vec<(i64, Draft)> = (last - count + 1..).zip(drafts).collect();
    if numbered.len() < MANY {
        insert(tx, chain_id, &numbered, seen_at).await?;
        return Ok(Some(position));
    }
    let statement = r"
        copy outbox (seq, chain_id, aggregate_type, type, state, user_id, message, seen_at, account,
            counterparty_user_id)
        from stdin (format binary)
    ";
    copy_in(tx, statement, &numbered, |rows, draft| encode(rows, chain_id, draft, seen_at)).await?;
    let named = named(&numbered);
    copy_in(tx, "copy outbox_rooms (key, seq) from stdin (format binary)", &named, |rows, (key, seq)| {
        rows.row(2);
        rows.int8(*key)?;
        rows.int8(*seq)
    })
    .await?;
    Ok(Some(position))
}

/// From this number of messages on, `COPY` writes them: this saves a fifth of the time of a reorg of 64 blocks. Not for fewer, because
/// PostgreSQL ends no client that freezes inside `COPY`, and every writer with messages waits for this one.
const MANY: usize = 2_000;

async fn insert(
    tx: &mut Tx,
    chain_id: Option<i64>,
    numbered: &[(i64, Draft)],
    seen_at: Option<i64>,
) -> Result<(), StoreError> {
    let named = named(numbered);
    let drafts = || numbered.iter().map(|(_, draft)| draft);
    sqlx::query(
        r"
        with named as (insert into outbox_rooms (key, seq) select * from unnest($11::bigint[], $12::bigint[]))
        insert into outbox (seq, chain_id, aggregate_type, type, state, user_id, message, seen_at, account,
            counterparty_user_id)
        select seq, $2, aggregate_type, type, state, user_id, message, to_timestamp($8 / 1000000.0), account,
            counterparty_user_id
        from unnest($1::bigint[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[], $9::bytea[],
            $10::uuid[]) as m (seq, aggregate_type, type, state, user_id, message, account, counterparty_user_id)
        ",
    )
    .bind(numbered.iter().map(|(seq, _)| *seq).collect::<Vec<_>>())
    .bind(chain_id)
    .bind(drafts().map(|draft| draft.aggregate_type.as_str()).collect::<Vec<_>>())
    .bind(drafts().map(|draft| draft.message_type.as_str()).collect::<Vec<_>>())
    .bind(drafts().map(|draft| draft.state.as_str()).collect::<Vec<_>>())
    .bind(drafts().map(|draft| draft.user_id).collect::<Vec<_>>())
    .bind(numbered.iter().map(|(seq, draft)| draft.text(*seq)).collect::<Vec<_>>())
    .bind(seen_at)
    .bind(drafts().map(|draft| draft.account.as_deref()).collect::<Vec<_>>())
    .bind(drafts().map(|draft| draft.counterparty_user_id).collect::<Vec<_>>())
    .bind(named.iter().map(|(key, _)| *key).collect::<Vec<_>>())
    .bind(named.iter().map(|(_, seq)| *seq).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The room keys of these messages with their numbers, in the order of the index.
fn named(numbered: &[(i64, Draft)]) -> Vec<(i64, i64)> {
    let keys = numbered.iter().flat_map(|(seq, draft)| draft.keys.iter().map(|key| (*key, *seq)));
    let mut named: Vec<(i64, i64)> = keys.collect();
    named.sort_unstable();
    named
}

/// Takes the next `count` numbers, and makes the commit notify listeners. Returns the last number with its epoch. If the database is
/// in another place than at the last call, a new epoch begins with these numbers ([`crate::Lineage`]).
///
/// Published messages must survive a crash of the server: if it loses a commit whose messages have left, it gives their numbers to
/// others. So this commit always waits for the disk. One round trip, because every block at the head waits for it.
pub(crate) async fn reserve(tx: &mut Tx, count: i64) -> Result<(i64, String), StoreError> {
    let sql = format!(
        r"
        set local synchronous_commit to default;
        with safe as (select {DURABLE} as setting),
            here as (select {HOME} as home, {FRESH} as fresh),
            head as (update outbox_head h set seq = h.seq + {count}, home = here.home,
                    epoch = case when h.home = here.home then h.epoch else here.fresh end
                from here returning h.seq, h.epoch, h.epoch = here.fresh as begins),
            begun as (insert into outbox_epochs (first_seq, after_seq, epoch)
                select seq - {count} + 1, seq - {count}, epoch from head where begins
                on conflict on constraint outbox_epochs_pkey do update set
                    after_seq = least(outbox_epochs.after_seq, excluded.after_seq),
                    epoch = excluded.epoch, began_at = now())
        select head.seq, head.epoch from safe, head, lateral pg_notify('{CHANNEL}', head.seq::text)
        "
    );
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut **tx).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// One row of the outbox.
fn encode(
    rows: &mut Rows,
    chain_id: Option<i64>,
    (seq, draft): &(i64, Draft),
    seen_at: Option<i64>,
) -> Result<(), StoreError> {
    rows.row(10);
    rows.int8(*seq)?;
    match chain_id {
        Some(chain_id) => rows.int8(chain_id)?,
        None => rows.null()?,
    }
    rows.text(&draft.aggregate_type)?;
    rows.text(&draft.message_type)?;
    rows.text(draft.state.as_str())?;
    rows.uuid_or_null(draft.user_id)?;
    rows.text(&draft.text(*seq))?;
    match seen_at {
        Some(micros) => rows.timestamptz_micros(micros)?,
        None => rows.null()?,
    }
    rows.bytea_or_null(draft.account.as_deref())?;
    rows.uuid_or_null(draft.counterparty_user_id)
}

/// Microseconds since the Unix epoch; no clock is far enough off to exceed the type.
fn micros(at: SystemTime) -> Option<i64> {
    i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()
}
