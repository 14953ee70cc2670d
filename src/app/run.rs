//! The daemon.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::background::Background;
use super::database::{Database, Owner, store_error};
use super::error::AppError;
use super::parts::{Loaded, api_settings, audit_settings, chain_settings, policy, record, translator};
use super::preflight::{self, Look};
use super::turns::{Turns, anew};
use super::{messages, notify, public, verify};
use crate::api::AdminServer;
use crate::config::{self, Config};
use chainflume_core::domain::EventKind;
use chainflume_gateway::server::PublicServer;
use chainflume_index::{Auditor, ChainIndexer, Parts};
use chainflume_node::ChainSettings;
use chainflume_ops::health::{Board, Pulse};
use chainflume_ops::metrics;
use chainflume_ops::shutdown;
use chainflume_ops::supervise::{Hurts, Supervisor};
use chainflume_store::Store;

/// Runs until a signal: checks everything, then writes.
///
/// # Errors
/// Whatever keeps it from starting, and the failure of a loop that cannot be started again; all other troubles of a daemon that
/// runs are waited out and told by logs and readiness.
pub async fn run(loaded: Loaded) -> Result<(), AppError> {
    run_hurt(loaded, None).await
}

/// As [`run`], for tests, whose loops are hurt so.
///
/// # Errors
/// As [`run`].
pub async fn run_hurt(loaded: Loaded, hurts: Option<Hurts>) -> Result<(), AppError> {
    let stop = shutdown::on_signal().map_err(anyhow::Error::from)?;
    // Until the loops run there is nothing in hand: whatever is being waited for is left at once.
    let Some(prepared) = stop.run_until_cancelled(prepare(&loaded)).await else { return Ok(()) };
    let (database, addresses, board) = prepared?;
    let supervisor = Supervisor::new(&board, &stop).hurt_by(hurts);
    let outcome = serve(&loaded, &database, (addresses, board, supervisor), stop).await;
    database.close().await;
    tracing::info!("stopped");
    outcome
}

/// What is bound before anything runs: the admin address, and the public one where there is one.
type Addresses = (AdminServer, Option<PublicServer>);

/// Asks the nodes, opens the database, takes the addresses. No table is touched.
async fn prepare(loaded: &Loaded) -> Result<(Database, Addresses, Board), AppError> {
    let checks = preflight::nodes(loaded, Look::Head).await;
    preflight::may_start(loaded, &checks)?;
    // Before the admin address: of two daemons by mistake on one configuration the second is to hear of the
    // first, and not of a port.
    let database = Database::open(loaded, Owner::Daemon).await?;
    let board = Board::default();
    match addresses(loaded, &board).await {
        Ok(addresses) => Ok((database, addresses, board)),
        Err(error) => {
            database.close().await;
            Err(error)
        }
    }
}

async fn addresses(loaded: &Loaded, board: &Board) -> Result<Addresses, AppError> {
    Ok((admin(loaded, board).await?, public::bind(loaded)?))
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
    ((admin, public), board, supervisor): (Addresses, Board, Supervisor),
    stop: CancellationToken,
) -> Result<(), AppError> {
    // May wait for another instance that migrates; cut off, it is rolled back.
    let Some(migrated) = stop.run_until_cancelled(database.store.migrate()).await else { return Ok(()) };
    let migrated = migrated.map_err(store_error)?;
    tracing::info!(admin = %admin.address(), schema = migrated.version, applied = migrated.applied, "database is ready");
    let mut background = Background::new(&supervisor, &board);
    background.alerts(loaded)?;
    let mut loops = JoinSet::new();
    let mut turns = Turns::of(loaded, database, (&supervisor, &board), &stop);
    for (chain, indexer) in loaded.config.chains.iter().zip(indexers(loaded, &database.store, &board)?) {
        let (loaded, store, board) = (loaded.clone(), database.store.clone(), board.clone());
        let about = chain.clone();
        turns.chain(&mut loops, chain, anew(indexer, move || indexer_of(&loaded, &about, (&store, &board))));
    }
    for chain in loaded.config.chains.iter().filter(|chain| chain.audit.is_some()) {
        let (loaded, store) = (loaded.clone(), database.store.clone());
        let about = (chain.clone(), board.clone());
        turns.audit(&mut loops, chain, move |turn, pulse| {
            audit(loaded.clone(), store.clone(), about.clone(), (turn, pulse))
        });
    }
    // Nobody in this process listens yet; the relay carries all the same, so that the outbox can be trimmed.
    let _bus = messages::carry_in_turn(loaded, &database.store, &mut loops, &mut turns)?;
    if let Some(server) = public {
        public::start(server, (&loaded.config, &database.store), &mut background, &stop).await?;
    }
    background.watch_all(database, admin, (turns.into_keeper(), &stop));
    stop.cancelled().await;
    notify::stopping();
    let drained = shutdown::drain(patience(loaded.config.shutdown.deadline), loops).await;
    let panicked = drained.panicked + background.drain().await.panicked;
    judge(panicked, supervisor.fallen())
}

/// Audits a chain where that is configured. Its own database connection and node client are made only when the chain is
/// known to work.
async fn audit(
    loaded: Loaded,
    store: Store,
    (chain, board): (config::Chain, Board),
    (stop, pulse): (CancellationToken, Pulse),
) {
    let Some(settings) = audit_settings(&chain) else { return };
    loop {
        let pause = pulse.wait(tokio::time::sleep(settings.every.min(AUDIT_OPENS)));
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
        match stop.run_until_cancelled(verify::rereader(&loaded, &store, (&chain, beside_live(&chain)))).await
        {
            None => return,
            Some(Ok(mut rereader)) => {
                rereader.yields_to_live = true;
                return Auditor { rereader, settings, board, pulse }.run(stop).await;
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

/// What the loops get of the deadline: the rest is for what runs in the background and for leaving the database.
fn patience(deadline: Duration) -> Duration {
    deadline.saturating_sub(Duration::from_millis(2_500)).max(deadline / 2)
}

/// What the deadline cut off was never committed and is done again at the next start, so it is no failure.
fn judge(panicked: usize, fallen: Option<&str>) -> Result<(), AppError> {
    if let Some(fallen) = fallen {
        let text = "and cannot be started again, see the log above; nothing committed is lost";
        return Err(AppError::Internal(anyhow::anyhow!("loop {fallen} {text}")));
    }
    match panicked {
        0 => Ok(()),
        panicked => {
            let text = "loops panicked while they stopped, see the log above; nothing committed is lost";
            Err(AppError::Internal(anyhow::anyhow!("{panicked} {text}")))
        }
    }
}

/// One loop for each chain of the config; the database is migrated already.
///
/// # Errors
/// What is wrong with the chain's settings.
pub fn indexers(loaded: &Loaded, store: &Store, board: &Board) -> Result<Vec<ChainIndexer>, AppError> {
    loaded.config.chains.iter().map(|chain| indexer_of(loaded, chain, (store, board))).collect()
}

/// The loop of one chain.
pub(super) fn indexer_of(
    loaded: &Loaded,
    chain: &config::Chain,
    (store, board): (&Store, &Board),
) -> Result<ChainIndexer, AppError> {
    let config = &loaded.config;
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
}

/// Before the chain's first step, which counts.
fn start_counting(config: &Config, chain: &config::Chain, kinds: &[EventKind]) {
    metrics::chain_starts(&chain.name);
    for source in config.sources_of(&chain.name) {
        let own = kinds.iter().filter(|kind| kind.source == source.name);
        metrics::source_starts(&source.name, own.map(|kind| kind.event_type.clone()));
    }
}
