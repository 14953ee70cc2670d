//! Decisions by the first head of a node that has synced: the block from which a new source publishes, and the first
//! block of a source whose `start_block` is `latest`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::IndexerError;
use super::session::{FirstHeadDecision, IndexSession};
use chainflume_core::canon::FirstHead;
use chainflume_store::AwaitedHead;

impl IndexSession<'_> {
    /// Makes the decisions that wait for the first head, if the node has synced. Until then new sources publish
    /// nothing. Returns whether the first block of a source was decided: the chain must then be opened again.
    pub(super) async fn decide_by_first_head(&mut self) -> Result<bool, IndexerError> {
        let awaited = self.first_head.awaited;
        let waits = awaited != AwaitedHead::default();
        let Some(head) = self.observed.newest.filter(|_| waits) else { return Ok(false) };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let first = FirstHead {
            number: head.number,
            age: since_1970.saturating_sub(Duration::from_secs(head.timestamp)),
            before: self.first_head.before,
            is_syncing: self.node.is_syncing().await?,
        };
        let decided = first.publish_above(self.chain.settings.max_head_age);
        let waits = match decided {
            Some(head) => {
                self.store().decide_by_head(head).await?;
                self.first_head = FirstHeadDecision::default();
                if awaited.start {
                    tracing::info!(chain = %self.chain.settings.name, block = head, "sources with start_block = \"latest\" begin at this block");
                    self.opened = None;
                }
                None
            }
            None => Some(waits_for(&first, awaited)),
        };
        if let Some(waits) = &waits {
            self.first_head.before = Some(head.number);
            if !std::mem::replace(&mut self.first_head.is_logged, true) {
                tracing::warn!(chain = %self.chain.settings.name, host = self.node.host(), "{waits}");
            }
        }
        self.chain.board.chain(&self.chain.settings.name, |chain| chain.notices.unpublished = waits);
        Ok(decided.is_some() && awaited.start)
    }
}

fn waits_for(first: &FirstHead, awaited: AwaitedHead) -> String {
    let node = match first.is_syncing {
        true => format!("its node still syncs and shows block {} as its newest", first.number),
        false => {
            format!("the newest block of its node, {}, is {} h old", first.number, first.age.as_secs() / 3600)
        }
    };
    let what = match awaited.start {
        true => {
            "sources with start_block = \"latest\" do not begin, and new sources with publish_from = \"head\" publish nothing,"
        }
        false => "new sources with publish_from = \"head\" publish nothing",
    };
    format!(
        "{node}: {what} until the node has caught up; if the clock of this chain is behind, set max_head_age = \"0s\""
    )
}
