use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use super::CronTimes;

/// A run this late is on time: a takeover after a crash takes half a minute at the most.
const ON_TIME: SignedDuration = SignedDuration::from_secs(60);
/// Missed runs that are published after a downtime at most, the newest: one transaction holds them.
const MOST: usize = 1_000;
/// Times looked at in one step, two weeks of a run each minute: milliseconds. A longer downtime takes several steps.
const STEP: usize = 20_000;

/// What happens to runs that were missed because no instance ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedRuns {
    /// The newest of them is published.
    #[default]
    Latest,
    /// None is published.
    Skip,
    /// The newest thousand are published.
    All,
}

/// A run that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueRun {
    /// When it was due.
    pub due: Timestamp,
    /// How many runs before it were left out since the last.
    pub missed: u64,
}

/// What is due of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunPlan {
    /// In their order.
    pub runs: Vec<DueRun>,
    /// The newest time looked at; `None` where none is due.
    pub upto: Option<Timestamp>,
    /// Runs that are left out for good.
    pub missed: u64,
}

impl RunPlan {
    /// What is due after `since`, up to and including `now`.
    pub fn of(times: &CronTimes, missed: MissedRuns, since: Timestamp, now: Timestamp) -> Self {
        let late = now.checked_sub(ON_TIME).unwrap_or(Timestamp::MIN);
        let (mut kept, mut upto, mut left_out) = (VecDeque::new(), None, 0);
        let most = match missed {
            MissedRuns::All => MOST,
            MissedRuns::Latest => 1,
            MissedRuns::Skip => 0,
        };
        let due = std::iter::successors(times.after(since), |due| times.after(*due));
        for due in due.take_while(|due| *due <= now).take(STEP) {
            upto = Some(due);
            let is_late = |due: &Timestamp| *due < late;
            kept.push_back(due);
            // Of those that are late only so many stay, the newest; the newest of all replaces them where one will do.
            let late_kept = kept.iter().take_while(|due| is_late(due)).count();
            let others = kept.len() - late_kept;
            let may_stay = if missed == MissedRuns::Latest && others > 0 { 0 } else { most };
            for _ in may_stay..late_kept {
                kept.pop_front();
                left_out += 1;
            }
        }
        let missed = left_out;
        let mut before = left_out;
        let runs = kept.into_iter().map(|due| DueRun { due, missed: std::mem::take(&mut before) }).collect();
        Self { runs, upto, missed }
    }
}
