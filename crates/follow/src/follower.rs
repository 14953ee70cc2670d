//! The loop of one chain that checks watched transactions.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::pin::Pin;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use sqlx::postgres::PgPool;
use tokio_util::sync::CancellationToken;

use crate::judge::{
    ChainDepths, SeenReceipt, SeenSender, TransactionChange, TransactionSighting, TransactionWatch,
    WatchLimits, WatchVerdict, judge,
};
use crate::watches;
use chainflume_core::domain::causes;
use chainflume_db::convert::int8;
use chainflume_db::transaction::{self, Tx};
use chainflume_db::{Database, StoreError};
use chainflume_ops::health::Heartbeat;
use chainflume_ops::metrics;
use chainflume_ops::telemetry::LogLimiter;

/// The requests to a node. Answers are in the order of the arguments.
pub trait ChainView: Send + Sync {
    /// Why a request failed, for the log.
    type Error: Display + Send;

    /// Head, confirmed and final block of the chain.
    fn depths(&self) -> impl Future<Output = Result<ChainDepths, Self::Error>> + Send;
    /// Receipts of transactions in canonical blocks.
    fn receipts(
        &self,
        transactions: &[B256],
    ) -> impl Future<Output = Result<Vec<Option<SeenReceipt>>, Self::Error>> + Send;
    /// Hashes of canonical blocks.
    fn blocks(&self, numbers: &[u64]) -> impl Future<Output = Result<Vec<Option<B256>>, Self::Error>> + Send;
    /// Senders of transactions that the node knows, mined or not.
    fn senders(
        &self,
        transactions: &[B256],
    ) -> impl Future<Output = Result<Vec<Option<SeenSender>>, Self::Error>> + Send;
    /// The nonces that accounts use next after a block.
    fn nonces(
        &self,
        accounts: &[Address],
        block: u64,
    ) -> impl Future<Output = Result<Vec<Option<u64>>, Self::Error>> + Send;
}

/// Metrics to count after the commit: before it, the changes may still be rolled back.
pub type AfterCommit = Vec<Box<dyn FnOnce() + Send>>;

/// The outcome of [`Subject::changed`].
pub type Taken<'a> = Pin<Box<dyn Future<Output = Result<AfterCommit, StoreError>> + Send + 'a>>;

/// The owner of followed transactions, which gets their changes.
pub trait Subject: Send + Sync {
    /// Gets changes in the database transaction that stores them, and may append messages to it. The result is called after the commit.
    fn changed<'a>(&'a self, tx: &'a mut Tx, changes: Vec<TransactionChange>) -> Taken<'a>;
}

/// Settings of the follower of one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowSettings {
    /// Name of the chain in logs and metrics.
    pub chain: String,
    /// EIP-155.
    pub chain_id: u64,
    /// Time from one round to the next: about the time of a block.
    pub every: Duration,
    /// Transactions per round: the receipts of one batch.
    pub batch: u32,
    /// Maximum number of followed transactions: with more, each would be checked too rarely.
    pub most: u32,
    /// Time limits for transactions that the node does not know.
    pub limits: WatchLimits,
}

/// Follows the watched transactions of one chain.
pub struct Follower<V, S> {
    /// Limits and pace.
    pub settings: FollowSettings,
    /// The requests to the chain's node.
    pub view: V,
    /// The owner of the transactions, which gets the changes.
    pub subject: S,
    pool: PgPool,
    lines: LogLimiter,
}

/// Transactions, each with the answers of the node.
type Sighted = Vec<(TransactionWatch, TransactionSighting)>;

impl<V: ChainView, S: Subject> Follower<V, S> {
    /// A follower of the transactions in this database.
    pub fn new(database: &Database, settings: FollowSettings, view: V, subject: S) -> Self {
        Self { settings, view, subject, pool: database.pool().clone(), lines: LogLimiter::default() }
    }

    /// Runs rounds until `stop`. An error of the node or the database is logged, and the next round retries.
    pub async fn run(&self, stop: CancellationToken, heartbeat: Heartbeat) {
        loop {
            if let Err(error) = heartbeat.wait(self.round()).await
                && let Some(suppressed) = self.lines.admit("follow")
            {
                let (chain, suppressed) = (&self.settings.chain, suppressed.field());
                tracing::warn!(%chain, error, suppressed, "transactions cannot be followed; the next round retries");
            }
            if !heartbeat.pause(self.settings.every, &stop).await {
                return;
            }
        }
    }

    /// One round. Returns the number of changes that were stored.
    ///
    /// # Errors
    /// Why a request to the node or the database failed, for the log.
    pub async fn round(&self) -> Result<usize, String> {
        let chain_id = int8("chain id", self.settings.chain_id).map_err(|error| causes(&error))?;
        let (watches, count) = self.due(chain_id).await.map_err(|error| causes(&error))?;
        metrics::followed(&self.settings.chain, count);
        if watches.is_empty() {
            return Ok(0);
        }
        // Depths before receipts: a block that comes in between only makes a transaction look younger than it is.
        let depths = self.view.depths().await.map_err(|error| error.to_string())?;
        let sighted = self.look(watches, &depths).await.map_err(|error| error.to_string())?;
        let limits = &self.settings.limits;
        let decided = sighted.into_iter().map(|(watch, sighting)| {
            let verdict = judge(&watch, &sighting, &depths, limits);
            (watch, verdict)
        });
        self.store(decided.collect()).await.map_err(|error| causes(&error))
    }

    async fn due(&self, chain_id: i64) -> Result<(Vec<TransactionWatch>, u64), StoreError> {
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        watches::adopt(&mut tx, chain_id, i64::from(self.settings.most)).await?;
        let watches = watches::due(&mut tx, chain_id, i64::from(self.settings.batch)).await?;
        let count = watches::count(&mut tx, chain_id).await?;
        tx.commit().await?;
        Ok((watches, count))
    }

    /// Fetches all receipts at once, and for transactions without a receipt the facts that explain it.
    async fn look(&self, watches: Vec<TransactionWatch>, depths: &ChainDepths) -> Result<Sighted, V::Error> {
        let hashes: Vec<B256> = watches.iter().map(|watch| watch.transaction).collect();
        let receipts = self.view.receipts(&hashes).await?;
        let sighted = watches.into_iter().zip(receipts);
        let mut sighted: Sighted = sighted
            .map(|(watch, receipt)| {
                (watch, TransactionSighting { receipt, ..TransactionSighting::default() })
            })
            .collect();
        self.look_at_blocks(&mut sighted).await?;
        self.look_at_senders(&mut sighted).await?;
        self.look_at_nonces(&mut sighted, depths).await?;
        Ok(sighted)
    }

    /// Fetches the canonical blocks at the heights of transactions whose receipt is gone.
    async fn look_at_blocks(&self, sighted: &mut Sighted) -> Result<(), V::Error> {
        let lost = |(watch, sighting): &(TransactionWatch, TransactionSighting)| {
            watch.block.filter(|_| sighting.receipt.is_none()).map(|block| block.number)
        };
        let numbers: BTreeSet<u64> = sighted.iter().filter_map(lost).collect();
        let numbers: Vec<u64> = numbers.into_iter().collect();
        if numbers.is_empty() {
            return Ok(());
        }
        let blocks = self.view.blocks(&numbers).await?;
        for one in sighted {
            let block = lost(&*one).and_then(|number| numbers.binary_search(&number).ok());
            one.1.canonical = block.and_then(|index| blocks.get(index).copied().flatten());
        }
        Ok(())
    }

    /// Fetches transactions that are in no block, if the node knows them.
    async fn look_at_senders(&self, sighted: &mut Sighted) -> Result<(), V::Error> {
        let absent: Vec<usize> = absent(sighted).collect();
        let hashes: Vec<B256> = absent.iter().map(|index| sighted[*index].0.transaction).collect();
        if hashes.is_empty() {
            return Ok(());
        }
        let senders = self.view.senders(&hashes).await?;
        for (index, known) in absent.into_iter().zip(senders) {
            sighted[index].1.known = known;
        }
        Ok(())
    }

    /// Fetches the next nonces of the senders of transactions that the node does not know any more.
    async fn look_at_nonces(&self, sighted: &mut Sighted, depths: &ChainDepths) -> Result<(), V::Error> {
        let Some(confirmed) = depths.confirmed else { return Ok(()) };
        let unknown = |index: &usize| sighted[*index].1.known.is_none();
        let account = |index: usize| Some((index, sighted[index].0.sender?.account));
        let asked: Vec<(usize, Address)> = absent(sighted).filter(unknown).filter_map(account).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let accounts: Vec<Address> = asked.iter().map(|(_, account)| *account).collect();
        let nonces = self.view.nonces(&accounts, confirmed).await?;
        for ((index, _), nonce) in asked.into_iter().zip(nonces) {
            sighted[index].1.next_nonce = nonce;
        }
        Ok(())
    }

    /// Stores the verdicts and passes the changes to the subject, in one transaction.
    async fn store(&self, decided: Vec<(TransactionWatch, WatchVerdict)>) -> Result<usize, StoreError> {
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        let stored: BTreeSet<i64> = watches::store(&mut tx, &decided).await?.into_iter().collect();
        let (mut changes, mut over) = (Vec::new(), Vec::new());
        for (watch, verdict) in decided.iter().filter(|(watch, _)| stored.contains(&watch.id)) {
            if verdict.is_over {
                over.push(watch.id);
            }
            if verdict.state != watch.state {
                changes.push(TransactionChange {
                    subject: watch.subject,
                    chain_id: self.settings.chain_id,
                    transaction: watch.transaction,
                    from: watch.state,
                    to: verdict.state,
                    block: verdict.block,
                });
            }
        }
        watches::end(&mut tx, &over).await?;
        let count = changes.len();
        let states: Vec<&'static str> = changes.iter().map(|change| change.to.as_str()).collect();
        let after =
            if count > 0 { self.subject.changed(&mut tx, changes).await? } else { AfterCommit::new() };
        tx.commit().await?;
        after.into_iter().for_each(|count| count());
        states.into_iter().for_each(|state| metrics::follow_change(&self.settings.chain, state));
        Ok(count)
    }
}

/// Positions of the transactions that are in no block.
fn absent(sighted: &Sighted) -> impl Iterator<Item = usize> {
    let is_absent = |(watch, sighting): &(TransactionWatch, TransactionSighting)| {
        watch.block.is_none() && sighting.receipt.is_none()
    };
    sighted.iter().enumerate().filter(move |(_, one)| is_absent(one)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests;
