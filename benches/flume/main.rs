//! Measures how fast Chainflume is on this machine: `make bench`.
//!
//! The real binary reads from a cheap node and writes to a PostgreSQL with the daemon's settings. Each case has a floor
//! beside it: one process writes the same rows, keys, indexes and state from memory. Without `--bench` (as `cargo test`
//! starts it) everything runs once at the smallest size, to check that it works.

mod committed;
mod copy;
mod daemon;
mod database;
mod floor;
mod history;
mod live;
mod options;
mod plot;
mod process;
mod published;
mod rate;
mod render;
mod report;
mod restart;
mod source;
mod workload;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use chainflume_support::redis_server;

use database::{Over, Postgres};
use live::Live;
use options::Options;
use plot::Series;
use rate::per_second;
use report::{Compared, Grown, Limited, Report, median};
use source::Settings;
use workload::Workload;

/// Latency and limit of an ordinary public node.
const LATENCY: Duration = Duration::from_millis(100);
const CAP: u64 = 10_000;
/// The default of `ranges_in_flight`.
const IN_FLIGHT: u64 = 4;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("source", settings)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return source::serve(Settings::parse(settings)?).await;
    }
    let measuring = arguments.iter().any(|argument| argument == "--bench");
    let options = if measuring { Options::from_environment()? } else { Options::smallest() };
    let folder = tempfile::Builder::new().prefix("cf-bench-").tempdir_in("/tmp")?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let postgres = Postgres::start(folder.path()).await?;
    let measured = Bench { options: &options, postgres: &postgres, folder: folder.path() }.run().await;
    postgres.stop().await?;
    let (report, series) = measured?;
    println!("{}", report.text());
    std::fs::create_dir_all(&options.folder)?;
    std::fs::write(options.folder.join("results.json"), serde_json::to_string_pretty(&report)?)?;
    std::fs::write(options.folder.join("results.md"), report.text())?;
    std::fs::write(options.folder.join("history.svg"), plot::svg(&series))?;
    if measuring {
        println!("results.md, results.json and history.svg are in {}", options.folder.display());
    } else {
        std::fs::remove_dir_all(&options.folder)?;
    }
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    postgres: &'a Postgres,
    folder: &'a Path,
}

impl Bench<'_> {
    async fn run(&self) -> anyhow::Result<(Report, Vec<Series>)> {
        let Options { logs, runs, .. } = *self.options;
        let (machine, postgres) = (process::machine(), self.postgres.version().await?);
        let source_ceiling = source::ceiling(logs).await?;
        let mut report = Report { machine, postgres, logs, runs, source_ceiling, ..Report::default() };
        let mut series = Vec::new();
        // First of all, because the disk frees the files of a history for a while after their removal, and commits
        // wait.
        if self.options.has("live") || self.options.has("reorg") {
            self.live(&mut report, Over::Socket).await?;
        }
        if self.options.has("tcp") {
            self.live(&mut report, Over::Tcp).await?;
        }
        if self.options.has("history") {
            for &workload in &self.options.workloads {
                report.history.push(self.compare((workload, Over::Socket), &mut series).await?);
            }
        }
        if self.options.has("tcp") {
            for workload in [Workload::Events, Workload::Erc20] {
                report.history.push(self.compare((workload, Over::Tcp), &mut series).await?);
            }
        }
        if self.options.has("latency") {
            for workload in [Workload::Events, Workload::Erc20] {
                let compared = report
                    .history
                    .iter()
                    .find(|compared| compared.workload == workload && compared.over == Over::Socket);
                let unlimited = compared.map(|compared| compared.history.seconds);
                report.latency.push(self.limited(workload, unlimited).await?);
            }
        }
        if self.options.has("growth") {
            self.grow(&mut report, &mut series).await?;
        }
        Ok((report, series))
    }

    /// Floor and daemon alternate, so that a disturbance affects both.
    async fn compare(
        &self,
        (workload, over): (Workload, Over),
        series: &mut Vec<Series>,
    ) -> anyhow::Result<Compared> {
        let Options { logs, runs, .. } = *self.options;
        let (mut floors, mut histories) = (Vec::new(), Vec::new());
        for run in 1..=runs {
            floors.push(self.floor(workload).await?);
            let (history, database) = self.sync(&Settings::new(workload, logs), over).await?;
            self.postgres.remove(database).await?;
            let (title, over) = (workload.title(), over.name());
            log(&format!("{title} over {over} {run}/{runs}: {:.0} logs/s", history.logs_per_second));
            histories.push(history);
        }
        let all = histories.iter().map(|history| history.logs_per_second).collect();
        let floor = median(floors, |floor| floor.took.as_secs_f64()).context("there is a run")?;
        let history = median(histories, |history| history.seconds).context("there is a run")?;
        series.push(Series {
            name: format!("{}, {}", workload.name(), over.name()),
            samples: history.samples.clone(),
        });
        let floor_logs_per_second = per_second(logs, floor.took);
        let percent_of_floor = 100.0 * history.logs_per_second / floor_logs_per_second;
        let floor_postgres_cpu = floor.postgres_cpu;
        Ok(Compared {
            workload,
            over,
            floor_logs_per_second,
            floor_postgres_cpu,
            percent_of_floor,
            history,
            all,
        })
    }

    async fn floor(&self, workload: Workload) -> anyhow::Result<floor::Floor> {
        let database = self.postgres.create("bench_floor", Over::Socket).await?;
        let config = daemon::Config::history("http://127.0.0.1:1", &database.url, workload);
        daemon::migrate(&config, self.folder).await?;
        let floor = floor::write(self.postgres, &database, (workload, self.options.logs)).await?;
        self.postgres.remove(database).await?;
        log(&format!("{} floor: {:.0} logs/s", workload.title(), per_second(self.options.logs, floor.took)));
        Ok(floor)
    }

    /// `unlimited` is the time with a node without latency, if it was measured.
    async fn limited(&self, workload: Workload, unlimited: Option<f64>) -> anyhow::Result<Limited> {
        let mut settings = Settings::new(workload, self.options.logs);
        (settings.latency, settings.cap) = (LATENCY, Some(CAP));
        let mut histories = Vec::new();
        for _ in 0..self.options.runs {
            let (history, database) = self.sync(&settings, Over::Socket).await?;
            self.postgres.remove(database).await?;
            log(&format!("{} from a slow node: {:.0} logs/s", workload.title(), history.logs_per_second));
            histories.push(history);
        }
        let history = median(histories, |history| history.seconds).context("there is a run")?;
        let rounds = self.options.logs.div_ceil(CAP).div_ceil(IN_FLIGHT);
        let questions_seconds = (LATENCY * u32::try_from(rounds)?).as_secs_f64();
        let best_seconds = questions_seconds.max(unlimited.unwrap_or(0.0));
        let percent_of_best = 100.0 * best_seconds / history.seconds;
        let latency_ms = LATENCY.as_millis();
        Ok(Limited {
            workload,
            latency_ms,
            cap: CAP,
            in_flight: IN_FLIGHT,
            best_seconds,
            questions_seconds,
            percent_of_best,
            history,
        })
    }

    /// Histories of growing length; then some starts on the result of the longest.
    async fn grow(&self, report: &mut Report, series: &mut Vec<Series>) -> anyhow::Result<()> {
        for logs in &self.options.growth {
            let mut settings = Settings::new(Workload::Erc20, *logs);
            let (history, database) = self.sync(&settings, Over::Socket).await?;
            log(&format!("{logs} logs: {:.0} logs/s", history.logs_per_second));
            series.push(Series { name: format!("erc20, {logs} logs"), samples: history.samples.clone() });
            let seconds_per_million = 1_000_000.0 / history.logs_per_second;
            report.growth.push(Grown { logs: *logs, seconds_per_million, history });
            if Some(logs) == self.options.growth.last() {
                report.restart_rows = *logs;
                for _ in 0..self.options.runs {
                    report.restarts.push(restart::first_commit(self.folder, &database, &mut settings).await?);
                }
            }
            self.postgres.remove(database).await?;
        }
        Ok(())
    }

    async fn live(&self, report: &mut Report, over: Over) -> anyhow::Result<()> {
        self.postgres.allocate_log_files().await?;
        let mut live = Live::start(self.postgres, self.folder, over).await?;
        let measures = |part| self.options.has(part) && over == Over::Socket;
        for rate in self.options.rates.iter().filter(|_| measures("live") || over == Over::Tcp) {
            report.live.push(live.latency(*rate, self.options.live).await?);
            log(&format!("live over {} at {rate} blocks/s done", over.name()));
        }
        for _ in (0..self.options.runs).filter(|_| measures("reorg")) {
            report.reorgs.push(live.reorg().await?);
        }
        live.stop(self.postgres).await
    }

    async fn sync(
        &self,
        settings: &Settings,
        over: Over,
    ) -> anyhow::Result<(history::History, database::Database)> {
        history::sync(self.postgres, self.folder, (settings, over)).await
    }
}

/// Prints progress, separate from the results.
fn log(line: &str) {
    eprintln!("[load {:.1}] {line}", process::load());
}
