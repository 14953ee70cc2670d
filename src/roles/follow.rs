//! The loops that follow transactions: one for each chain, each led by one instance, with a node client of its own.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::application::publisher;
use super::error::AppError;
use super::loops::Loops;
use super::parts::Loaded;
use crate::config::{self, Confirmations};
use chainflume_core::canon::{DepthPolicy, Heads};
use chainflume_core::domain::{Address, B256};
use chainflume_db::transaction::Tx;
use chainflume_follow::{
    ChainDepths, ChainView, FollowSettings, Follower, SeenReceipt, SeenSender, Subject, Taken,
    TransactionChange, WatchLimits, WatchState,
};
use chainflume_inbound::{Comparison, is_hint};
use chainflume_node::{BlockTag, ChainError, ChainSettings, Node, Pool};
use chainflume_ops::metrics;
use chainflume_publish::{ActivityChange, ActivityStatus, Publisher};
use chainflume_store::Store;

/// Receipts asked for in one look. A node answers a batch of so many in a fraction of a second, and 10,000 transactions of a chain
/// are all looked at within 20 blocks.
const BATCH: u32 = 500;
/// Transactions of a chain that are followed at the same time.
const MOST: u32 = 10_000;
/// The shortest and the longest pause between two looks: a chain with several blocks a second needs no look at each of them, and
/// a person who waits for a transaction notices twelve seconds.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(12));
/// How long a transaction that has timed out is looked for: a week, in which wallets send again what got stuck.
const LATE: Duration = Duration::from_hours(7 * 24);

/// Starts to follow, among `tasks`.
///
/// # Errors
/// When a schema of the application's events cannot be read.
pub(crate) fn start(
    loaded: &Loaded,
    store: &Store,
    loops: &mut Loops,
    tasks: &mut JoinSet<()>,
) -> Result<(), AppError> {
    let publisher = publisher(&loaded.config, store)?;
    let subject = Subjects { publisher, hints: Comparison::of(store) };
    for chain in &loaded.config.chains {
        metrics::follow_starts(&chain.name);
        let (chain, store, subject) = (chain.clone(), store.clone(), subject.clone());
        let timeout = loaded.config.publish.activities.transaction_timeout;
        loops.follow(tasks, &chain.clone(), move |turn, heartbeat| {
            let (chain, store, subject) = (chain.clone(), store.clone(), subject.clone());
            async move {
                let view =
                    NodeView { pool: OnceLock::new(), policy: chain.policy, chain: chain.node.clone() };
                let settings = settings(&chain, timeout);
                Follower::new(&store, settings, view, subject).run(turn, heartbeat).await;
            }
        });
    }
    Ok(())
}

/// What transactions are followed for: activities, and hints of providers.
#[derive(Clone)]
struct Subjects {
    publisher: Publisher,
    hints: Comparison,
}

impl Subject for Subjects {
    fn changed<'a>(&'a self, tx: &'a mut Tx, changes: Vec<TransactionChange>) -> Taken<'a> {
        Box::pin(async move {
            let (hints, activities): (Vec<_>, Vec<_>) =
                changes.into_iter().partition(|change| is_hint(change.subject));
            let mut after = self.hints.changed(tx, hints).await?;
            for change in &activities {
                let change_of_it = activity_change(change);
                if let Some(kind) = self.publisher.follow_activity(tx, change.subject, &change_of_it).await? {
                    after.push(Box::new(move || metrics::activity_changed(kind.as_str())));
                }
            }
            Ok(after)
        })
    }
}

/// What a change of its transaction makes of an activity. The state is in the data too, so that an activity which its caller has
/// closed shows it.
fn activity_change(change: &TransactionChange) -> ActivityChange {
    let status = match change.to {
        WatchState::Waiting | WatchState::Mined => ActivityStatus::InProgress,
        WatchState::Succeeded => ActivityStatus::Completed,
        WatchState::Reverted | WatchState::Replaced | WatchState::TimedOut => ActivityStatus::Failed,
    };
    let data = json!({ "transactionState": change.to.as_str() });
    ActivityChange { status: Some(status), data: data.as_object().cloned(), ..ActivityChange::default() }
}

fn settings(chain: &config::Chain, timeout: Duration) -> FollowSettings {
    FollowSettings {
        chain: chain.name.clone(),
        chain_id: chain.chain_id,
        every: chain.block_time.clamp(PAUSES.0, PAUSES.1),
        batch: BATCH,
        most: MOST,
        limits: WatchLimits { timeout, late: LATE },
    }
}

/// A chain by its own nodes. The client is made with the first transaction, so that a chain without any costs its nodes nothing.
struct NodeView {
    pool: OnceLock<Pool>,
    chain: ChainSettings,
    policy: DepthPolicy,
}

impl NodeView {
    fn node(&self) -> Result<Arc<Node>, ChainError> {
        if let Some(pool) = self.pool.get() {
            return Ok(pool.live());
        }
        let pool = Pool::new(&self.chain)?;
        Ok(self.pool.get_or_init(|| pool).live())
    }
}

impl ChainView for NodeView {
    type Error = ChainError;

    async fn depths(&self) -> Result<ChainDepths, ChainError> {
        let node = self.node()?;
        node.check_chain().await?;
        let head = node.head().await?.number;
        let safe = match self.policy.confirmations {
            Confirmations::Safe => node.tagged(BlockTag::Safe).await?,
            Confirmations::Blocks(_) | Confirmations::Finalized => None,
        };
        let finalized = node.tagged(BlockTag::Finalized).await?.map(|block| block.number);
        let heads = Heads { latest: head, safe: safe.map(|block| block.number), finalized, aged: None };
        let (confirmed, final_number) = (self.policy.confirmed(&heads), self.policy.final_number(&heads));
        Ok(ChainDepths { head, confirmed, final_number })
    }

    async fn receipts(&self, transactions: &[B256]) -> Result<Vec<Option<SeenReceipt>>, ChainError> {
        let receipts = self.node()?.transaction_receipts(transactions).await?;
        let seen = receipts.into_iter().map(|receipt| {
            receipt.map(|receipt| SeenReceipt { block: receipt.block, succeeded: receipt.succeeded })
        });
        Ok(seen.collect())
    }

    async fn blocks(&self, numbers: &[u64]) -> Result<Vec<Option<B256>>, ChainError> {
        let blocks = self.node()?.blocks(numbers).await?;
        Ok(blocks.into_iter().map(|block| block.map(|block| block.hash)).collect())
    }

    async fn senders(&self, transactions: &[B256]) -> Result<Vec<Option<SeenSender>>, ChainError> {
        let known = self.node()?.known_transactions(transactions).await?;
        let seen = known
            .into_iter()
            .map(|known| known.map(|known| SeenSender { account: known.sender, nonce: known.nonce }));
        Ok(seen.collect())
    }

    async fn nonces(&self, accounts: &[Address], block: u64) -> Result<Vec<Option<u64>>, ChainError> {
        self.node()?.nonces(accounts, block).await
    }
}
