use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{Limits, Report};
use chainflume_db::{LeaseRow, LeaseState, StoreError};
use chainflume_gateway::server::StatusSource;
use chainflume_ops::health::Board;
use chainflume_store::{ReorgRecord, SourceStatus, Store};

/// Reorgs shown.
const REORGS: u32 = 5;
/// If the database answers later, the page shows a note in its place: the reports of the loops need no database.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(3);

/// What operators see on the dashboard: what the loops of this process report, where it reads chains, and what the database has.
pub(super) fn source(board: Board, limits: Limits, store: Store) -> StatusSource {
    let parts = Arc::new((board, limits, store));
    Arc::new(move || {
        let parts = parts.clone();
        Box::pin(async move {
            let (board, limits, store) = &*parts;
            look(board, limits, store).await
        })
    })
}

async fn look(board: &Board, limits: &Limits, store: &Store) -> Value {
    let daemon = (!board.chains().is_empty()).then(|| Report::of(board, limits));
    let (stored, error) = match tokio::time::timeout(DATABASE_TIMEOUT, read(store)).await {
        Ok(Ok(stored)) => (Some(stored), None),
        // The error of the database is for the log and the metrics.
        Ok(Err(_)) => (None, Some("the database cannot be read")),
        Err(_) => (None, Some("the database does not answer")),
    };
    json!({ "version": env!("CARGO_PKG_VERSION"), "daemon": daemon, "stored": stored, "error": error })
}

/// The shapes are those of `chainflume status --json`.
async fn read(store: &Store) -> Result<Value, StoreError> {
    let outbox = store.outbox().state().await?;
    let sources: Vec<Value> = store.status().await?.iter().map(stored_source).collect();
    let leases: Vec<Value> = store.leases().await?.iter().map(stored_lease).collect();
    let reorgs: Vec<Value> = store.reorgs(REORGS).await?.iter().map(stored_reorg).collect();
    let outbox =
        json!({ "first": outbox.first, "last": outbox.last, "oldestSeconds": outbox.oldest_seconds });
    Ok(json!({ "outbox": outbox, "sources": sources, "leases": leases, "reorgs": reorgs }))
}

fn stored_source(status: &SourceStatus) -> Value {
    json!({
        "chain": status.chain, "chainId": status.chain_id, "source": status.source, "family": status.family,
        "tip": status.checkpoint.map(|tip| tip.number), "updatedAt": status.updated_at, "events": status.events,
        "openDeadLetters": status.dead_letters_open,
    })
}

fn stored_lease(row: &LeaseRow) -> Value {
    let holder = (row.state != LeaseState::Free).then_some(&row.holder);
    json!({ "lease": row.name.as_str(), "holder": holder, "epoch": row.epoch.number(), "secondsLeft": row.left.as_secs() })
}

fn stored_reorg(reorg: &ReorgRecord) -> Value {
    let ReorgRecord { chain_id, ancestor, depth, events, detected_at, reason, .. } = reorg;
    json!({
        "chainId": chain_id, "ancestor": ancestor.number, "depth": depth, "events": events, "detectedAt": detected_at,
        "reason": reason,
    })
}
