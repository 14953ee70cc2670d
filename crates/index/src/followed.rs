//! Which part of its configuration each source follows. A part that is stored for another source, or with another
//! meaning, needs an operator. Only that part is not followed.

use std::time::{Duration, Instant};

use super::error::IndexerError;
use super::session::{IndexSession, RETRY_SOURCE_AFTER};
use chainflume_core::domain::{ChainComparison, SourceComparison, SourceDifference};
use chainflume_db::StoreError;

/// How often the loop checks whether an operator has made a decision.
const DECISION_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of such a check that reads one row.
const DECISION_CHECK_TIMEOUT: Duration = Duration::from_secs(2);

impl IndexSession<'_> {
    /// Follows what is configured, except for what is stored for another source. Logs each difference once.
    pub(super) fn follow_comparison(&mut self, comparison: ChainComparison) {
        for difference in comparison.differences() {
            let text = difference.to_string();
            let key = match difference {
                // The numbers in the text change while the past is read.
                SourceDifference::Unread(unread) => format!("{}: {}", unread.source, unread.what),
                _ => text.clone(),
            };
            if !self.chain.logged_differences.insert(key) {
                continue;
            }
            let (chain, source) = (&self.chain.settings.name, difference.source());
            match difference {
                SourceDifference::Unread(_) => tracing::info!(%chain, source, "{text}"),
                _ if difference.blocks() => tracing::error!(%chain, source, "{text}; other sources continue"),
                _ => tracing::warn!(%chain, source, "{text}"),
            }
        }
        self.chain.translator.follow(&comparison.sources);
        for (source, compared) in comparison.sources.iter().enumerate() {
            if let Some(unread) = compared.unread() {
                self.followed_sources.began.entry(source).or_insert(unread.range.from());
            }
        }
        self.followed_sources.comparison = comparison;
        self.followed_sources.decisions_checked_at = Some(Instant::now());
        let gone = self.followed_sources.comparison.gone.iter().map(ToString::to_string).collect();
        self.chain.board.chain(&self.chain.settings.name, |chain| chain.notices.past_sources = gone);
    }

    /// Sets a source aside whose logs are stored for another source. Returns whether the error had this cause. Other
    /// sources continue.
    pub(super) fn set_aside_source(&mut self, error: &IndexerError) -> bool {
        if matches!(error, IndexerError::Store(error) if error.is_conflict()) {
            // An operator may have renamed, reset or removed a source: register all of them again.
            self.opened = None;
        }
        let IndexerError::Store(StoreError::Overlap { claimant, .. }) = error else { return false };
        let Some(source) = self.chain.translator.sources().iter().position(|source| source.name == *claimant)
        else {
            return false;
        };
        tracing::error!(chain = %self.chain.settings.name, source = %claimant, %error, "source is not followed: another source holds its logs; other sources continue");
        self.followed_sources.set_aside.insert(source, (Instant::now(), error.to_string()));
        self.forget();
        true
    }

    /// Checks at an interval whether an operator has made a decision about a source while the daemon runs.
    pub(super) async fn check_decisions(&mut self) -> Result<(), IndexerError> {
        let aside = self.followed_sources.set_aside.len();
        self.followed_sources.set_aside.retain(|_, (at, _)| at.elapsed() < RETRY_SOURCE_AFTER);
        let mut decided = aside != self.followed_sources.set_aside.len();
        let waits =
            self.followed_sources.comparison.sources.iter().any(|compared| compared.hindrance().is_some());
        let checked_at = self.followed_sources.decisions_checked_at;
        let is_due = checked_at.is_none_or(|at| at.elapsed() >= DECISION_CHECK_INTERVAL);
        if is_due {
            self.followed_sources.decisions_checked_at = Some(Instant::now());
        }
        if is_due && waits {
            let hindrances = |comparison: &ChainComparison| -> Vec<Option<String>> {
                comparison.sources.iter().map(SourceComparison::hindrance).collect()
            };
            let now = self.store().compared().await?;
            decided |= hindrances(&now) != hindrances(&self.followed_sources.comparison);
        } else if is_due {
            // A commit would notice a reset of a source, but without new blocks there is no commit. Errors are
            // ignored: the probe reports a database that does not answer.
            let check = tokio::time::timeout(DECISION_CHECK_TIMEOUT, self.store().reorgs());
            decided |= check.await.is_ok_and(|now| now.is_ok_and(|now| now != self.snapshot().reorgs()));
        }
        if decided {
            self.opened = None;
            self.forget();
        }
        Ok(())
    }
}
