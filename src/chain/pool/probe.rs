//! What a provider has to show before anything depends on it.

use alloy_primitives::Address;

use super::choice::Why;
use crate::chain::error::ChainError;
use crate::chain::logs::Blocks;
use crate::chain::node::Node;
use crate::chain::settings::{ChainSettings, ProviderSettings};
use crate::chain::wake;
use crate::domain::LogFilter;

/// Everything it may be asked for. Its WebSocket must work where nothing is urgent; in need polling will do.
///
/// # Errors
/// What it cannot do, for a person.
pub(super) async fn all(
    node: &Node,
    provider: &ProviderSettings,
    settings: &ChainSettings,
    why: Why,
) -> Result<(), String> {
    essential(node, settings).await.map_err(|error| error.to_string())?;
    match &provider.ws_url {
        Some(url) if matches!(why, Why::Return | Why::Slow) => wake::probe(url, settings.request_timeout)
            .await
            .map_err(|reason| format!("its websocket does not work: {reason}")),
        _ => Ok(()),
    }
}

/// The chain, the tag blocks are confirmed by, and the logs of a recent block by its hash.
///
/// # Errors
/// What it refuses.
pub(super) async fn essential(node: &Node, settings: &ChainSettings) -> Result<(), ChainError> {
    node.check_chain().await?;
    if let Some(tag) = settings.tag {
        node.check_tag(tag).await?;
    }
    let head = node.head().await?;
    // An address nobody has: the question is what counts, and the answer costs nothing.
    let filter = LogFilter { addresses: Some([Address::ZERO].into()), topic0: None };
    // The block below, which a backend of the same gateway has as well.
    let recent = node.block(head.number.saturating_sub(1)).await?.unwrap_or(head);
    // By this question alone: what a node without logs can tell by receipts is a way to go on, and no reason to turn to it.
    node.logs_once(&filter, Blocks::Hash { number: recent.number, hash: recent.hash }).await.map(|_| ())
}
