//! From where on a source publishes that is new: from the first head of a node that has synced.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::IndexerError;
use super::session::{IndexSession, PublicationStart};
use chainflume_core::canon::FirstHead;

impl IndexSession<'_> {
    /// Decides from where on new sources publish, if the node has synced. Until then they publish nothing.
    pub(super) async fn decide_publication(&mut self) -> Result<(), IndexerError> {
        let Some(head) = self.observed.newest.filter(|_| self.publication.awaited) else { return Ok(()) };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let first = FirstHead {
            number: head.number,
            age: since_1970.saturating_sub(Duration::from_secs(head.timestamp)),
            before: self.publication.before,
            is_syncing: self.node.is_syncing().await?,
        };
        let above = first.publish_above(self.chain.settings.max_head_age);
        let waits = match above {
            Some(above) => {
                self.store().publish_above(above).await?;
                self.publication = PublicationStart::default();
                None
            }
            None => Some(waits_for(&first)),
        };
        if let Some(waits) = &waits {
            self.publication.before = Some(head.number);
            if !std::mem::replace(&mut self.publication.is_logged, true) {
                tracing::warn!(chain = %self.chain.settings.name, host = self.node.host(), "{waits}");
            }
        }
        self.chain.board.chain(&self.chain.settings.name, |chain| chain.unpublished = waits);
        Ok(())
    }
}

fn waits_for(first: &FirstHead) -> String {
    let node = match first.is_syncing {
        true => format!("its node still syncs and shows block {} as its newest", first.number),
        false => {
            format!("the newest block of its node, {}, is {} h old", first.number, first.age.as_secs() / 3600)
        }
    };
    format!(
        "{node}: new sources with publish_from = \"head\" publish nothing until the node has caught up; if the clock of this \
         chain is behind, set max_head_age = \"0s\""
    )
}
