use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{self, MissedTickBehavior};

use super::DevChain;

/// How the chain grows on its own.
#[derive(Clone, Copy, Debug)]
pub struct MinerSettings {
    /// Wall-clock time between two blocks.
    pub block_time: Duration,
    /// With `n`, every `n`th block is a reorg instead; `None` or 0 for never.
    pub reorg_every: Option<u64>,
    /// A reorg drops this many blocks, the next one fewer, down to 1, and then again from the top. So a short demo
    /// shows a deep one.
    pub max_reorg_depth: u64,
}

/// Mines until dropped.
#[derive(Debug)]
pub struct Miner(JoinHandle<()>);

impl DevChain {
    /// Mines at a fixed interval until the returned guard is dropped. Needs a Tokio runtime.
    pub fn run(&self, settings: MinerSettings) -> Miner {
        Miner::start(self.clone(), settings)
    }
}

impl Miner {
    pub(super) fn start(chain: DevChain, settings: MinerSettings) -> Self {
        Self(tokio::spawn(mine(chain, settings)))
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn mine(chain: DevChain, settings: MinerSettings) {
    let mut clock = time::interval(settings.block_time.max(Duration::from_millis(1)));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock.tick().await;
    let every = settings.reorg_every.filter(|every| *every > 0);
    for tick in 1u64.. {
        clock.tick().await;
        match every.filter(|every| tick % every == 0) {
            Some(every) => {
                let max = settings.max_reorg_depth.max(1);
                let depth = max - (tick / every - 1) % max;
                // One block longer than the dropped branch: otherwise no node would prefer it.
                chain.reorg(depth, depth + 1)
            }
            None => chain.mine(1),
        };
    }
}
