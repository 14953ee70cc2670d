//! The daemon.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::preflight;
use crate::admin::AdminServer;
use crate::roles::admin::{Background, bind, stopping};
use crate::roles::database::{OpenDatabase, Owner, plain_text, store_error};
use crate::roles::loops::Loops;
use crate::roles::{AppError, Loaded, deliver, follow, inbound, index, serve, trigger};
use chainflume_gateway::server::PublicServer;
use chainflume_ops::health::Board;
use chainflume_ops::shutdown;
use chainflume_ops::supervise::{LoopFaults, Supervisor};

/// Runs until a signal: checks everything, then writes.
///
/// # Errors
/// Whatever keeps it from starting, and the failure of a loop that cannot be started again; all other troubles of a daemon that
/// runs are waited out and reported by logs and readiness.
pub async fn run(loaded: Loaded) -> Result<(), AppError> {
    run_hurt(loaded, None).await
}

/// As [`run`], for tests, whose loops are hurt so.
///
/// # Errors
/// As [`run`].
pub async fn run_hurt(loaded: Loaded, faults: Option<LoopFaults>) -> Result<(), AppError> {
    let stop = shutdown::on_signal().map_err(anyhow::Error::from)?;
    // Until the loops run there is nothing to finish: a stop cancels whatever is being waited for.
    let Some(prepared) = stop.run_until_cancelled(prepare(&loaded)).await else { return Ok(()) };
    let Prepared { database, admin, public, board } = prepared?;
    let supervisor = Supervisor::new(&board, &stop).with_faults(faults);
    let outcome = work(&loaded, &database, Observers { admin, public, board, supervisor }, stop).await;
    database.close().await;
    tracing::info!("daemon stopped");
    outcome
}

/// What is open before anything runs.
struct Prepared {
    database: OpenDatabase,
    admin: AdminServer,
    public: Option<PublicServer>,
    board: Board,
}

/// Asks the nodes, opens the database, takes the addresses. No table is touched.
async fn prepare(loaded: &Loaded) -> Result<Prepared, AppError> {
    preflight::patiently(loaded).await?;
    // Before the admin address: a second daemon on the same configuration should report the first daemon, and not a port.
    let database = OpenDatabase::open(loaded, Owner::Daemon).await?;
    let board = Board::default();
    match addresses(loaded, &board).await {
        Ok((admin, public)) => Ok(Prepared { database, admin, public, board }),
        Err(error) => {
            database.close().await;
            Err(error)
        }
    }
}

async fn addresses(loaded: &Loaded, board: &Board) -> Result<(AdminServer, Option<PublicServer>), AppError> {
    Ok((bind(loaded, board).await?, serve::bind(loaded)?))
}

/// What observes the loops and answers for them.
struct Observers {
    admin: AdminServer,
    /// What answers clients, where an address is configured.
    public: Option<PublicServer>,
    board: Board,
    supervisor: Supervisor,
}

/// Migrates, starts every loop, and drains the loops at `stop`.
async fn work(
    loaded: &Loaded,
    database: &OpenDatabase,
    Observers { admin, public, board, supervisor }: Observers,
    stop: CancellationToken,
) -> Result<(), AppError> {
    // May wait for another instance that migrates; cut off, it is rolled back.
    let Some(migrated) = stop.run_until_cancelled(database.store.migrate()).await else { return Ok(()) };
    let migrated = migrated.map_err(store_error)?;
    if let Some(warning) = plain_text(loaded) {
        tracing::warn!("{warning}");
    }
    tracing::info!(admin = %admin.address(), schema = migrated.version, applied = migrated.applied, "database is ready; `chainflume psql` opens it");
    let mut background = Background::new(&supervisor, &board);
    background.alerts(loaded)?;
    let mut tasks = JoinSet::new();
    let mut loops = Loops::with_leases(loaded, database, &supervisor, &board, &stop);
    index::start(loaded, &database.store, &mut loops, &mut tasks)?;
    inbound::start(loaded, &database.store, &loops, &mut tasks);
    follow::start(loaded, &database.store, &mut loops, &mut tasks)?;
    trigger::start(loaded, &database.store, &mut loops, &mut tasks)?;
    // Nothing in this process listens yet. The relay delivers all the same, so that the outbox can be trimmed.
    let _bus = deliver::start_relays(loaded, &database.store, &mut tasks, &mut loops)?;
    if let Some(server) = public {
        serve::start(server, &loaded.config, &database.store, &loops, &mut tasks).await?;
    }
    background.watch_all(database, admin, loops.into_manager(), &stop);
    stop.cancelled().await;
    board.stop();
    stopping();
    let drained = shutdown::drain(loops_deadline(loaded.config.shutdown.deadline), tasks).await;
    let panicked = drained.panicked + background.drain().await.panicked;
    judge(panicked, supervisor.fallen())
}

/// The part of the deadline that the loops get. The rest is for the background tasks and for closing the database.
pub(super) fn loops_deadline(deadline: Duration) -> Duration {
    deadline.saturating_sub(Duration::from_millis(2_500)).max(deadline / 2)
}

/// What the deadline cut off was never committed and is done again at the next start, so it is no failure.
pub(super) fn judge(panicked: usize, fallen: Option<&str>) -> Result<(), AppError> {
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
