use std::time::{Duration, Instant};

use indicatif::HumanCount;
use tokio_util::sync::CancellationToken;

use super::heard::MessageCount;
use super::verify::Difference;
use crate::roles::AppError;
use chainflume_db::StoreError;
use chainflume_ops::health::{Board, ChainHealth, ChainState};
use chainflume_store::Store;

/// Prints the progress in the terminal: one line a second while something moves.
pub(super) struct DemoWatch {
    board: Board,
    store: Store,
    messages: MessageCount,
    started: Instant,
    last_tip: Option<u64>,
    last_events: u64,
    last_reorgs: usize,
    first_event: Option<Duration>,
    synced: Option<Duration>,
}

/// More than a demo lives to see.
const REORGS: u32 = 100_000;

impl DemoWatch {
    pub(super) fn new(board: Board, store: Store, messages: MessageCount, started: Instant) -> Self {
        Self {
            board,
            store,
            messages,
            started,
            last_tip: None,
            last_events: 0,
            last_reorgs: 0,
            first_event: None,
            synced: None,
        }
    }

    /// Prints until `stop` or the time is over.
    pub(super) async fn follow(
        &mut self,
        stop: &CancellationToken,
        until: Option<Instant>,
    ) -> Result<(), StoreError> {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut printed = Instant::now();
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(());
            }
            let due = printed.elapsed() >= Duration::from_secs(1);
            if (self.first_event.is_some() && self.synced.is_some()) && !due {
                continue;
            }
            if let Some(chain) = self.chain() {
                self.look(&chain, due).await?;
                if due {
                    printed = Instant::now();
                }
            }
        }
        Ok(())
    }

    async fn look(&mut self, chain: &ChainHealth, due: bool) -> Result<(), StoreError> {
        let events = self.store.event_counts().await?.iter().map(|count| count.events).sum();
        let since = self.started.elapsed();
        if events > 0 && self.first_event.is_none() {
            self.first_event = Some(since);
            print_line!("first events stored {:.1} s after the start", since.as_secs_f32());
        }
        let (tip, lag) = (tip(chain), chain.lag());
        if self.synced.is_none() && chain.state == ChainState::Live && lag == 0 {
            self.synced = Some(since);
            print_line!(
                "history synced: {} events of {} blocks, {:.1} s after the start; live from here\n",
                HumanCount(events),
                HumanCount(tip.unwrap_or(0)),
                since.as_secs_f32()
            );
        }
        if due && tip != self.last_tip {
            let reorgs = self.store.reorgs(REORGS).await?;
            for reorg in reorgs.iter().rev().skip(self.last_reorgs) {
                print_line!(
                    "  reorg: {} blocks and {} events undone, back to block {}",
                    reorg.depth,
                    reorg.events,
                    HumanCount(reorg.ancestor.number)
                );
            }
            self.last_reorgs = reorgs.len();
            let new = events.saturating_sub(self.last_events);
            print_line!(
                "  head {}  stored {}  events {} (+{new})",
                HumanCount(chain.heads.latest.unwrap_or(0)),
                HumanCount(tip.unwrap_or(0)),
                HumanCount(events)
            );
            (self.last_tip, self.last_events) = (tip, events);
        }
        Ok(())
    }

    /// Waits until every source has stored block `number`.
    pub(super) async fn wait_for(&self, number: u64, limit: Duration) -> Result<(), AppError> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if self.chain().is_some_and(|chain| {
                !chain.sources.is_empty() && tip(&chain) == Some(number) && chain.errors.consecutive == 0
            }) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(AppError::Failed(format!("block {number} was not stored within {} s", limit.as_secs())))
    }

    pub(super) async fn print_summary(&self, difference: &Difference) -> Result<(), StoreError> {
        let seconds =
            |at: Option<Duration>| at.map_or("never".to_owned(), |at| format!("{:.1} s", at.as_secs_f32()));
        let reorgs = self.store.reorgs(REORGS).await?;
        let (undone, deepest) =
            (reorgs.iter().map(|r| r.events).sum::<u64>(), reorgs.iter().map(|r| r.depth).max());
        print_line!("\nsummary");
        print_line!("  first event      {} after the start", seconds(self.first_event));
        print_line!("  history synced   {} after the start", seconds(self.synced));
        print_line!(
            "  reorgs undone    {}, the deepest of {} blocks, {undone} events undone",
            reorgs.len(),
            deepest.unwrap_or(0)
        );
        print_line!("  messages         {}", self.messages.line(&self.store).await?);
        for line in difference.counts() {
            print_line!("  {line}");
        }
        match difference.is_empty() {
            true => print_line!("every row agrees with the chain"),
            false => difference.lines().take(20).for_each(|line| print_line!("  differs: {line}")),
        }
        Ok(())
    }

    fn chain(&self) -> Option<ChainHealth> {
        self.board.chains().into_values().next()
    }
}

/// The block that all sources have stored.
fn tip(chain: &ChainHealth) -> Option<u64> {
    chain.sources.iter().map(|source| source.tip).min().flatten()
}
