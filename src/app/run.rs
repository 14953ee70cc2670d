//! The daemon.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::database::{Database, Owner, store_error};
use super::error::AppError;
use super::parts::{Loaded, api_settings, chain_settings, policy, record, translator};
use super::{messages, notify, preflight, probe};
use crate::api::AdminServer;
use crate::health::Board;
use crate::indexer::{ChainIndexer, Parts};
use crate::store::Store;
use crate::{metrics, shutdown};

/// Runs until a signal: checks everything, then writes.
///
/// # Errors
/// Whatever keeps it from starting; once it runs, troubles are waited out and told by logs and readiness.
pub async fn run(loaded: Loaded) -> Result<(), AppError> {
    let stop = shutdown::on_signal().map_err(anyhow::Error::from)?;
    let checks = tokio::select! {
        checks = preflight::nodes(&loaded) => checks,
        () = stop.cancelled() => return Ok(()),
    };
    preflight::may_start(&loaded, &checks)?;
    let board = Board::default();
    let handle = metrics::install().map_err(anyhow::Error::from)?;
    let admin = AdminServer::bind(api_settings(&loaded.config), board.clone(), handle)
        .await
        .map_err(|error| AppError::Unavailable(error.to_string()))?;
    let database = Database::open(&loaded, Owner::Daemon).await?;
    let outcome = serve(&loaded, &database, (admin, board), stop).await;
    database.close().await;
    tracing::info!("stopped");
    outcome
}

/// Migrates, starts every loop and drains them when told to stop.
async fn serve(
    loaded: &Loaded,
    database: &Database,
    (admin, board): (AdminServer, Board),
    stop: CancellationToken,
) -> Result<(), AppError> {
    let migrated = database.store.migrate().await.map_err(store_error)?;
    tracing::info!(admin = %admin.address(), schema = migrated.version, applied = migrated.applied, "database is ready");
    let mut loops = JoinSet::new();
    for indexer in indexers(loaded, &database.store, &board)? {
        loops.spawn(indexer.run(stop.clone()));
    }
    // Nobody in this process listens yet; the relay carries all the same, so that the outbox can be trimmed.
    let _bus = messages::carry(loaded, &database.store, &board, &mut loops, &stop)?;
    // These end with the loops, not before: an operator wants to see the drain.
    let watchers = CancellationToken::new();
    let mut background = JoinSet::new();
    background.spawn(probe::run(database.store.clone(), board.clone(), watchers.clone()));
    background.spawn(notify::run(board, watchers.clone()));
    let serving = watchers.clone();
    background.spawn(async move {
        if let Err(error) = admin.serve(serving).await {
            tracing::error!(%error, "admin address lost");
        }
    });
    stop.cancelled().await;
    notify::stopping();
    let drained = shutdown::drain(loaded.config.shutdown.deadline, loops).await;
    watchers.cancel();
    shutdown::drain(Duration::from_secs(1), background).await;
    if drained.is_clean() {
        return Ok(());
    }
    let (panicked, abandoned) = (drained.panicked, drained.abandoned);
    Err(AppError::Failed(format!(
        "{panicked} tasks had panicked and {abandoned} did not stop in time; nothing committed is lost"
    )))
}

/// One loop for each chain of the config; the database is migrated already.
///
/// # Errors
/// What is wrong with the chain's settings.
pub fn indexers(loaded: &Loaded, store: &Store, board: &Board) -> Result<Vec<ChainIndexer>, AppError> {
    let config = &loaded.config;
    let indexer = |chain| {
        let parts = Parts {
            settings: chain_settings(chain),
            policy: policy(chain),
            record: record(config, chain),
            translator: translator(config, chain)?,
            store: store.clone(),
            board: board.clone(),
        };
        ChainIndexer::new(parts)
            .map_err(|error| AppError::Config(format!("{}: {error}", loaded.key(&chain.name, "http"))))
    };
    config.chains.iter().map(indexer).collect()
}
