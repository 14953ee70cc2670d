use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::postgres::PgPool;
use tokio_util::sync::CancellationToken;

use super::read::{LimitLook, look};
use super::write::write;
use super::{LimitTurn, Threshold, threshold_key};
use chainflume_core::domain::causes;
use chainflume_db::convert::unsigned;
use chainflume_db::{Database, StoreError, transaction};
use chainflume_ops::health::Heartbeat;
use chainflume_ops::metrics;
use chainflume_ops::telemetry::LogLimiter;

/// How often new messages are looked for: what a person waits for a notice.
const TURN: Duration = Duration::from_millis(500);

/// What is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchSettings {
    /// Limits for the balances of all people.
    pub thresholds: Vec<Threshold>,
    /// `reorg_window` of each chain (EIP-155), in blocks.
    pub windows: BTreeMap<u64, u64>,
}

/// Compares balances with limits, for as long as its instance leads.
pub struct BalanceWatch {
    pool: PgPool,
    settings: WatchSettings,
    lines: LogLimiter,
}

impl BalanceWatch {
    /// A watch over the balances in this database.
    pub fn new(database: &Database, settings: WatchSettings) -> Self {
        Self { pool: database.pool().clone(), settings, lines: LogLimiter::default() }
    }

    /// Compares until `stop`. An error of the database is logged and tried again.
    pub async fn run(&self, stop: CancellationToken, heartbeat: Heartbeat) {
        let mut has_begun = false;
        while !stop.is_cancelled() {
            if let Err(error) = heartbeat.wait(self.turn(&mut has_begun)).await {
                self.failed(&error);
            }
            if !heartbeat.pause(TURN, &stop).await {
                return;
            }
        }
    }

    async fn turn(&self, has_begun: &mut bool) -> Result<(), StoreError> {
        if !*has_begun {
            self.begin().await?;
            *has_begun = true;
        }
        self.round().await.map(|_| ())
    }

    /// Stores the message after which new thresholds count, and deletes thresholds that are no longer configured.
    ///
    /// # Errors
    /// A database error.
    pub async fn begin(&self) -> Result<(), StoreError> {
        let rules: Vec<String> = self.settings.thresholds.iter().map(threshold_key).collect();
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        for sql in [
            "insert into balance_watch (seq) select seq from outbox_head on conflict on constraint balance_watch_pkey do nothing",
            "insert into thresholds (rule, after_seq) select rule, seq from unnest($1::text[]) as r (rule), outbox_head \
             on conflict on constraint thresholds_pkey do nothing",
            "delete from limit_crossings where starts_with(rule, 'threshold:') and rule <> all($1::text[])",
            "delete from thresholds where rule <> all($1::text[])",
        ] {
            let query = sqlx::query(sql);
            let query = if sql.contains("$1") { query.bind(&rules) } else { query };
            query.execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Judges what is new. Returns how many messages it published.
    ///
    /// # Errors
    /// A database error.
    pub async fn round(&self) -> Result<usize, StoreError> {
        let mut tx = transaction::begin_snapshot(&self.pool).await?;
        let since: i64 = sqlx::query_scalar("select seq from balance_watch").fetch_one(&mut *tx).await?;
        let found = look(&mut tx, unsigned("sequence", since)?, &self.settings.thresholds).await?;
        tx.rollback().await?;
        if found.upto == found.since {
            return Ok(0);
        }
        let window = |chain_id: u64| self.settings.windows.get(&chain_id).copied().unwrap_or(u64::MAX);
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        if !write(&mut tx, &found, &window).await? {
            // Another instance has done it already.
            return Ok(0);
        }
        tx.commit().await?;
        Ok(note(&found))
    }

    fn failed(&self, error: &StoreError) {
        if let Some(suppressed) = self.lines.admit("limits") {
            let suppressed = suppressed.field();
            tracing::warn!(error = %causes(error), suppressed, "balances cannot be compared with limits; the comparison is retried");
        }
    }
}

/// Counts what was published.
fn note(found: &LimitLook) -> usize {
    let mut messages = 0;
    for (rule, _, turn) in &found.turns {
        match turn {
            LimitTurn::Cross(crossing, _) if crossing.event.is_some() => {
                metrics::limit_crossed(rule.label(), "published", 1);
                messages += 1;
            }
            LimitTurn::Cross(..) => {}
            LimitTurn::Undo(_, undone) => {
                let withdrawn = undone.iter().filter(|crossing| crossing.event.is_some()).count();
                metrics::limit_crossed(rule.label(), "withdrawn", withdrawn as u64);
                messages += withdrawn;
            }
        }
    }
    if found.left_out {
        tracing::warn!(
            since = found.since,
            upto = found.upto,
            "too many messages waited to be compared with limits; crossings among them are not published"
        );
    }
    messages
}
