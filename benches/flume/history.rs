//! A sync from the first block to the last, timed as a user sees it: from the start of the daemon on an empty database
//! to the last row and index.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;

use super::daemon::{self, Config, Daemon};
use super::database::{Database, Over, Postgres};
use super::process;
use super::rate::per_second;
use super::source::{Calls, Settings, Source};
use super::workload::LOGS_PER_BLOCK;

/// Pause between two checks.
const LOOK: Duration = Duration::from_millis(10);
/// Checks per sample of the plot.
const LOOKS_PER_SAMPLE: usize = 20;

/// The measured cost of a sync.
#[derive(Clone, Debug, Serialize)]
pub struct History {
    pub seconds: f64,
    pub logs_per_second: f64,
    pub daemon_cpu: f64,
    pub postgres_cpu: f64,
    /// Peak resident memory of the daemon in bytes.
    pub peak_memory: u64,
    /// Bytes on disk per event: its row with the indexes of `events`, and the whole database.
    pub event_bytes: f64,
    pub database_bytes: f64,
    pub calls: Calls,
    /// Load of the machine at the start.
    pub load: f64,
    /// Samples during the sync.
    #[serde(skip)]
    pub samples: Vec<Sample>,
}

/// A sample of a sync.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub seconds: f64,
    pub logs: u64,
    pub memory: u64,
}

/// Syncs the workload of `settings` into a new database, which is kept.
pub async fn sync(
    postgres: &Postgres,
    folder: &Path,
    (settings, over): (&Settings, Over),
) -> anyhow::Result<(History, Database)> {
    let source = Source::start(settings).await?;
    let indexes = indexes_of_all_tables(postgres, folder, settings).await?;
    let database = postgres.create("bench_sync", over).await?;
    let config = Config::history(&source.url, &database.url, settings.workload);

    let (load, cpu, started) = (process::load(), postgres.cpu()?, Instant::now());
    let mut daemon = Daemon::start(&config, folder)?;
    let mut samples = Vec::new();
    loop {
        let mut tip = 0;
        for _ in 0..LOOKS_PER_SAMPLE {
            daemon.check()?;
            tip = database.tip().await?;
            if tip >= settings.blocks() && database.indexes().await? >= indexes {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let logs = tip.min(settings.blocks()) * LOGS_PER_BLOCK;
        let (memory, _) = process::memory(daemon.pid()?)?;
        samples.push(Sample { seconds: started.elapsed().as_secs_f64(), logs, memory });
        if tip >= settings.blocks() && database.indexes().await? >= indexes {
            break;
        }
    }
    let took = started.elapsed();
    let (daemon_cpu, postgres_cpu) = (process::cpu(daemon.pid()?)?, postgres.cpu()? - cpu);
    let (_, peak_memory) = process::memory(daemon.pid()?)?;
    let calls = source.calls().await?;
    daemon.stop().await?;
    let logs = settings.blocks() * LOGS_PER_BLOCK;
    ensure!(database.events().await? == i64::try_from(logs)?, "events are missing or too many");
    let (event_bytes, database_bytes) = database.bytes().await?;
    #[expect(clippy::cast_precision_loss, reason = "a mean of bytes, shown without decimals")]
    let each = |bytes: i64| bytes as f64 / logs as f64;
    let history = History {
        seconds: took.as_secs_f64(),
        logs_per_second: per_second(logs, took),
        daemon_cpu,
        postgres_cpu,
        peak_memory,
        event_bytes: each(event_bytes),
        database_bytes: each(database_bytes),
        calls,
        load,
        samples,
    };
    Ok((history, database))
}

/// Number of indexes when all tables are complete: the state at the end of a sync.
async fn indexes_of_all_tables(
    postgres: &Postgres,
    folder: &Path,
    settings: &Settings,
) -> anyhow::Result<i64> {
    let database = postgres.create("bench_tables", Over::Socket).await?;
    let config = Config::history("http://127.0.0.1:1", &database.url, settings.workload);
    daemon::migrate(&config, folder).await?;
    let indexes = database.indexes().await?;
    postgres.remove(database).await?;
    Ok(indexes)
}
