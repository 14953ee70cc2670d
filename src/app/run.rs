//! The daemon.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::database::{Database, Owner, store_error};
use super::error::AppError;
use super::parts::{Loaded, api_settings, audit_settings, chain_settings, policy, record, translator};
use super::turns::Turns;
use super::{alerts, messages, notify, preflight, probe, verify};
use crate::api::AdminServer;
use crate::chain::ChainSettings;
use crate::config::{self, Config};
use crate::domain::EventKind;
use crate::health::Board;
use crate::indexer::{Auditor, ChainIndexer, Parts};
use crate::store::Store;
use crate::{metrics, shutdown};

/// Runs until a signal: checks everything, then writes.
///
/// # Errors
/// Whatever keeps it from starting; once it runs, troubles are waited out and told by logs and readiness.
pub async fn run(loaded: Loaded) -> Result<(), AppError> {
    let stop = shutdown::on_signal().map_err(anyhow::Error::from)?;
    // Until the loops run there is nothing in hand: whatever is being waited for is left at once.
    let Some(prepared) = stop.run_until_cancelled(prepare(&loaded)).await else { return Ok(()) };
    let (database, admin, board) = prepared?;
    let outcome = serve(&loaded, &database, (admin, board), stop).await;
    database.close().await;
    tracing::info!("stopped");
    outcome
}

/// Asks the nodes, opens the database, takes the admin address. No table is touched.
async fn prepare(loaded: &Loaded) -> Result<(Database, AdminServer, Board), AppError> {
    let checks = preflight::nodes(loaded).await;
    preflight::may_start(loaded, &checks)?;
    // Before the admin address: of two daemons by mistake on one configuration the second is to hear of the
    // first, and not of a port.
    let database = Database::open(loaded, Owner::Daemon).await?;
    let board = Board::default();
    match admin(loaded, &board).await {
        Ok(admin) => Ok((database, admin, board)),
        Err(error) => {
            database.close().await;
            Err(error)
        }
    }
}

/// Takes the admin address.
async fn admin(loaded: &Loaded, board: &Board) -> Result<AdminServer, AppError> {
    let handle = metrics::install().map_err(anyhow::Error::from)?;
    AdminServer::bind(api_settings(&loaded.config), board.clone(), handle).await.map_err(|error| {
        let text = format!("{}: admin.listen: {error}", loaded.path.display());
        if error.is_taken() { AppError::Busy(text) } else { AppError::Config(text) }
    })
}

/// Migrates, starts every loop and drains them when told to stop.
async fn serve(
    loaded: &Loaded,
    database: &Database,
    (admin, board): (AdminServer, Board),
    stop: CancellationToken,
) -> Result<(), AppError> {
    // May wait for another instance that migrates; cut off, it is rolled back.
    let Some(migrated) = stop.run_until_cancelled(database.store.migrate()).await else { return Ok(()) };
    let migrated = migrated.map_err(store_error)?;
    tracing::info!(admin = %admin.address(), schema = migrated.version, applied = migrated.applied, "database is ready");
    let watch = alerts::watch(loaded, &board)?;
    let mut loops = JoinSet::new();
    let mut turns = Turns::of(loaded, database, &board, &stop);
    for (chain, indexer) in loaded.config.chains.iter().zip(indexers(loaded, &database.store, &board)?) {
        turns.chain(&mut loops, chain, indexer);
    }
    for chain in loaded.config.chains.iter().filter(|chain| chain.audit.is_some()) {
        let (loaded, store) = (loaded.clone(), database.store.clone());
        let about = (chain.clone(), board.clone());
        turns.audit(&mut loops, chain, move |turn| audit(loaded.clone(), store.clone(), about.clone(), turn));
    }
    // Nobody in this process listens yet; the relay carries all the same, so that the outbox can be trimmed.
    let _bus = messages::carry_in_turn(loaded, &database.store, &mut loops, &mut turns)?;
    // These end with the loops, not before: an operator wants to see the drain.
    let watchers = CancellationToken::new();
    let mut background = JoinSet::new();
    background.spawn(watch.run(watchers.clone()));
    if let Some(keeper) = turns.into_keeper() {
        background.spawn(keeper.run(stop.clone(), watchers.clone()));
    }
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
    let drained = shutdown::drain(patience(loaded.config.shutdown.deadline), loops).await;
    watchers.cancel();
    shutdown::drain(LAST_WORDS, background).await;
    judge(&drained)
}

/// Audits a chain where that is configured. Its own database connection and node client are made only when the chain is
/// known to work.
async fn audit(
    loaded: Loaded,
    store: Store,
    (chain, board): (config::Chain, Board),
    stop: CancellationToken,
) {
    let Some(settings) = audit_settings(&chain) else { return };
    loop {
        let pause = tokio::time::sleep(settings.every.min(AUDIT_OPENS));
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
        match stop.run_until_cancelled(verify::rereader(&loaded, &store, (&chain, beside_live(&chain)))).await
        {
            None => return,
            Some(Ok(mut rereader)) => {
                rereader.unhurried = true;
                return Auditor { rereader, settings, board }.run(stop).await;
            }
            Some(Err(error)) => tracing::debug!(chain = %chain.name, %error, "audit waits"),
        }
    }
}

/// How an audit asks: nodes learn from these settings how wide a question may be, so they are made with them.
fn beside_live(chain: &config::Chain) -> ChainSettings {
    let settings = chain_settings(chain);
    ChainSettings { history: settings.history.beside_live(), ..settings }
}

/// Between two tries to begin an audit.
const AUDIT_OPENS: Duration = Duration::from_secs(10);

/// Background tasks have nothing to finish but the answer to a scrape.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What the loops get of the deadline: the rest is for [`LAST_WORDS`] and for leaving the database.
fn patience(deadline: Duration) -> Duration {
    deadline.saturating_sub(Duration::from_millis(2_500)).max(deadline / 2)
}

/// What the deadline cut off was never committed and is done again at the next start, so it is no failure.
fn judge(drained: &shutdown::Drained<()>) -> Result<(), AppError> {
    match drained.panicked {
        0 => Ok(()),
        panicked => {
            let text = "chains had panicked, see the log above; nothing committed is lost";
            Err(AppError::Internal(anyhow::anyhow!("{panicked} {text}")))
        }
    }
}

/// One loop for each chain of the config; the database is migrated already.
///
/// # Errors
/// What is wrong with the chain's settings.
pub fn indexers(loaded: &Loaded, store: &Store, board: &Board) -> Result<Vec<ChainIndexer>, AppError> {
    let config = &loaded.config;
    let indexer = |chain: &config::Chain| {
        let translator = translator(config, chain)?;
        start_counting(config, chain, translator.kinds());
        let parts = Parts {
            settings: chain_settings(chain),
            policy: policy(chain),
            record: record(config, chain),
            translator,
            store: store.clone(),
            board: board.clone(),
        };
        ChainIndexer::new(parts)
            .map_err(|error| AppError::Config(format!("{}: {error}", loaded.key(&chain.name, "http"))))
    };
    config.chains.iter().map(indexer).collect()
}

/// Before the chain's first step, which counts.
fn start_counting(config: &Config, chain: &config::Chain, kinds: &[EventKind]) {
    metrics::chain_starts(&chain.name);
    for source in config.sources_of(&chain.name) {
        let own = kinds.iter().filter(|kind| kind.source == source.name);
        metrics::source_starts(&source.name, own.map(|kind| kind.event_type.clone()));
    }
}
