//! The results: as tables for people and as JSON for a later comparison.

use std::fmt::Write as _;

use indicatif::HumanFloatCount;
use serde::Serialize;

use super::database::Over;
use super::history::History;
use super::live::Latency;
use super::workload::Workload;

/// All results of one run of the bench.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub machine: String,
    pub postgres: String,
    pub logs: u64,
    pub runs: usize,
    /// Logs per second that the source sends to a client that only reads.
    pub source_ceiling: f64,
    pub history: Vec<Compared>,
    pub latency: Vec<Limited>,
    pub growth: Vec<Grown>,
    pub live: Vec<Latency>,
    /// Milliseconds each.
    pub reorgs: Vec<f64>,
    /// Milliseconds each, and the number of stored rows.
    pub restarts: Vec<f64>,
    pub restart_rows: u64,
}

/// A workload, with the floor of the same run beside it.
#[derive(Debug, Serialize)]
pub struct Compared {
    pub workload: Workload,
    /// The connection of the daemon; the floor writes over the socket.
    pub over: Over,
    /// Medians.
    pub floor_logs_per_second: f64,
    pub floor_postgres_cpu: f64,
    pub percent_of_floor: f64,
    pub history: History,
    /// Logs a second of each run.
    pub all: Vec<f64>,
}

/// A workload behind a slow node with limits.
#[derive(Debug, Serialize)]
pub struct Limited {
    pub workload: Workload,
    pub latency_ms: u128,
    pub cap: u64,
    pub in_flight: u64,
    /// The time of the requests alone: as few as the limit allows, this many in parallel.
    pub questions_seconds: f64,
    /// That time, or the time of the same history from a node without latency, if longer.
    pub best_seconds: f64,
    pub percent_of_best: f64,
    pub history: History,
}

/// A size.
#[derive(Debug, Serialize)]
pub struct Grown {
    pub logs: u64,
    pub seconds_per_million: f64,
    pub history: History,
}

/// The middle one by `key`.
pub fn median<T>(mut of: Vec<T>, key: impl Fn(&T) -> f64) -> Option<T> {
    of.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let middle = of.len() / 2;
    of.into_iter().nth(middle)
}

impl Report {
    /// The tables.
    pub fn text(&self) -> String {
        let mut text = format!("{}; PostgreSQL {}\n", self.machine, self.postgres);
        let ceiling = thousands(self.source_ceiling);
        let _ = writeln!(
            text,
            "{} logs, median of {} runs; the source gives {ceiling} logs/s to a reader\n",
            self.logs, self.runs
        );
        text += &table("history", &HISTORY, self.history.iter().map(Compared::cells).collect());
        text += &table("slow node", &LIMITED, self.latency.iter().map(Limited::cells).collect());
        text += &table("growth", &GROWN, self.growth.iter().map(Grown::cells).collect());
        text += &table(
            "live: head announced to committed and to published, 200 logs a block",
            &LIVE,
            self.live.iter().map(live).collect(),
        );
        if let Some(median) = median(self.reorgs.clone(), |ms| *ms) {
            let _ = writeln!(text, "reorg of 64 blocks, 200 logs each: {median:.0} ms {:.0?}", self.reorgs);
        }
        if let Some(median) = median(self.restarts.clone(), |ms| *ms) {
            let (rows, all) = (self.restart_rows, &self.restarts);
            let _ = writeln!(text, "start on {rows} rows to first commit: {median:.0} ms {all:.0?}");
        }
        text
    }
}

const HISTORY: [&str; 12] = [
    "case",
    "over",
    "floor logs/s",
    "logs/s",
    "% floor",
    "daemon CPU s",
    "PG CPU s",
    "floor PG CPU s",
    "peak MiB",
    "B/event",
    "calls",
    "load",
];
const LIMITED: [&str; 9] =
    ["case", "latency, cap", "logs/s", "seconds", "questions s", "best s", "% best", "peak MiB", "calls"];
const GROWN: [&str; 8] =
    ["logs", "seconds", "s/million", "logs/s", "daemon CPU s", "PG CPU s", "peak MiB", "B/event"];
const LIVE: [&str; 10] =
    ["over", "blocks/s", "blocks", "commit p50 ms", "p99", "worst", "publish p50 ms", "p99", "worst", "load"];

impl Compared {
    fn cells(&self) -> Vec<String> {
        let h = &self.history;
        vec![
            self.workload.title().to_owned(),
            self.over.name().to_owned(),
            thousands(self.floor_logs_per_second),
            thousands(h.logs_per_second),
            format!("{:.0} %", self.percent_of_floor),
            format!("{:.2}", h.daemon_cpu),
            format!("{:.2}", h.postgres_cpu),
            format!("{:.2}", self.floor_postgres_cpu),
            mib(h.peak_memory),
            format!("{:.0}", h.event_bytes),
            calls(h),
            format!("{:.1}", h.load),
        ]
    }
}

impl Limited {
    fn cells(&self) -> Vec<String> {
        let h = &self.history;
        vec![
            self.workload.title().to_owned(),
            format!("{} ms, {}", self.latency_ms, self.cap),
            thousands(h.logs_per_second),
            format!("{:.2}", h.seconds),
            format!("{:.2}", self.questions_seconds),
            format!("{:.2}", self.best_seconds),
            format!("{:.0} %", self.percent_of_best),
            mib(h.peak_memory),
            calls(h),
        ]
    }
}

impl Grown {
    fn cells(&self) -> Vec<String> {
        let h = &self.history;
        vec![
            self.logs.to_string(),
            format!("{:.1}", h.seconds),
            format!("{:.2}", self.seconds_per_million),
            thousands(h.logs_per_second),
            format!("{:.1}", h.daemon_cpu),
            format!("{:.1}", h.postgres_cpu),
            mib(h.peak_memory),
            format!("{:.0}", h.event_bytes),
        ]
    }
}

fn live(at: &Latency) -> Vec<String> {
    let mut cells = vec![at.over.name().to_owned(), at.blocks_per_second.to_string(), at.blocks.to_string()];
    for of in [&at.committed, &at.published] {
        cells.extend([of.p50, of.p99, of.worst].map(|ms| format!("{ms:.1}")));
    }
    cells.push(format!("{:.1}", at.load));
    cells
}

fn mib(bytes: u64) -> String {
    (bytes >> 20).to_string()
}

fn calls(history: &History) -> String {
    history.calls.values().sum::<u64>().to_string()
}

fn thousands(number: f64) -> String {
    format!("{:.0}", HumanFloatCount(number))
}

/// A Markdown table, which is also readable on a terminal. Empty without rows.
fn table(title: &str, head: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut lines = vec![head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = format!("{title}\n");
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if number == 0 {
            let rules = widths.iter().enumerate().map(|(column, width)| match column {
                0 => "-".repeat(*width),
                _ => format!("{}:", "-".repeat(width - 1)),
            });
            let _ = writeln!(text, "| {} |", rules.collect::<Vec<_>>().join(" | "));
        }
    }
    text + "\n"
}
