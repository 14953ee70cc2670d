use crate::translate::GroupTranslator;
use chainflume_core::domain::{B256, LogFilter, SourceGap};
use chainflume_node::{Batch, BlockWithLogs, HistoryReader};

/// A gap that is being read.
pub(crate) struct GapRead {
    pub(crate) source: usize,
    pub(crate) gap: SourceGap,
    pub(crate) next: u64,
    pub(crate) translator: GroupTranslator,
    pub(crate) filter: LogFilter,
    pub(crate) mode: GapMode,
}

/// How a gap is read.
pub(crate) enum GapMode {
    /// In ranges, with the hash of the last block that was read.
    ByRange(HistoryReader, Option<B256>),
    /// By hash, with all blocks so far.
    ByHash(Vec<BlockWithLogs>),
}

impl GapRead {
    /// The next batch of a gap that is read in ranges; never returns without one. Cancel safe.
    pub(crate) async fn next(gap_read: &mut Option<Self>) -> Option<Batch> {
        match gap_read {
            Some(Self { mode: GapMode::ByRange(history, _), .. }) => history.next().await,
            _ => std::future::pending().await,
        }
    }

    /// Whether blocks are to be read by hash.
    pub(crate) fn reads_by_hash(gap_read: Option<&Self>) -> bool {
        matches!(gap_read, Some(Self { mode: GapMode::ByHash(_), .. }))
    }
}
