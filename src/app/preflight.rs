//! Looks at nodes and database before anything is written.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use futures_util::future::join_all;

use super::error::AppError;
use super::parts::{Loaded, chain_settings};
use crate::canon::Confirmations;
use crate::chain::{ChainError, ChainSettings, Node, Tag};
use crate::config;

/// What one chain's node said.
pub(super) struct NodeCheck {
    pub chain: String,
    /// Newest block.
    pub outcome: Result<u64, ChainError>,
}

/// Asks every node for its chain id and head.
pub(super) async fn nodes(loaded: &Loaded) -> Vec<NodeCheck> {
    join_all(loaded.config.chains.iter().map(node)).await
}

/// A few tries: a node that is just starting is no reason to fail, one that is away is told in seconds.
async fn node(chain: &config::Chain) -> NodeCheck {
    let settings = chain_settings(chain);
    let patience = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(300))
        .with_max_times(3)
        .with_jitter();
    let asked = (|| ask(&settings, chain.confirmations))
        .retry(patience)
        .when(|error: &ChainError| !error.is_wrong_chain())
        .await;
    NodeCheck { chain: chain.name.clone(), outcome: asked }
}

async fn ask(settings: &ChainSettings, confirmations: Confirmations) -> Result<u64, ChainError> {
    let node = Node::new(settings)?;
    node.check_chain().await?;
    match confirmations {
        Confirmations::Blocks(_) => {}
        Confirmations::Safe => node.check_tag(Tag::Safe).await?,
        Confirmations::Finalized => node.check_tag(Tag::Finalized).await?,
    }
    Ok(node.head().await?.number)
}

/// What keeps a daemon from starting: a node on another chain, or no node at all that can be reached. One
/// chain's outage is no reason to stop the others, and is waited out.
pub(super) fn may_start(loaded: &Loaded, checks: &[NodeCheck]) -> Result<(), AppError> {
    let line = |check: &NodeCheck| {
        let error = check.outcome.as_ref().err()?;
        Some(format!("{}: {error}", loaded.key(&check.chain, "http")))
    };
    let wrong = |check: &&NodeCheck| check.outcome.as_ref().is_err_and(ChainError::is_wrong_chain);
    let wrong: Vec<String> = checks.iter().filter(wrong).filter_map(line).collect();
    if !wrong.is_empty() {
        return Err(AppError::Config(wrong.join("\n")));
    }
    // A node without the tag is there, and may have it later.
    let away = |check: &NodeCheck| {
        check.outcome.as_ref().is_err_and(|error| !matches!(error, ChainError::NoTag { .. }))
    };
    if checks.iter().all(away) {
        let all: Vec<String> = checks.iter().filter_map(line).collect();
        return Err(AppError::Unavailable(all.join("\n")));
    }
    for error in checks.iter().filter_map(line) {
        tracing::warn!(error, "a chain starts without its node, and waits for it");
    }
    Ok(())
}
