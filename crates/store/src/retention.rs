//! Bounded tables: rows past their retention are deleted, in pages, so that no statement holds locks for long.

use std::time::Duration;

use serde::Deserialize;

use crate::Store;
use chainflume_db::StoreError;

/// How long old rows are kept that no other row needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HistoryRetention {
    /// Resolved dead letters, from their end on.
    #[serde(
        rename = "dead_letters",
        deserialize_with = "chainflume_core::settings::duration::<0, CENTURY, _>"
    )]
    pub resolved: Duration,
    /// Events that reorgs took back, with the record of the reorg.
    #[serde(rename = "reorgs", deserialize_with = "chainflume_core::settings::duration::<0, CENTURY, _>")]
    pub orphaned: Duration,
    /// Sources that follow every contract of a chain: any contract can cause dead letters for them.
    #[serde(skip)]
    pub strangers: Vec<String>,
    /// Open dead letters kept of each of these sources, the newest.
    #[serde(rename = "letters_of_any")]
    #[serde(deserialize_with = "chainflume_core::settings::number::<0, 10_000_000, _, _>")]
    pub strangers_letters: u32,
}

/// Milliseconds of a hundred years.
const CENTURY: u64 = 100 * 365 * 24 * 3_600 * 1_000;

impl Default for HistoryRetention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(days * 24);
        Self { resolved: days(90), orphaned: days(365), strangers: Vec::new(), strangers_letters: 1_000 }
    }
}

/// What a round of [`Store::trim_history`] deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrimmedHistory {
    /// Resolved dead letters.
    pub resolved: u64,
    /// Events that reorgs took back.
    pub orphaned: u64,
    /// Records of reorgs.
    pub reorgs: u64,
    /// Open dead letters, by source.
    pub strangers: Vec<(String, u64)>,
}

impl TrimmedHistory {
    /// Whether a page was full, so that another may follow.
    pub fn is_full(&self, page: u32) -> bool {
        let strangers = self.strangers.iter().map(|(_, count)| *count);
        strangers.chain([self.resolved, self.orphaned, self.reorgs]).any(|count| count >= u64::from(page))
    }
}

impl Store {
    /// Deletes what is older than it is kept, `page` rows of each kind at most.
    ///
    /// A letter that is resolved may come again when its block is read again: by then the range is final and seldom read.
    ///
    /// # Errors
    /// A database error. What was deleted until then stays deleted.
    pub async fn trim_history(
        &self,
        keep: &HistoryRetention,
        page: u32,
    ) -> Result<TrimmedHistory, StoreError> {
        let mut trimmed = TrimmedHistory {
            resolved: self.delete_older(RESOLVED, keep.resolved, page).await?,
            orphaned: self.delete_older(ORPHANED, keep.orphaned, page).await?,
            reorgs: self.delete_older(REORGS, keep.orphaned, page).await?,
            strangers: Vec::new(),
        };
        for source in &keep.strangers {
            let deleted = sqlx::query(STRANGERS)
                .bind(source)
                .bind(i64::from(keep.strangers_letters))
                .bind(i64::from(page))
                .execute(&self.pool)
                .await?;
            if deleted.rows_affected() > 0 {
                trimmed.strangers.push((source.clone(), deleted.rows_affected()));
            }
        }
        Ok(trimmed)
    }

    async fn delete_older(&self, sql: &'static str, age: Duration, page: u32) -> Result<u64, StoreError> {
        let deleted =
            sqlx::query(sql).bind(age.as_secs_f64()).bind(i64::from(page)).execute(&self.pool).await?;
        Ok(deleted.rows_affected())
    }
}

const RESOLVED: &str = r"
    delete from dead_letters where id in (
        select id from dead_letters where resolved_at < now() - make_interval(secs => $1) order by resolved_at limit $2
    )
";

// A record that a deletion of a source still fills stays.
const ORPHANED: &str = r"
    delete from orphaned_events where (reorg_id, block_number, tx_index, log_index) in (
        select o.reorg_id, o.block_number, o.tx_index, o.log_index
        from (select id from reorgs where detected_at < now() - make_interval(secs => $1)
            and id not in (select emptying from sources where emptying is not null) order by id limit $2) as old
        join orphaned_events o on o.reorg_id = old.id
        limit $2
    )
";

const REORGS: &str = r"
    delete from reorgs where id in (
        select id from reorgs r where detected_at < now() - make_interval(secs => $1)
        and not exists (select from orphaned_events o where o.reorg_id = r.id)
        and id not in (select emptying from sources where emptying is not null)
        order by id limit $2
    )
";

// The oldest beyond those that are kept.
const STRANGERS: &str = r"
    delete from dead_letters where id in (
        select id from dead_letters where source = $1 and resolved_at is null
        and id <= (select id from dead_letters where source = $1 and resolved_at is null order by id desc offset $2 limit 1)
        order by id limit $3
    )
";
