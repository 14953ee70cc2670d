//! Random chains, random lives of the daemon, one end: the tables of a fresh sync of what survived.
//!
//! `PROPERTY_SEED` repeats a run or, with `PROPERTY_CASES=1`, one case; `PROPERTY_CASES` is the number of cases.
//! A seed decides what happens and not when: where the daemon is at that moment depends on the machine. A case that
//! failed is therefore also shown with as few of its acts as still fail.

mod bench;
mod ground;
mod life;
mod look;
mod node;
mod odd;
mod plan;
mod shrink;
mod sources;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use bench::Bench;
use plan::Case;

/// Cases of a run by default.
const CASES: u64 = 200;
/// Cases at the same time: much of each is waiting.
const LANES: u64 = 8;

#[test]
fn any_life_of_chain_and_daemon_ends_as_a_fresh_sync() {
    let seed = from_environment("PROPERTY_SEED")
        .unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().map_or(1, |age| u64::from(age.subsec_micros())));
    let cases = from_environment("PROPERTY_CASES").unwrap_or(CASES);
    say(&format!("property: {cases} cases from PROPERTY_SEED={seed}"));
    let started = Instant::now();
    let queue = Queue { next: AtomicU64::new(0), cases, seed, failed: AtomicBool::new(false) };
    let failures = std::thread::scope(|threads| {
        // A thread and a runtime for each: the driver's futures are not all made to change threads.
        let lanes: Vec<_> = (0..LANES.min(cases)).map(|_| threads.spawn(|| run(lane(&queue)))).collect();
        let ended = lanes.into_iter().map(|lane| lane.join().expect("a lane catches what panics in a case"));
        ended.flatten().collect::<Vec<_>>()
    });
    say(&format!("property: {cases} cases in {:.1} s", started.elapsed().as_secs_f32()));
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn run<T>(lane: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(lane)
}

/// Cases to be done.
struct Queue {
    next: AtomicU64,
    cases: u64,
    seed: u64,
    failed: AtomicBool,
}

impl Queue {
    /// The next case; none once one has failed.
    fn take(&self) -> Option<Case> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let more = index < self.cases && !self.failed.load(Ordering::Relaxed);
        more.then(|| Case::draw(self.seed.wrapping_add(index)))
    }
}

/// One case after the other, up to the first that fails anywhere.
async fn lane(queue: &Queue) -> Option<String> {
    let mut bench = Bench::new().await;
    while let Some(case) = queue.take() {
        if let Err(what) = shrink::attempt(&case, &mut bench).await {
            // Only the first is worth the time that making it small takes.
            let first = !queue.failed.swap(true, Ordering::Relaxed);
            let report = shrink::report(&case, &what);
            return Some(if first { report + &shrink::smaller(case, &mut bench).await } else { report });
        }
    }
    None
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// Past the test harness, which keeps what a passing test prints to itself.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
