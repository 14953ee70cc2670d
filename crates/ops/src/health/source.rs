use std::time::Instant;

use super::Throughput;

/// One source, as the spine last left it.
#[derive(Clone, Debug)]
pub struct SourceHealth {
    /// Name.
    pub name: String,
    /// Newest block stored, `None` while there is none.
    pub tip: Option<u64>,
    /// The block it reads next.
    pub next: u64,
    /// When it last committed in this process.
    pub committed_at: Option<Instant>,
    /// How fast it moves.
    pub pace: Throughput,
    /// Whether nothing of it is followed until an operator decides.
    pub is_blocked: bool,
    /// Why it, or a part of it, is not followed.
    pub hindrance: Option<String>,
    /// What is still to be read of its past, because it was not followed then.
    pub unread: Option<UnreadHealth>,
    /// What else differs between its configuration and what is stored.
    pub notes: Vec<String>,
}

/// A part of a source's past that is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadHealth {
    /// Which part.
    pub what: String,
    /// Where this process began.
    pub from: u64,
    /// The next block to be read.
    pub next: u64,
    /// The last.
    pub to: u64,
    /// How many are left: some between may be read already.
    pub blocks: u64,
    /// Why it waits for another try.
    pub error: Option<String>,
}

impl SourceHealth {
    /// Confirmed blocks not stored yet. A source that starts in the future lacks none, and one that
    /// is blocked has a reason of its own.
    pub fn lag(&self, confirmed: Option<u64>) -> u64 {
        let confirmed = confirmed.filter(|_| !self.is_blocked);
        confirmed.map_or(0, |confirmed| confirmed.saturating_add(1).saturating_sub(self.next))
    }
}
