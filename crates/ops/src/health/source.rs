use std::time::Instant;

use super::Throughput;

/// One source, as the spine last reported it.
#[derive(Clone, Debug, Default)]
pub struct SourceHealth {
    /// Name.
    pub name: String,
    /// Newest block stored, `None` while there is none.
    pub tip: Option<u64>,
    /// The next block to read.
    pub next: u64,
    /// Its last block, if it has one.
    pub end: Option<u64>,
    /// When it last committed in this process.
    pub committed_at: Option<Instant>,
    /// Its speed.
    pub pace: Throughput,
    /// Whether the source follows nothing until an operator decides.
    pub is_blocked: bool,
    /// Why the source reads no blocks although nothing is wrong with it.
    pub idle: Option<SourceIdle>,
    /// Why the source, or a part of it, is not followed.
    pub hindrance: Option<String>,
    /// Its gaps, which are still to be read.
    pub unread: Option<UnreadHealth>,
    /// Other differences between its configuration and the store.
    pub notes: Vec<String>,
}

/// Why a source reads no blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceIdle {
    /// Its first block is the first head of a node that has synced, and there was none yet.
    AwaitsHead,
    /// It has stored its last block, and that is final.
    Complete {
        /// The newest stored block.
        block: u64,
    },
}

/// A gap of a source that is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadHealth {
    /// The part of the source that lacks the blocks.
    pub what: String,
    /// The first block for this process.
    pub from: u64,
    /// The next block to read.
    pub next: u64,
    /// The last block.
    pub to: u64,
    /// Number of blocks left: some in between may be read already.
    pub blocks: u64,
    /// The reason for a pause before the next try.
    pub error: Option<String>,
}

impl SourceHealth {
    /// The same source at the beginning of a lease turn.
    pub(super) fn anew(self) -> Self {
        Self {
            tip: None,
            committed_at: None,
            is_blocked: false,
            idle: None,
            hindrance: None,
            unread: None,
            notes: Vec::new(),
            ..self
        }
    }

    /// Number of confirmed blocks that are not stored yet. 0 for a source that starts in the future, or is idle. A
    /// blocked source has its own reason.
    pub fn lag(&self, confirmed: Option<u64>) -> u64 {
        let confirmed = confirmed.filter(|_| !self.is_blocked && self.idle.is_none());
        let last = confirmed.map(|confirmed| self.end.map_or(confirmed, |end| end.min(confirmed)));
        last.map_or(0, |last| last.saturating_add(1).saturating_sub(self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_lags_by_what_it_is_to_read_and_has_not() {
        let at = |next| SourceHealth { next, ..SourceHealth::default() };
        assert_eq!(at(10).lag(Some(12)), 3);
        assert_eq!(at(13).lag(Some(12)), 0);
        assert_eq!(at(99).lag(Some(12)), 0, "it starts later");
        assert_eq!(at(10).lag(None), 0);
        assert_eq!(
            SourceHealth { end: Some(10), ..at(10) }.lag(Some(12)),
            1,
            "nothing is read above its end"
        );
        assert_eq!(SourceHealth { end: Some(99), ..at(10) }.lag(Some(12)), 3);
        assert_eq!(SourceHealth { is_blocked: true, ..at(10) }.lag(Some(12)), 0);
        assert_eq!(SourceHealth { idle: Some(SourceIdle::AwaitsHead), ..at(10) }.lag(Some(12)), 0);
    }
}
