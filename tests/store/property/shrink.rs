//! Makes a failing case small.

use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::bench::Bench;
use super::life;
use super::plan::{Act, Case};

/// How long a case is made smaller.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a smaller case may pass before it is believed to: what happens when is not the seed's to decide.
const TRIES: usize = 3;

/// Lives through a case; a panic in it is a failure of it.
pub async fn attempt(case: &Case, bench: &mut Bench) -> Result<(), String> {
    let lived = AssertUnwindSafe(life::live(case, bench)).catch_unwind().await;
    lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

/// What failed and how to see it again.
pub fn report(case: &Case, what: &str) -> String {
    let mut text = format!("repeat with PROPERTY_SEED={} PROPERTY_CASES=1\n{what}\n", case.seed);
    let _infallible = writeln!(text, "{:?}\n{}", case.world, list(&case.acts));
    text
}

fn list(acts: &[Act]) -> String {
    acts.iter().enumerate().map(|(index, act)| format!("  {index}: {act:?}\n")).collect()
}

/// Leaves out acts, many at once and then fewer, for as long as what is left still fails.
pub async fn smaller(case: Case, bench: &mut Bench) -> String {
    let deadline = Instant::now() + RUN_TIMEOUT;
    let (mut smallest, mut published) = (case.clone(), None);
    let mut width = case.acts.len().div_ceil(2);
    while width > 0 && Instant::now() < deadline {
        let mut at = 0;
        while at < smallest.acts.len() && Instant::now() < deadline {
            let mut candidate = smallest.clone();
            candidate.acts.drain(at..(at + width).min(smallest.acts.len()));
            match fails(&candidate, bench).await {
                Some(what) => (smallest, published) = (candidate, Some(what)),
                None => at += width,
            }
        }
        width /= 2;
    }
    match published {
        None => "it did not fail again with fewer acts\n".to_owned(),
        Some(what) => format!("with fewer acts: {what}\n{}", list(&smallest.acts)),
    }
}

async fn fails(case: &Case, bench: &mut Bench) -> Option<String> {
    for _ in 0..TRIES {
        if let Err(what) = attempt(case, bench).await {
            return Some(what);
        }
    }
    None
}
