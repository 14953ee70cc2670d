//! Reports the parts of a source that are not followed, and the gaps that are being read.

use serde::{Deserialize, Serialize};

use chainflume_ops::health::{SourceHealth, SourceIdle, UnreadHealth};

/// A gap of a source that is being read, in a [`Report`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadReport {
    /// The part of the source that lacks the blocks.
    pub what: String,
    /// The first block for this daemon.
    pub from: u64,
    /// The next block to read.
    pub at: u64,
    /// The last block.
    pub to: u64,
    /// Number of blocks left.
    pub blocks_left: u64,
    /// The reason for a pause before the next try.
    pub error: Option<String>,
}

impl UnreadReport {
    pub(super) fn of(unread: &UnreadHealth) -> Self {
        let UnreadHealth { what, from, next, to, blocks, error } = unread.clone();
        Self { what, from, at: next, to, blocks_left: blocks, error }
    }

    /// A line for a person.
    pub fn in_words(&self, source: &str) -> String {
        let Self { what, from, at, to, blocks_left, error } = self;
        let error = error.as_ref().map(|error| format!("; it waits: {error}")).unwrap_or_default();
        format!(
            "source {source} reads the past of {what}: blocks {from} to {to}, at {at}, {blocks_left} left{error}"
        )
    }
}

/// The state of a source, in a word.
pub(super) fn state(source: &SourceHealth) -> &'static str {
    match (source.is_blocked, &source.hindrance, &source.unread) {
        (true, ..) => "blocked",
        (_, Some(_), _) => "partly_blocked",
        (.., Some(_)) => "filling",
        _ => match source.idle {
            Some(SourceIdle::AwaitsHead) => "waiting",
            Some(SourceIdle::Complete { .. }) => "complete",
            None => "following",
        },
    }
}

/// Why a source alone makes its chain not ready.
pub(super) fn reasons(source: &SourceHealth, max_lag: u64) -> impl Iterator<Item = String> {
    let unread = source.unread.as_ref().filter(|unread| unread.blocks > max_lag);
    let unread = unread.map(|unread| UnreadReport::of(unread).in_words(&source.name));
    source.hindrance.clone().into_iter().chain(unread)
}
