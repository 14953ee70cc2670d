//! How messages get into the outbox: in the transaction of what they are about.

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

/// Gives the messages their numbers and stores them. Must come last in the transaction: from here on every other
/// writer with messages waits for its end.
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

/// The same for messages about facts that are not on a chain. Returns the position of the last; the numbers before it are those of
/// the others. `None` without messages.
///
/// # Errors
/// A database error.
pub async fn append_off_chain(tx: &mut Tx, drafts: Vec<Draft>) -> Result<Option<Position>, StoreError> {
    append_all(tx, None, drafts).await
}

/// The same for messages about facts of a chain, or of none.
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
            counterparty_user_id)
        from stdin (format binary)
    ";
    copy_in(tx, statement, &numbered, |rows, draft| encode(rows, chain_id, draft, seen_at)).await?;
    let named = named(numbered.iter().map(|(seq, draft)| (*seq, draft)));
    copy_in(tx, "copy outbox_rooms (key, seq) from stdin (format binary)", &named, |rows, (key, seq)| {
        rows.row(2);
        rows.int8(*key)?;
        rows.int8(*seq)
    })
    .await?;
    head.position().map(Some)
}

/// From so many messages on they are copied: a reorg of 64 blocks is a fifth quicker for it. No fewer, since a server that
/// waits for rows throws out no client that is frozen there, and this one holds what every writer with messages waits for.
const MANY: usize = 2_000;

/// The messages and the keys under which they are found, beside their numbers.
const STORE: &str = r",
            named as (insert into outbox_rooms (key, seq)
                select n.key, head.before + n.place from head, unnest($11::bigint[], $12::bigint[]) as n (key, place)),
            stored as (insert into outbox (seq, chain_id, aggregate_type, type, state, user_id, message, seen_at, account,
                    counterparty_user_id)
                select head.before + m.place, $2, m.aggregate_type, m.type, m.state, m.user_id,
                    m.text || (head.before + m.place) || m.more, to_timestamp($3 / 1000000.0), m.account,
                    m.counterparty_user_id
                from head, unnest($4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[], $9::text[], $10::bytea[],
                    $13::uuid[]) with ordinality as m (aggregate_type, type, state, user_id, text, more, account,
                    counterparty_user_id, place))";

/// Numbers the messages and stores them in one statement, which the server plans once: every other writer with messages waits from
/// here to the commit.
async fn insert(
    tx: &mut Tx,
    chain_id: Option<i64>,
    drafts: &[Draft],
    seen_at: Option<i64>,
) -> Result<Position, StoreError> {
    static STATEMENT: LazyLock<String> = LazyLock::new(|| numbering("$1", STORE));
    let named = named((1..).zip(drafts));
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
        .bind(named.iter().map(|(key, _)| *key).collect::<Vec<_>>())
        .bind(named.iter().map(|(_, place)| *place).collect::<Vec<_>>())
        .bind(drafts.iter().map(|draft| draft.counterparty_user_id).collect::<Vec<_>>())
        .fetch_one(&mut **tx)
        .await?;
    head.position()
}

/// Keys and numbers, in the order of the index.
fn named<'a>(numbered: impl Iterator<Item = (i64, &'a Draft)>) -> Vec<(i64, i64)> {
    let keys = numbered.flat_map(|(seq, draft)| draft.keys.iter().map(move |key| (*key, seq)));
    let mut named: Vec<(i64, i64)> = keys.collect();
    named.sort_unstable();
    named
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

/// Takes the next numbers and has the commit announced.
pub(crate) async fn reserve(tx: &mut Tx, count: i64) -> Result<Head, StoreError> {
    let sql = format!("{TO_DEFAULT}; {}", numbering(&count.to_string(), ""));
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut **tx).await?;
    Ok(Head::from_row(&row)?)
}

/// What is published must outlive a crash of the server: a commit that is lost after its messages have left would give their
/// numbers to others. So this commit waits for the disk, history or not.
const TO_DEFAULT: &str = "set local synchronous_commit to default";

/// A statement that takes the next numbers, has the commit announced, and returns the head. Where the database is in another place than
/// at the last time, a new epoch begins with them ([`crate::Lineage`]). `more` goes on in its `with`: there `head.before` is the
/// number before the first.
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
