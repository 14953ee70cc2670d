//! How far behind the daemon is, and what it takes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use super::house::House;
use super::whole;

/// Until then a life fills its caches and pools.
const WARM_UP: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Figures {
    /// Blocks, one a second.
    lags: Vec<u64>,
    lives: Vec<Life>,
    /// As they were when the last minute was printed.
    printed: Printed,
}

#[derive(Default)]
struct Printed {
    lags: usize,
    counts: BTreeMap<&'static str, u64>,
}

/// Of one process.
struct Life {
    born: Instant,
    /// Seconds since its birth, and KiB of memory.
    memory: Vec<(f64, f64)>,
}

impl Figures {
    /// To be called once a second. A daemon that is dead is behind all the same.
    pub async fn sample(&mut self, house: &House) {
        let lowest = "select coalesce(min(block_number), 0) from checkpoints";
        let tip: i64 =
            sqlx::query_scalar(lowest).fetch_one(&house.pool).await.expect("the database is there");
        self.lags.push(house.confirmed().saturating_sub(tip.unsigned_abs()));
        let Some(memory) = house.daemon.as_ref().and_then(|daemon| daemon.memory("VmRSS:")) else { return };
        if self.lives.last().is_none_or(|life| life.born != house.born) {
            self.lives.push(Life { born: house.born, memory: Vec::new() });
        }
        if let Some(life) = self.lives.last_mut() {
            life.memory.push((house.born.elapsed().as_secs_f64(), whole(memory)));
        }
    }

    /// A line about the last minute.
    pub async fn minute(&mut self, house: &House, counts: &BTreeMap<&'static str, u64>) -> String {
        let sum = "select coalesce(sum(events), 0)::bigint from event_kinds";
        let events: i64 =
            sqlx::query_scalar(sum).fetch_one(&house.pool).await.expect("the database is there");
        let memory = self.lives.last().and_then(|life| life.memory.last()).map_or(0.0, |(_, kib)| *kib);
        let mut line = format!(
            "head {}, lag {}, {:.1} MiB, {events} events, {} restarts;",
            house.chain.head().number,
            spread(&self.lags[self.printed.lags..]),
            memory / 1024.0,
            house.restarts
        );
        for (name, count) in counts {
            let new = count - self.printed.counts.get(name).copied().unwrap_or_default();
            if new > 0 {
                let _ = write!(line, " {name} {new},");
            }
        }
        self.printed = Printed { lags: self.lags.len(), counts: counts.clone() };
        line.trim_end_matches(',').to_owned()
    }

    /// Lag and memory of all of it.
    pub fn whole(&self) -> String {
        let mut text = format!("lag {} of {} samples\n", spread(&self.lags), self.lags.len());
        for (number, life) in (1..).zip(&self.lives) {
            let (age, kib) = life.memory.last().copied().unwrap_or_default();
            let most = life.memory.iter().map(|(_, kib)| *kib).fold(0.0, f64::max);
            let slope = life
                .slope()
                .map_or("too short for a slope".to_owned(), |slope| format!("{slope:+.0} KiB an hour"));
            let _ = writeln!(
                text,
                "life {number}: {age:.0} s, memory {:.1} MiB at its end, {:.1} MiB at most, {slope}",
                kib / 1024.0,
                most / 1024.0
            );
        }
        text
    }
}

impl Life {
    /// KiB an hour by which the memory grows after the warm-up, by least squares; `None` where that is no longer than the
    /// warm-up was.
    fn slope(&self) -> Option<f64> {
        let warm: Vec<_> =
            self.memory.iter().copied().filter(|(at, _)| *at >= WARM_UP.as_secs_f64()).collect();
        let span = warm.last()?.0 - warm.first()?.0;
        (span >= WARM_UP.as_secs_f64()).then(|| slope(&warm) * 3600.0)
    }
}

/// Of the line through these points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = whole(points.len() as u64);
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let variance: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    covariance / variance
}

/// Blocks: p50/p99/max.
fn spread(lags: &[u64]) -> String {
    let mut lags = lags.to_vec();
    lags.sort_unstable();
    let at = |percent: usize| lags.get((lags.len() * percent / 100).min(lags.len().saturating_sub(1)));
    let [p50, p99, max] = [50, 99, 100].map(|percent| at(percent).copied().unwrap_or_default());
    format!("{p50}/{p99}/{max} blocks (p50/p99/max)")
}

#[test]
fn a_line_has_its_slope_and_a_row_its_spread() {
    let line: Vec<_> = (0..50).map(f64::from).map(|x| (x, 7.0 + x * 3.0)).collect();
    assert!((slope(&line) - 3.0).abs() < 1e-9);
    assert_eq!(spread(&(0..=200).collect::<Vec<_>>()), "100/198/200 blocks (p50/p99/max)");
    assert_eq!(spread(&[]), "0/0/0 blocks (p50/p99/max)");
}
