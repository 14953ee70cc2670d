//! The public server alone, beside other processes on the same database.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::run::{judge, loops_deadline};
use crate::admin::AdminServer;
use crate::roles::admin::{Background, bind, stopping};
use crate::roles::database::{OpenDatabase, Owner, store_error};
use crate::roles::loops::Loops;
use crate::roles::{AppError, Loaded, serve};
use chainflume_db::{Schema, StoreError};
use chainflume_gateway::server::PublicServer;
use chainflume_ops::health::Board;
use chainflume_ops::shutdown;
use chainflume_ops::supervise::Supervisor;

/// How often the schema is looked at while another process has to create or update it.
const LOOK: Duration = Duration::from_secs(1);

/// Runs the public server until a signal. No chain is read and no message is delivered to a sink.
///
/// # Errors
/// Whatever keeps it from starting, and the failure of a loop that cannot be started again.
pub async fn serve(loaded: Loaded) -> Result<(), AppError> {
    let stop = shutdown::on_signal().map_err(anyhow::Error::from)?;
    let Some(prepared) = stop.run_until_cancelled(prepare(&loaded)).await else { return Ok(()) };
    let (database, watched) = prepared?;
    let supervisor = Supervisor::new(&watched.board, &stop);
    let outcome = work(&loaded, &database, watched, &supervisor, &stop).await;
    database.close().await;
    tracing::info!("public server stopped");
    outcome
}

/// What is open before anything runs.
struct Watched {
    admin: AdminServer,
    public: PublicServer,
    board: Board,
}

async fn prepare(loaded: &Loaded) -> Result<(OpenDatabase, Watched), AppError> {
    let place = loaded.path.display();
    if loaded.config.server.listen.is_none() {
        let text =
            "server.listen: is empty, and `chainflume serve` runs nothing else; give an address and a port";
        return Err(AppError::Config(format!("{place}: {text}")));
    }
    if loaded.config.database.url.is_none() {
        let text = "database.url: is empty; the private database belongs to `chainflume run`; name a server that both can reach";
        return Err(AppError::Config(format!("{place}: {text}")));
    }
    let database = OpenDatabase::open(loaded, Owner::Command).await?;
    let board = Board::default();
    match addresses(loaded, &board).await {
        Ok((admin, public)) => Ok((database, Watched { admin, public, board })),
        Err(error) => {
            database.close().await;
            Err(error)
        }
    }
}

async fn addresses(loaded: &Loaded, board: &Board) -> Result<(AdminServer, PublicServer), AppError> {
    let (admin, public) = (bind(loaded, board).await?, serve::bind(loaded)?);
    let public = public.ok_or_else(|| AppError::Config("server.listen: is empty".to_owned()))?;
    Ok((admin, public))
}

async fn work(
    loaded: &Loaded,
    database: &OpenDatabase,
    Watched { admin, public, board }: Watched,
    supervisor: &Supervisor,
    stop: &CancellationToken,
) -> Result<(), AppError> {
    let (mut background, mut tasks) = (Background::new(supervisor, &board), JoinSet::new());
    let loops = Loops::without_leases(supervisor, &board, stop);
    tracing::info!(admin = %admin.address(), "serving without chains");
    // The admin address answers from here on, so that a server that waits for tables reports it.
    background.watch_all(database, admin, None, stop);
    let started = match schema(database, stop).await {
        Ok(true) => serve::start(public, &loaded.config, &database.store, &loops, &mut tasks).await,
        Ok(false) => Ok(()),
        Err(error) => Err(store_error(error)),
    };
    if started.is_ok() {
        stop.cancelled().await;
    }
    board.stop();
    stopping();
    stop.cancel();
    let drained = shutdown::drain(loops_deadline(loaded.config.shutdown.deadline), tasks).await;
    let panicked = drained.panicked + background.drain().await.panicked;
    started.and_then(|()| judge(panicked, supervisor.fallen()))
}

/// Waits until the database has the tables of this program; `false` when the process was asked to stop before.
///
/// The tables are created and updated by `run` and `migrate` alone: a server that is replaced first must not change the schema
/// under a daemon that still writes with the program before.
async fn schema(database: &OpenDatabase, stop: &CancellationToken) -> Result<bool, StoreError> {
    let mut is_logged = false;
    loop {
        match database.store.schema().await {
            Ok(Schema::Current) => return Ok(true),
            Ok(Schema::Newer { found, known }) => return Err(StoreError::NewerSchema { found, known }),
            Ok(Schema::Missing | Schema::Behind { .. }) if !is_logged => {
                tracing::warn!(
                    "the database lacks tables of this program; start `chainflume run` or `chainflume migrate` of the same version"
                );
                is_logged = true;
            }
            Ok(_) => {}
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
            return Ok(false);
        }
    }
}
