use std::fmt;

use tokio::sync::OwnedSemaphorePermit;

use chainflume_core::domain::{Event, Place};

use super::{ChainStore, checkpoint, events};
use chainflume_db::StoreError;
use chainflume_db::transaction::{Durability, Tx};

/// Events of the next step, written already in the transaction of that step. No session sees them before it commits, and a
/// dropped transaction leaves nothing.
///
/// So the database stores the rows of one step while it still changes the balances of the step before, on another processor.
/// The fence comes later in the same transaction: the chain's lock and the compare-and-set. If a writer freezes before that, the
/// next leader ends its session; otherwise its own rows would wait for that session.
pub struct Staged {
    tx: Tx,
    ends: Option<(Place, Place)>,
    count: usize,
    _spare: OwnedSemaphorePermit,
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").field("ends", &self.ends).field("count", &self.count).finish_non_exhaustive()
    }
}

impl ChainStore {
    /// Writes the events of a history step ahead of the step. Returns `None` if no connection is free for this, or if one of the
    /// events is stored already; then [`Self::advance`] writes them, only slower.
    ///
    /// # Errors
    /// [`StoreError::Invalid`]; [`StoreError::Fenced`]; a database error.
    pub async fn stage(&self, events: &[Event]) -> Result<Option<Staged>, StoreError> {
        let Ok(spare) = self.spare.clone().try_acquire_owned() else { return Ok(None) };
        let ordered = events::in_order(&self.chain, events)?;
        let mut tx = checkpoint::begin_beside(self, Durability::None).await?;
        match events::write(&mut tx, &self.chain, &ordered).await {
            Ok(()) => Ok(Some(Staged { tx, ends: ends(&ordered), count: ordered.len(), _spare: spare })),
            // Another writer was first, or two sources have one log. The step itself finds out which: it compares the
            // checkpoint before it writes.
            Err(error) if error.constraint() == Some("events_pkey") => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Staged {
    /// Its transaction, if it holds these events.
    pub(super) fn into_tx(self, ordered: &[&Event]) -> Result<Tx, StoreError> {
        if (self.ends, self.count) == (ends(ordered), ordered.len()) {
            return Ok(self.tx);
        }
        Err(StoreError::invalid("other events were staged than are to be stored"))
    }
}

fn ends(ordered: &[&Event]) -> Option<(Place, Place)> {
    Some((ordered.first()?.place, ordered.last()?.place))
}
