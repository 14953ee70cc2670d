//! Adds messages to the outbox, in the transaction that stores their facts.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::{AssertSqlSafe, FromRow as _};

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
    if drafts.len() < MANY {
        return insert(tx, chain_id, &drafts, seen_at).await.map(Some);
    }
    let count = int8("messages", drafts.len() as u64)?;
    let head = reserve(tx, count).await?;
    let numbered: Vec<(i64, Draft)> = (head.last - count + 1..).zip(drafts).collect();
    let statement = r"
        copy outbox (seq, chain_id, aggregate_type, type, state, user_id, message, seen_at, account,
            counterparty_user_id, room_keys)
        from stdin (format binary)
    ";
    copy_in(tx, statement, &numbered, |rows, (seq, draft)| encode(rows, chain_id, *seq, draft, seen_at))
        .await?;
    head.position().map(Some)
}

/// From this number of messages on, `COPY` writes them: this saves a fifth of the time of a reorg of 64 blocks. Not for fewer, because
/// PostgreSQL ends no client that freezes inside `COPY`, and every writer with messages waits for this one.
const MANY: usize = 2_000;

/// The messages, with the room keys of each as text: PostgreSQL has no array of arrays of different lengths.
const STORE: &str = r",
            stored as (insert into outbox (seq, chain_id, aggregate_type, type, state, user_id, message, seen_at, account,
                    counterparty_user_id, room_keys)
                select head.before + m.place, $2, m.aggregate_type, m.type, m.state, m.user_id,
                    m.text || (head.before + m.place) || m.more, to_timestamp($3 / 1000000.0), m.account,
                    m.counterparty_user_id, m.room_keys::bigint[]
                from head, unnest($4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[], $9::text[], $10::bytea[],
                    $11::uuid[], $12::text[]) with ordinality as m (aggregate_type, type, state, user_id, text, more, account,
                    counterparty_user_id, room_keys, place))";

/// Numbers the messages and stores them in one statement, which the server plans once: every other writer with messages waits from
/// here to the commit.
async fn insert(
    tx: &mut Tx,
    chain_id: Option<i64>,
    drafts: &[Draft],
    seen_at: Option<i64>,
) -> Result<Position, StoreError> {
    static STATEMENT: LazyLock<String> = LazyLock::new(|| numbering("$1", STORE));
    let parts = || drafts.iter().map(Draft::around_the_number);
    sqlx::raw_sql(TO_DEFAULT).execute(&mut **tx).await?;
    let head: Head = sqlx::query_as(AssertSqlSafe(STATEMENT.as_str()))
        .bind(int8("messages", drafts.len() as u64)?)
        .bind(chain_id)
        .bind(seen_at)
        .bind(drafts.iter().map(|draft| draft.aggregate_type.as_str()).collect::<Vec<_>>())
        .bind(drafts.iter().map(|draft| draft.message_type.as_str()).collect::<Vec<_>>())
        .bind(drafts.iter().map(|draft| draft.state.as_str()).collect::<Vec<_>>())
        .bind(drafts.iter().map(|draft| draft.user_id).collect::<Vec<_>>())
        .bind(parts().map(|(before, _)| before).collect::<Vec<_>>())
        .bind(parts().map(|(_, after)| after).collect::<Vec<_>>())
        .bind(drafts.iter().map(|draft| draft.account.as_deref()).collect::<Vec<_>>())
        .bind(drafts.iter().map(|draft| draft.counterparty_user_id).collect::<Vec<_>>())
        .bind(drafts.iter().map(|draft| array(&draft.keys)).collect::<Vec<_>>())
        .fetch_one(&mut **tx)
        .await?;
    head.position()
}

/// Numbers as PostgreSQL reads an array of them (manual, "Arrays", "Array Input and Output Syntax").
fn array(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}

/// The head of the outbox after it gave out numbers.
#[derive(sqlx::FromRow)]
pub(crate) struct Head {
    /// The last number.
    #[sqlx(rename = "seq")]
    pub last: i64,
    /// Its epoch.
    epoch: String,
}

impl Head {
    fn position(self) -> Result<Position, StoreError> {
        Ok(Position { seq: unsigned("sequence", self.last)?, epoch: Some(self.epoch) })
    }
}

/// Takes the next `count` numbers, and makes the commit notify listeners.
pub(crate) async fn reserve(tx: &mut Tx, count: i64) -> Result<Head, StoreError> {
    let sql = format!("{TO_DEFAULT}; {}", numbering(&count.to_string(), ""));
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut **tx).await?;
    Ok(Head::from_row(&row)?)
}

/// Published messages must survive a crash of the server: if it loses a commit whose messages have left, it gives their numbers to
/// others. So this commit always waits for the disk.
const TO_DEFAULT: &str = "set local synchronous_commit to default";

/// A statement that takes the next numbers, makes the commit notify listeners, and returns the head. If the database is in another place
/// than at the last call, a new epoch begins with these numbers ([`crate::Lineage`]). `more` continues its `with`, where `head.before` is
/// the number before the first.
fn numbering(count: &str, more: &str) -> String {
    format!(
        r"
        with safe as (select {DURABLE} as setting),
            here as (select {HOME} as home, {FRESH} as fresh),
            head as (update outbox_head h set seq = h.seq + {count}, home = here.home,
                    epoch = case when h.home = here.home then h.epoch else here.fresh end
                from here returning h.seq - {count} as before, h.seq, h.epoch, h.epoch = here.fresh as begins),
            begun as (insert into outbox_epochs (first_seq, after_seq, epoch)
                select before + 1, before, epoch from head where begins
                on conflict on constraint outbox_epochs_pkey do update set
                    after_seq = least(outbox_epochs.after_seq, excluded.after_seq),
                    epoch = excluded.epoch, began_at = now()){more}
        select head.seq, head.epoch from safe, head, lateral pg_notify('{CHANNEL}', head.seq::text)
        "
    )
}

/// One row of the outbox.
fn encode(
    rows: &mut Rows,
    chain_id: Option<i64>,
    seq: i64,
    draft: &Draft,
    seen_at: Option<i64>,
) -> Result<(), StoreError> {
    rows.row(11);
    rows.int8(seq)?;
    match chain_id {
        Some(chain_id) => rows.int8(chain_id)?,
        None => rows.null()?,
    }
    rows.text(&draft.aggregate_type)?;
    rows.text(&draft.message_type)?;
    rows.text(draft.state.as_str())?;
    rows.uuid_or_null(draft.user_id)?;
    rows.text(&draft.text(seq))?;
    match seen_at {
        Some(micros) => rows.timestamptz_micros(micros)?,
        None => rows.null()?,
    }
    rows.bytea_or_null(draft.account.as_deref())?;
    rows.uuid_or_null(draft.counterparty_user_id)?;
    rows.int8_array(&draft.keys)
}

/// Microseconds since the Unix epoch; no clock is far enough off to exceed the type.
fn micros(at: SystemTime) -> Option<i64> {
    i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()
}
