//! Which history a number belongs to. A database that is restored to an older state, or that fails over to a replica without
//! its last commits, gives the numbers it lost to other messages. So each number belongs to an epoch.
//!
//! **The rule.** An epoch begins with the first message after the database was found in another place: another server, the
//! same server started again, another copy of the tables. A state can only be replaced by an older one in such a place, so
//! within an epoch no number is given twice. Nearly all of these new places lost nothing, and no reader notices that:
//! the epochs before stay known, each up to the last number before the next. A position of an earlier epoch and a number within
//! it is a position of this history; one beyond it, or of an epoch that is not known, is of another.
//!
//! The system identifier and the timeline of the server would not do: files that are put back and started again have both
//! unchanged. And no right is needed that a plain user lacks.

use std::collections::BTreeMap;
use std::fmt;

use sqlx::PgConnection;

use crate::Outbox;
use chainflume_db::StoreError;
use chainflume_db::convert::{int8, unsigned};

/// Where the database is: changes with the server, with each of its starts, with the database, and with the table (a dump
/// that is restored into the same database makes it anew).
pub(crate) const HOME: &str = r"
    concat_ws('/', extract(epoch from pg_postmaster_start_time()),
    (select oid from pg_database where datname = current_database()), pg_relation_filenode('outbox_head'))
";

/// A new epoch: what a version 4 UUID has at random before its version.
pub(crate) const FRESH: &str = "left(replace(gen_random_uuid()::text, '-', ''), 12)";

/// The epoch of messages from before there were epochs. Every database that is old enough has it, so it proves nothing.
pub(crate) const UNKNOWN: &str = "0";

/// An epoch of this database's history.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct OutboxEpoch {
    /// Twelve hexadecimal digits, or `0` for messages from before there were epochs.
    pub epoch: String,
    /// Number of the last message before it: `first - 1`, or lower where numbers were left out.
    #[sqlx(try_from = "i64", rename = "after_seq")]
    pub after: u64,
    /// Number of its first message.
    #[sqlx(try_from = "i64", rename = "first_seq")]
    pub first: u64,
}

impl OutboxEpoch {
    /// How many messages were before `seq`, a number of this epoch, that `after` does not have, when `seq` is the next that is kept.
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
    /// Epoch of that message; `None` where it is not known, and then the number alone has to do.
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

/// The newest entry of a stream of another history, after which this history goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Names the stream.
    pub aggregate_type: String,
    /// Number of the entry.
    pub seq: u64,
    /// Its epoch, where it bears one.
    pub epoch: Option<String>,
}

/// What the outbox knows of itself, all of it at one moment, for the comparison of a sink with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Number of the newest message ever written.
    pub last: u64,
    /// Number of the oldest message kept, `last + 1` where none is.
    pub first: u64,
    /// The epochs, the oldest first.
    pub epochs: Vec<OutboxEpoch>,
    /// For each aggregate type the newest message kept, among those up to the cursor.
    pub ends: BTreeMap<String, u64>,
    /// Of the messages that were asked for those that are kept: aggregate type and JSON by number.
    pub kept: BTreeMap<u64, (String, String)>,
    /// By aggregate type, what was adopted in this sink.
    pub adopted: BTreeMap<String, Adopted>,
}

impl Lineage {
    /// The last number of an epoch of this history; `None` for an epoch that proves nothing or is not known.
    pub fn last_of(&self, epoch: &str) -> Option<u64> {
        let index = self.epochs.iter().position(|known| known.epoch == epoch && epoch != UNKNOWN)?;
        Some(self.epochs.get(index + 1).map_or(self.last, |next| next.after))
    }

    /// Whether an epoch began after `after` and no later than with `upto`: then numbers do not show what is between.
    pub fn breaks_between(&self, after: u64, upto: u64) -> bool {
        self.epochs.iter().any(|epoch| after < epoch.first && epoch.first <= upto)
    }

    /// How many messages were between `after` and `next`: numbers that were left out are none.
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

/// By aggregate type, what was adopted in a sink.
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

/// Notes what was adopted in a sink.
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
