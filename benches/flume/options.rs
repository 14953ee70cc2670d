//! The size of the measurements, from the environment.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;

use super::workload::Workload;

/// The parts of the bench.
pub const PARTS: [&str; 6] = ["history", "latency", "growth", "live", "reorg", "tcp"];

/// Sizes and numbers of runs.
pub struct Options {
    /// Logs of a history.
    pub logs: u64,
    /// Number of runs; the median is reported.
    pub runs: usize,
    /// Numbers of logs of the growing histories; the daemon is started again on the last one.
    pub growth: Vec<u64>,
    /// Mining time at each rate.
    pub live: Duration,
    /// Blocks a second.
    pub rates: Vec<u32>,
    /// Only these workloads of a history.
    pub workloads: Vec<Workload>,
    /// Only these parts.
    pub parts: Vec<String>,
    /// Directory of the results.
    pub folder: PathBuf,
}

impl Options {
    /// `BENCH_LOGS=100000 BENCH_RUNS=1` and so on.
    pub fn from_environment() -> anyhow::Result<Self> {
        let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        Ok(Self {
            logs: one("BENCH_LOGS", 1_000_000)?,
            runs: one("BENCH_RUNS", 3)?,
            growth: list("BENCH_GROWTH", &[1_000_000, 5_000_000, 20_000_000])?,
            live: Duration::from_secs(one("BENCH_LIVE_SECONDS", 30)?),
            rates: list("BENCH_LIVE_RATES", &[1, 20])?,
            workloads: list("BENCH_WORKLOADS", &Workload::ALL)?,
            parts: list("BENCH_ONLY", &PARTS.map(str::to_owned))?,
            folder: one("BENCH_OUT", target.display().to_string())?.into(),
        })
    }

    /// Everything once at the smallest size: checks that it works, not how fast.
    pub fn smallest() -> Self {
        Self {
            logs: 2_000,
            runs: 1,
            growth: vec![2_000],
            live: Duration::from_millis(250),
            rates: vec![20],
            workloads: Workload::ALL.to_vec(),
            parts: PARTS.map(str::to_owned).to_vec(),
            folder: std::env::temp_dir().join(format!("chainflume-bench-{}", std::process::id())),
        }
    }

    pub fn has(&self, part: &str) -> bool {
        self.parts.iter().any(|wanted| wanted == part)
    }
}

fn one<T: FromStr>(name: &str, default: T) -> anyhow::Result<T>
where
    Result<T, T::Err>: anyhow::Context<T, T::Err>,
{
    match std::env::var(name) {
        Ok(text) => text.replace('_', "").parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

fn list<T: FromStr + Clone>(name: &str, default: &[T]) -> anyhow::Result<Vec<T>>
where
    Result<T, T::Err>: anyhow::Context<T, T::Err>,
{
    match std::env::var(name) {
        Ok(text) => text
            .split(',')
            .map(|item| item.trim().parse().with_context(|| format!("{name}={text}")))
            .collect(),
        Err(_) => Ok(default.to_vec()),
    }
}
