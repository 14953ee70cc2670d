//! The epochs of sequence numbers. A database that is restored to an older state, or that fails over to a replica without its last
//! commits, gives the lost numbers to other messages. So each number belongs to an epoch, which names its history.
//!
//! **The rule.** An epoch begins with the first message after the database was found in another place: on another server, on the same
//! server after a restart, or in another copy of the tables. An older state can only appear with such a change, so within an epoch no
//! number is given twice. Most changes lose nothing, and readers do not notice them: earlier epochs stay recorded, each up to the
//! last number before the next epoch. A position is of this history if its epoch is recorded and its number is within that epoch.
//! Every other position is of another history.
//!
//! The system identifier and the timeline of the server are not sufficient: files that are restored and started again have the same
//! ones. The rule needs no right that a plain user lacks.

use std::collections::BTreeMap;
use std::fmt;

use sqlx::PgConnection;

use crate::Outbox;
use chainflume_db::StoreError;
use chainflume_db::convert::{int8, unsigned};

/// The place of the database. It changes with the server, with each start of the server, with the database, and with the table (a
/// restored dump creates the table again).
pub(crate) const HOME: &str = r"
    concat_ws('/', extract(epoch from pg_postmaster_start_time()),
    (select oid from pg_database where datname = current_database()), pg_relation_filenode('outbox_head'))
";

/// A new epoch: the twelve random digits of a version 4 UUID that precede its version.
pub(crate) const FRESH: &str = "left(replace(gen_random_uuid()::text, '-', ''), 12)";

/// The epoch of messages that are older than the concept. Every old database has it, so it proves nothing.
pub(crate) const UNKNOWN: &str = "0";

/// An epoch of this database's history.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct OutboxEpoch {
    /// Twelve hexadecimal digits, or `0` for messages that are older than epochs.
    pub epoch: String,
    /// Number of the last message before it: `first - 1`, or lower where numbers were left out.
    #[sqlx(try_from = "i64", rename = "after_seq")]
    pub after: u64,
    /// Number of its first message.
    #[sqlx(try_from = "i64", rename = "first_seq")]
    pub first: u64,
}

impl OutboxEpoch {
    /// The position before `seq`, a number of this epoch; `None` if that position is of the epoch before.
    pub fn before(&self, seq: u64) -> Option<Position> {
        (seq > self.first).then(|| Position { seq: seq - 1, epoch: Some(self.epoch.clone()) })
    }

    /// Number of trimmed messages between `after` and `seq`, a number of this epoch and the next stored message after `after`.
    pub fn missed(&self, seq: u64, after: u64) -> u64 {
        let within = seq.saturating_sub(self.first.max(after.saturating_add(1)));
        within + self.after.saturating_sub(after)
    }
}

/// A place in the outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Number of the newest message before it; 0 for the beginning.
    pub seq: u64,
    /// Epoch of that message; `None` if it is unknown, and then only the number is compared.
    pub epoch: Option<String>,
}

/// `<epoch>.<seq>`, with 0 for an epoch that is not known.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch.as_deref().unwrap_or("0"), self.seq)
    }
}

impl From<u64> for Position {
    fn from(seq: u64) -> Self {
        Self { seq, epoch: None }
    }
}

/// The newest entry of a stream of another history, after which this history continues by an operator's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Names the stream.
    pub aggregate_type: String,
    /// Number of the entry.
    pub seq: u64,
    /// Its epoch, if the entry has one.
    pub epoch: Option<String>,
}

/// The history of the outbox at one moment, to compare a sink with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Number of the newest message ever written.
    pub last: u64,
    /// Number of the oldest message kept, `last + 1` where none is.
    pub first: u64,
    /// The epochs, the oldest first.
    pub epochs: Vec<OutboxEpoch>,
    /// By aggregate type, the newest stored message at or below the cursor.
    pub ends: BTreeMap<String, u64>,
    /// The requested messages that are still stored: aggregate type and JSON by number.
    pub kept: BTreeMap<u64, (String, String)>,
    /// By aggregate type, the entry that was adopted in this sink.
    pub adopted: BTreeMap<String, Adopted>,
}

impl Lineage {
    /// The last number of an epoch of this history; `None` for epoch `0`, which proves nothing, or an unknown one.
    pub fn last_of(&self, epoch: &str) -> Option<u64> {
        let index = self.epochs.iter().position(|known| known.epoch == epoch && epoch != UNKNOWN)?;
        Some(self.epochs.get(index + 1).map_or(self.last, |next| next.after))
    }

    /// Whether an epoch began after `after` and at or before `upto`: then numbers between them may be left out.
    pub fn breaks_between(&self, after: u64, upto: u64) -> bool {
        self.epochs.iter().any(|epoch| after < epoch.first && epoch.first <= upto)
    }

    /// Number of messages between `after` and `next`. Numbers that were left out do not count.
    pub fn between(&self, after: u64, next: u64) -> u64 {
        let left_out = |epoch: &OutboxEpoch| {
            epoch.first.min(next).saturating_sub(epoch.after.max(after).saturating_add(1))
        };
        let numbers = next.saturating_sub(after.saturating_add(1));
        numbers.saturating_sub(self.epochs.iter().map(left_out).sum())
    }
}

impl Outbox {
    /// The epoch of the newest message.
    ///
    /// # Errors
    /// A database error.
    pub async fn epoch(&self) -> Result<String, StoreError> {
        Ok(sqlx::query_scalar("select epoch from outbox_head").fetch_one(&self.pool).await?)
    }
}

/// The epochs of this history, the oldest first.
pub(crate) async fn epochs(connection: &mut PgConnection) -> Result<Vec<OutboxEpoch>, StoreError> {
    Ok(sqlx::query_as("select epoch, after_seq, first_seq from outbox_epochs order by first_seq")
        .fetch_all(connection)
        .await?)
}

/// By aggregate type, the entries that were adopted in a sink.
pub(crate) async fn adopted(
    connection: &mut PgConnection,
    sink: &str,
) -> Result<BTreeMap<String, Adopted>, StoreError> {
    let rows: Vec<(String, i64, String)> =
        sqlx::query_as("select aggregate_type, seq, epoch from adopted_streams where sink = $1")
            .bind(sink)
            .fetch_all(connection)
            .await?;
    let read = |(aggregate_type, seq, epoch): (String, i64, String)| {
        let seq = unsigned("sequence", seq)?;
        let epoch = Some(epoch).filter(|epoch| !epoch.is_empty());
        Ok((aggregate_type.clone(), Adopted { aggregate_type, seq, epoch }))
    };
    rows.into_iter().map(read).collect()
}

/// Stores the entry that was adopted in a stream of a sink.
pub(crate) async fn note_adopted(
    connection: &mut PgConnection,
    sink: &str,
    adopted: &Adopted,
) -> Result<(), StoreError> {
    sqlx::query(
        r"
        insert into adopted_streams (sink, aggregate_type, seq, epoch) values ($1, $2, $3, $4)
        on conflict on constraint adopted_streams_pkey
        do update set seq = excluded.seq, epoch = excluded.epoch, adopted_at = now()
        ",
    )
    .bind(sink)
    .bind(&adopted.aggregate_type)
    .bind(int8("sequence", adopted.seq)?)
    .bind(adopted.epoch.as_deref().unwrap_or(""))
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_meet_and_numbers_left_out_are_no_messages() {
        let epoch = |epoch: &str, after, first| OutboxEpoch { epoch: epoch.to_owned(), after, first };
        let epochs = vec![epoch("0", 0, 1), epoch("a", 50, 51), epoch("b", 100, 151)];
        let lineage = Lineage { last: 170, first: 1, epochs, ..Lineage::default() };
        assert_eq!(
            (lineage.last_of("0"), lineage.last_of("a"), lineage.last_of("b"), lineage.last_of("c")),
            (None, Some(100), Some(170), None)
        );
        let between = |after, next| lineage.between(after, next);
        assert_eq!((between(100, 101), between(100, 151), between(100, 152)), (0, 0, 1));
        assert_eq!((between(90, 151), between(120, 151), between(60, 70), between(151, 160)), (10, 0, 9, 8));
        assert!(lineage.breaks_between(50, 51) && lineage.breaks_between(1, 200));
        assert!(!lineage.breaks_between(51, 150) && !lineage.breaks_between(151, 170));
    }
}
