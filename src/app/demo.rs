//! The whole product on one machine with no account anywhere: the built-in development chain, a private
//! PostgreSQL, a private Redis where one is installed, and the daemon between them. At the end every row is compared with the chain.

/// Prints a line. A reader that closed the pipe (`| head`) is no reason to panic, as `println!` would.
macro_rules! print_line {
    ($($words:tt)*) => {{
        use std::io::Write;
        let _pipe_closed = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod config;
mod heard;
mod redis;
mod verify;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::AdminServer;
use crate::postgres::PrivatePostgres;
use crate::roles::AppError;
use crate::roles::admin::Background;
use crate::roles::database::{OpenDatabase, store_error};
use crate::roles::loops::{Loops, anew};
use crate::roles::parts::{Loaded, admin_settings, postgres_settings};
use crate::roles::{deliver, index, serve};
use chainflume_devchain::{DevChain, Miner, MinerSettings, Server};
use chainflume_gateway::server::PublicServer;
use chainflume_ops::health::Board;
use chainflume_ops::metrics;
use chainflume_ops::shutdown;
use chainflume_ops::supervise::Supervisor;
use heard::{Heard, MessageCount};
use redis::DemoRedis;
pub use verify::{Difference, compare};
use watch::DemoWatch;

/// How the demo runs.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Ends by itself after so long, with a summary.
    pub run_for: Option<Duration>,
    /// Where the demo keeps its database; emptied at the start.
    pub data_dir: Option<PathBuf>,
    /// From one block to the next.
    pub block_time: Duration,
    /// Leaves the data where it is at the end.
    pub keep: bool,
    /// Starts no Redis, also where one is installed.
    pub without_redis: bool,
}

/// Blocks the chain has when the demo starts, so that history sync is seen too.
const HISTORY: u64 = 10_000;
/// Blocks from one reorg to the next: few enough that a short demo shows one.
const REORG_EVERY: u64 = 8;
/// Deeper than the two confirmations, so that stored events are undone.
const MAX_REORG_DEPTH: u64 = 6;
/// After the last block, how long the daemon may take to store it: on a slow machine a short demo ends in the middle of
/// its history.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Runs the demo until Ctrl-C or for as long as asked.
///
/// # Errors
/// When it cannot start, and [`AppError::Failed`] when any row differs from the chain.
pub async fn demo(args: DemoOptions) -> Result<(), AppError> {
    let stop = shutdown::on_signal().map_err(anyhow::Error::from)?;
    let folder = config::Folder::create(args.data_dir.clone())?;
    print_line!("chainflume demo: a development chain, a private PostgreSQL and the daemon between them\n");
    let outcome = run_in(&folder, &args, stop).await;
    if !args.keep {
        folder.remove();
    }
    outcome
}

async fn run_in(
    folder: &config::Folder,
    args: &DemoOptions,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let started = Instant::now();
    let chain = DevChain::new(config::chain_settings(HISTORY, args.block_time));
    let server = chain.serve("127.0.0.1:0").await.map_err(anyhow::Error::from)?;
    print_line!(
        "  chain     {} blocks of history, one more every {:?}, {} and {}",
        HISTORY,
        args.block_time,
        server.http_url(),
        server.ws_url()
    );
    let redis = match args.without_redis {
        true => None,
        false => DemoRedis::start(folder.path()).await?,
    };
    let listener = config::admin_port()?;
    let loaded = folder.write_config(&server, &listener, args.block_time, redis.as_ref())?;
    let (board, handle) = (Board::default(), metrics::install().map_err(anyhow::Error::from)?);
    let admin = AdminServer::on(listener, admin_settings(&loaded.config), board.clone(), handle)
        .map_err(anyhow::Error::from)?;
    let private = PrivatePostgres::start(&postgres_settings(&loaded.config)).await;
    let private = private.map_err(|error| AppError::Unavailable(error.of_demo()))?;
    let database = OpenDatabase::over(&loaded, private).await?;
    print_line!(
        "  database  private PostgreSQL in {} ({:.1} s)",
        folder.path().display(),
        started.elapsed().as_secs_f32()
    );
    Demo { chain, server, loaded, database, redis, stop, started }.run(args, admin, board).await
}

struct Demo {
    chain: DevChain,
    server: Server,
    loaded: Loaded,
    database: OpenDatabase,
    redis: Option<DemoRedis>,
    stop: CancellationToken,
    started: Instant,
}

impl Demo {
    async fn run(self, args: &DemoOptions, admin: AdminServer, board: Board) -> Result<(), AppError> {
        let outcome = self.run_daemon(args, admin, board).await;
        self.server.stop().await;
        self.database.close().await;
        if let Some(redis) = self.redis {
            redis.stop().await;
        }
        outcome
    }

    /// Runs the daemon's loops and their watchers until the stop.
    async fn run_daemon(&self, args: &DemoOptions, admin: AdminServer, board: Board) -> Result<(), AppError> {
        self.database.store.migrate().await.map_err(store_error)?;
        let server = serve::bind(&self.loaded)?;
        self.print_hints(&admin, server.as_ref(), args.without_redis);
        let all = CancellationToken::new();
        let (supervisor, mut tasks) = (Supervisor::new(&board, &self.stop), JoinSet::new());
        let mut loops = Loops::without_leases(&supervisor, &board, &all);
        for chain in &self.loaded.config.chains {
            let (loaded, store, board) = (self.loaded.clone(), self.database.store.clone(), board.clone());
            let about = chain.clone();
            let make = move || index::indexer_of(&loaded, &about, &store, &board);
            loops.chain(&mut tasks, chain, anew(make()?, make));
        }
        let bus = deliver::start_relays(&self.loaded, &self.database.store, &mut tasks, &mut loops)?;
        let messages = bus.map_or_else(
            || MessageCount::InRedis(board.clone()),
            |bus| {
                let heard = Heard::default();
                tasks.spawn(heard.listen(&bus));
                MessageCount::Heard(heard)
            },
        );
        let mut background = Background::new(&supervisor, &board);
        background.probe(&self.database.store);
        background.admin(admin);
        if let Some(server) = server {
            serve::start(server, &self.loaded.config, &self.database.store, &loops, &mut tasks).await?;
        }
        let miner = self.chain.run(MinerSettings {
            block_time: args.block_time,
            reorg_every: Some(REORG_EVERY),
            max_reorg_depth: MAX_REORG_DEPTH,
        });
        let mut watch = DemoWatch::new(board, self.database.store.clone(), messages, self.started);
        let outcome = self.watch_and_check(&mut watch, miner, args.run_for).await;
        all.cancel();
        shutdown::drain(shutdown::DRAIN_DEADLINE, tasks).await;
        background.drain().await;
        outcome
    }

    async fn watch_and_check(
        &self,
        watch: &mut DemoWatch,
        miner: Miner,
        run_for: Option<Duration>,
    ) -> Result<(), AppError> {
        let until = run_for.map(|run_for| Instant::now() + run_for);
        watch.follow(&self.stop, until).await.map_err(store_error)?;
        drop(miner);
        let confirmed = self.chain.head().number.saturating_sub(config::CONFIRMATIONS);
        print_line!(
            "\nthe chain stops at block {}; comparing every row up to block {confirmed} with it",
            self.chain.head().number
        );
        watch.wait_for(confirmed, CATCH_UP).await?;
        let difference = compare(&self.chain, &self.database.store, confirmed).await.map_err(store_error)?;
        watch.print_summary(&difference).await.map_err(store_error)?;
        match difference.is_empty() {
            true => Ok(()),
            false => Err(AppError::Failed(format!("{} rows differ from the chain", difference.len()))),
        }
    }

    fn print_hints(&self, admin: &AdminServer, server: Option<&PublicServer>, without_redis: bool) {
        let config = self.loaded.path.display();
        let psql = self.database.private.as_ref().map(|private| private.psql_command()).unwrap_or_default();
        let admin = admin.address();
        match &self.redis {
            Some(redis) => print_line!("  messages  in a private Redis, {}", redis.url()),
            None if without_redis => print_line!("  messages  in this process"),
            None => print_line!(
                "  messages  in this process; they go to a private Redis where redis-server is installed (apt-get install redis-server)"
            ),
        }
        if let Some(server) = server {
            let address = server.address();
            print_line!(
                "  pages     http://{address}/ and http://{address}/live (open to this machine alone)"
            );
            print_line!("  push      'http://{address}/v1/stream?rooms=all' (likewise)");
        }
        print_line!("  admin     http://{admin}\n\ntry, in another terminal:");
        print_line!("  {psql} -c 'select * from stake_vault_staked order by block_number desc limit 5'");
        print_line!("  {psql} -c 'select * from users order by stake_amount desc limit 5'");
        if let Some(redis) = &self.redis {
            print_line!("  {}", redis.read_command());
        }
        print_line!("  curl -s http://{admin}/readyz");
        if let Some(server) = server {
            // In quotes: a shell may take `?` for a pattern.
            let address = server.address();
            print_line!("  curl -sN 'http://{address}/v1/stream?rooms=all'");
            print_line!(
                "  make example SERVER=http://{address}   (from a checkout: a page that uses clients/typescript)"
            );
        }
        print_line!("  {} --config {config} status\n", config::program());
    }
}
