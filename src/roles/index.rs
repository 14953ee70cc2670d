//! The index role: a loop for each chain, and the audits beside them.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::database::store_error;
use super::error::AppError;
use super::loops::{Loops, anew};
use super::parts::{Loaded, record, translator};
use crate::config::{self, Config};
use chainflume_core::domain::{BlockRange, EventKind};
use chainflume_db::StoreError;
use chainflume_index::{Auditor, ChainIndexer, ContractWatch, IndexerError, IndexerParts, Rereader};
use chainflume_node::{ChainError, ChainSettings};
use chainflume_ops::health::{Board, Heartbeat};
use chainflume_ops::metrics;
use chainflume_store::Store;

/// Starts the loop of each chain, and the audits that are configured.
pub(crate) fn start(
    loaded: &Loaded,
    store: &Store,
    loops: &mut Loops,
    tasks: &mut JoinSet<()>,
) -> Result<(), AppError> {
    let board = loops.board().clone();
    for (chain, indexer) in loaded.config.chains.iter().zip(indexers(loaded, store, &board)?) {
        let (loaded, store, board) = (loaded.clone(), store.clone(), board.clone());
        let about = chain.clone();
        loops.chain(tasks, chain, anew(indexer, move || indexer_of(&loaded, &about, &store, &board)));
    }
    for chain in &loaded.config.chains {
        let Some(every) = chain.contract_check else { continue };
        let (loaded, store, board, about) = (loaded.clone(), store.clone(), board.clone(), chain.clone());
        loops.contracts(tasks, chain, move || contract_watch(&loaded, &about, &store, &board, every));
    }
    for chain in loaded.config.chains.iter().filter(|chain| chain.audit.is_some()) {
        let (loaded, store, board, about) = (loaded.clone(), store.clone(), board.clone(), chain.clone());
        loops.audit(tasks, chain, move |turn, heartbeat| {
            let (loaded, store, board, about) = (loaded.clone(), store.clone(), board.clone(), about.clone());
            async move {
                let Some(settings) = about.audit else { return };
                if let Some(rereader) = audit_rereader(&loaded, &store, &about, &turn, &heartbeat).await {
                    Auditor { rereader, settings, board, heartbeat }.run(turn).await;
                }
            }
        });
    }
    Ok(())
}

fn contract_watch(
    loaded: &Loaded,
    chain: &config::Chain,
    store: &Store,
    board: &Board,
    every: Duration,
) -> Option<ContractWatch> {
    // The chain's own loop was built from the same, or there would be none.
    let sources = translator(&loaded.config, chain).ok()?.into_sources();
    let (store, board) = (store.clone(), board.clone());
    Some(ContractWatch { settings: chain.node.clone(), sources, store, board, every })
}

/// One loop for each chain of the config; the database is migrated already.
///
/// # Errors
/// What is wrong with the chain's settings.
pub fn indexers(loaded: &Loaded, store: &Store, board: &Board) -> Result<Vec<ChainIndexer>, AppError> {
    loaded.config.chains.iter().map(|chain| indexer_of(loaded, chain, store, board)).collect()
}

/// The loop of one chain.
pub(crate) fn indexer_of(
    loaded: &Loaded,
    chain: &config::Chain,
    store: &Store,
    board: &Board,
) -> Result<ChainIndexer, AppError> {
    let config = &loaded.config;
    let translator = translator(config, chain)?;
    start_counting(config, chain, translator.kinds());
    let parts = IndexerParts {
        settings: chain.node.clone(),
        policy: chain.policy,
        record: record(config, chain),
        translator,
        store: store.clone(),
        board: board.clone(),
    };
    ChainIndexer::new(parts)
        .map_err(|error| AppError::Config(format!("{}: {error}", loaded.key(&chain.name, "http"))))
}

/// Before the chain's first step, which counts.
fn start_counting(config: &Config, chain: &config::Chain, kinds: &[EventKind]) {
    metrics::chain_starts(&chain.name);
    for source in config.sources_of(&chain.name) {
        let own = kinds.iter().filter(|kind| kind.source == source.name);
        metrics::source_starts(&source.name, own.map(|kind| kind.event_type.clone()));
    }
}

/// Opens what the audit of a chain reads with; `None` at `stop`. Its own database connection and node client are made
/// only when the chain is known to work.
async fn audit_rereader(
    loaded: &Loaded,
    store: &Store,
    chain: &config::Chain,
    stop: &CancellationToken,
    heartbeat: &Heartbeat,
) -> Option<Rereader> {
    let settings = chain.audit?;
    loop {
        if !heartbeat.pause(settings.every.min(AUDIT_RETRY_INTERVAL), stop).await {
            return None;
        }
        match stop.run_until_cancelled(rereader(loaded, store, chain, beside_live(chain))).await? {
            Ok(mut rereader) => {
                rereader.yields_to_live = true;
                let widest = rereader.settings.history.initial_range;
                rereader.use_limits(store, Some(widest)).await;
                return Some(rereader);
            }
            Err(error) => tracing::debug!(chain = %chain.name, %error, "audit cannot begin; it is retried"),
        }
    }
}

/// How an audit asks. Nodes take the width of their requests from these settings, so they are made with them.
fn beside_live(chain: &config::Chain) -> ChainSettings {
    let settings = chain.node.clone();
    ChainSettings { history: settings.history.beside_live(), ..settings }
}

/// Pause between two tries to begin an audit.
const AUDIT_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// For one chain, on a database that is migrated.
pub(crate) async fn rereader(
    loaded: &Loaded,
    store: &Store,
    chain: &config::Chain,
    settings: ChainSettings,
) -> Result<Rereader, AppError> {
    let mut translator = translator(&loaded.config, chain)?;
    let record = record(&loaded.config, chain);
    let store = translator.open_with_retries(store, &record).await.map_err(store_error)?;
    translator.follow(&store.comparison().sources);
    let store = store.following(translator.contracts());
    let on_error = Arc::new(
        |blocks: BlockRange, error: &ChainError| tracing::warn!(%blocks, %error, "a request to the node failed; it is retried"),
    );
    Rereader::new(settings, chain.policy, translator, store, on_error)
        .map_err(|error| explain(loaded, chain, error))
}

pub(crate) fn explain(loaded: &Loaded, chain: &config::Chain, error: IndexerError) -> AppError {
    match error {
        IndexerError::Chain(error) if error.is_wrong_chain() => {
            AppError::Config(format!("{}: {error}", loaded.key(&chain.name, "http")))
        }
        IndexerError::Chain(error) => AppError::Unavailable(error.to_string()),
        gave_up @ IndexerError::GaveUp { .. } => AppError::Unavailable(gave_up.to_string()),
        IndexerError::Store(error @ StoreError::NotReached { .. }) => AppError::Failed(error.to_string()),
        IndexerError::Store(error @ StoreError::Conflict { .. }) => AppError::Failed(format!(
            "{error}: the node contradicts blocks that are stored and not events alone; see `chainflume rewind`"
        )),
        IndexerError::Store(error) => store_error(error),
        other => AppError::Failed(other.to_string()),
    }
}
