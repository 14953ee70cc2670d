//! The audit: reads final blocks a second time, slowly, and compares them with the stored events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::error::IndexerError;
use super::reread::{Purpose, Reread, RereadReport, Rereader};
use chainflume_core::domain::{BlockId, BlockRange, SourceComparison, causes};
use chainflume_ops::health::{AuditHealth, Board, Heartbeat};
use chainflume_ops::metrics;

/// The pace of an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AuditSettings {
    /// Blocks per read.
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 10_000_000, _, _>")]
    pub blocks: u64,
    /// Time from one read to the next.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<10, 86_400_000, _>")]
    pub every: Duration,
    /// Whether differences are repaired where receipts with the root of their header prove what is on the chain.
    pub repair: bool,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self { blocks: 2_000, every: Duration::from_secs(10), repair: true }
    }
}

/// Audits one chain: source by source, the one that is furthest behind first.
pub struct Auditor {
    /// Reads and compares.
    pub rereader: Rereader,
    /// The pace of the audit.
    pub settings: AuditSettings,
    /// Where progress is reported.
    pub board: Board,
    /// Shows that the loop is alive.
    pub heartbeat: Heartbeat,
}

/// Reads that a source skips after a difference, which is hardly repaired earlier. Other sources are read meanwhile.
const READS_SKIPPED: u32 = 10;

/// When a source was last read, which decides when it is read next.
#[derive(Clone, Copy, Debug, Default)]
struct SourceAudit {
    /// Time of the last read that agreed.
    agreed_at: Option<Instant>,
    /// Time of the last read that differed; `None` after one that agreed.
    differed_at: Option<Instant>,
}

/// The stored blocks of the chain.
struct StoredBlocks<'a> {
    final_number: Option<u64>,
    /// Checkpoint by source name, for quick look-ups among thousands of sources.
    tips: BTreeMap<&'a str, Option<BlockId>>,
}

/// A read of fewer than `blocks` blocks waits for this time.
const PARTIAL_READ_AFTER: Duration = Duration::from_secs(3600);

impl Auditor {
    /// Audits until `stop`. The audit of a source does not go past a difference until that is repaired. An error is
    /// logged and retried.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut audits = vec![SourceAudit::default(); self.rereader.translator.sources().len()];
        while self.heartbeat.pause(self.settings.every, &stop).await {
            match stop.run_until_cancelled(self.step(&mut audits)).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::debug!(chain = %self.chain(), error = %causes(&error), "audit failed; it is retried");
                }
            }
        }
    }

    fn chain(&self) -> &str {
        &self.rereader.settings.name
    }

    async fn step(&mut self, audits: &mut [SourceAudit]) -> Result<(), IndexerError> {
        let held = self.rereader.store.snapshot().await?;
        let verified = self.rereader.store.verified().await?;
        let sources = self.rereader.store.compared().await?.sources;
        self.rereader.translator.follow(&sources);
        let stored = held.checkpoints.iter().map(|checkpoint| (checkpoint.source.as_str(), checkpoint.at));
        let blocks = StoredBlocks { final_number: held.final_number, tips: stored.collect() };
        let mut next: Option<(usize, BlockRange)> = None;
        for (index, verified) in verified.iter().enumerate() {
            self.report(index, *verified, None);
            let Some(compared) = sources.get(index).filter(|compared| !compared.is_blocked()) else {
                continue;
            };
            let Some(range) = self.unverified(index, compared, *verified, &blocks) else { continue };
            let SourceAudit { agreed_at, differed_at } = audits[index];
            let waited = agreed_at.is_none_or(|at| at.elapsed() >= PARTIAL_READ_AFTER);
            let is_skipped = differed_at.is_some_and(|at| at.elapsed() < self.settings.every * READS_SKIPPED);
            let due = (range.width() >= self.settings.blocks || waited) && !is_skipped;
            if due && next.is_none_or(|(_, other)| range.from() < other.from()) {
                next = Some((index, range));
            }
        }
        let Some((source, range)) = next else { return Ok(()) };
        let (range, _) = range.split_at_width(self.settings.blocks);
        self.rereader.avoided = self.live_provider();
        let report = self
            .rereader
            .run(Reread { source, range, purpose: Purpose::Compare }, |_| self.heartbeat.beat())
            .await?;
        if report.agrees() {
            let name = &self.rereader.translator.sources()[source].name;
            self.rereader.store.set_verified(name, range.to(), held.reorgs).await?;
            audits[source] = SourceAudit { agreed_at: Some(Instant::now()), differed_at: None };
            self.report(source, Some(range.to()), Some(0));
        } else {
            self.differs(source, range, &report);
            let repaired = match self.settings.repair {
                true => self.repair(source, range).await,
                false => Ok(false),
            };
            // After a repair the range is compared once more before it counts as verified. After a repair that failed
            // other sources are read first.
            audits[source].differed_at = (!matches!(repaired, Ok(true))).then(Instant::now);
            repaired?;
        }
        Ok(())
    }

    /// The provider of the first read, as far as known: the one in use now.
    fn live_provider(&self) -> Option<String> {
        let chain = self.board.chains().remove(self.chain())?;
        chain.node.providers.into_iter().find(|provider| provider.live).map(|provider| provider.name)
    }

    /// The final blocks of a source that were not compared yet, below its first gap.
    fn unverified(
        &self,
        index: usize,
        compared: &SourceComparison,
        verified: Option<u64>,
        stored: &StoredBlocks<'_>,
    ) -> Option<BlockRange> {
        let source = &self.rereader.translator.sources()[index];
        let tip = stored.tips.get(source.name.as_str()).copied().flatten()?;
        let to = stored.final_number?.min(compared.complete_to(tip.number)?);
        let start = compared.start?;
        let from = verified.map_or(start, |verified| verified + 1).max(start);
        BlockRange::new(from, to)
    }

    fn differs(&self, source: usize, range: BlockRange, report: &RereadReport) {
        let name = &self.rereader.translator.sources()[source].name;
        let blocks = (range.from(), range.to());
        let count = report.missing.count + report.differing.count + report.surplus.count;
        self.report(source, None, Some(count));
        let before = self.board.audit(self.chain(), name, |audit| audit.differing_in.replace(blocks));
        // Logs the same difference once, not every few seconds.
        if before != Some(blocks) {
            metrics::audit_difference(self.chain(), name);
            tracing::error!(
                chain = %self.chain(), source = %name, blocks = %range, missing = report.missing.count,
                differing = report.differing.count, surplus = report.surplus.count, not_followed = report.not_followed,
                "stored events differ from the chain; compare with a node you trust, then run \
                 `chainflume verify --source {name} --from {} --to {} --repair`",
                range.from(), range.to()
            );
        }
    }

    /// Repairs the differences that receipts prove. Returns whether something was repaired and no difference is left.
    async fn repair(&mut self, source: usize, range: BlockRange) -> Result<bool, IndexerError> {
        let purpose = Purpose::RepairProven;
        let repaired =
            self.rereader.run(Reread { source, range, purpose }, |_| self.heartbeat.beat()).await?;
        let RereadReport { missing, differing, surplus, unproven, .. } = &repaired;
        let count = missing.count + differing.count + surplus.count;
        let name = &self.rereader.translator.sources()[source].name;
        if count > 0 {
            tracing::warn!(
                chain = %self.chain(), source = %name, blocks = %range, added = missing.count, replaced = differing.count,
                taken_back = surplus.count, unproven = unproven.count,
                "stored events that differed from the chain were repaired: receipts with the root of their header prove it"
            );
            metrics::audit_repaired(self.chain(), name, count);
            self.board.audit(self.chain(), name, |audit| audit.repaired = Some((count, Instant::now())));
        }
        self.report(source, None, Some(unproven.count));
        Ok(count > 0 && unproven.count == 0)
    }

    fn report(&self, source: usize, verified: Option<u64>, differences: Option<u64>) {
        let name = &self.rereader.translator.sources()[source].name;
        self.board.audit(self.chain(), name, |audit: &mut AuditHealth| {
            audit.verified_to = verified.or(audit.verified_to);
            if let Some(differences) = differences {
                audit.differences = differences;
                if differences == 0 {
                    audit.differing_in = None;
                }
            }
        });
    }
}
