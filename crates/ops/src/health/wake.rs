use std::sync::Arc;

use tokio::sync::Notify;

use super::Board;

impl Board {
    /// Wakes the loop of a chain after a report of a new block. The loop only fetches the head sooner.
    pub fn wake(&self, chain: &str) {
        self.wake_of(chain).notify_one();
    }

    /// Returns when the chain was woken since the last call. May be cancelled and called again.
    pub async fn woken(&self, chain: &str) {
        self.wake_of(chain).notified().await;
    }

    fn wake_of(&self, chain: &str) -> Arc<Notify> {
        self.lock().wakes.entry(chain.to_owned()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_chain_that_is_busy_is_woken_once_when_it_waits() {
        let board = Board::default();
        assert!(board.woken("dev").now_or_never().is_none());
        board.wake("dev");
        board.wake("dev");
        board.wake("other");
        assert!(board.woken("dev").now_or_never().is_some());
        assert!(board.woken("dev").now_or_never().is_none());
    }
}
