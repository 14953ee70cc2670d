//! A start on a large database: from the start of the process to its first commit.

use std::path::Path;
use std::time::{Duration, Instant};

use super::daemon::{Config, Daemon};
use super::database::Database;
use super::source::{Settings, Source};

/// Logs added since the last run: one quiet minute.
const NEW_LOGS: u64 = 1000;

/// Milliseconds.
pub async fn first_commit(
    folder: &Path,
    database: &Database,
    settings: &mut Settings,
) -> anyhow::Result<f64> {
    settings.logs += NEW_LOGS;
    let source = Source::start(settings).await?;
    let before = database.tip().await?;
    let config = Config::history(&source.url, &database.url, settings.workload);
    let started = Instant::now();
    let mut daemon = Daemon::start(&config, folder)?;
    while database.tip().await? == before {
        daemon.check()?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = started.elapsed();
    while database.tip().await? < settings.blocks() {
        daemon.check()?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    daemon.stop().await?;
    Ok(took.as_secs_f64() * 1000.0)
}
