use metrics::{counter, describe_counter};

const SCHEDULE_RUNS: &str = "chainflume_schedule_runs_total";
const LIMIT_CROSSINGS: &str = "chainflume_limit_crossings_total";
const REACTIONS: &str = "chainflume_reactions_total";

pub(super) fn describe() {
    describe_counter!(
        REACTIONS,
        "answers of reactions, by reaction and result (cut: not called, since reactions caused each other in a loop; empty; published)"
    );
    describe_counter!(
        SCHEDULE_RUNS,
        "runs of schedules that were due, by schedule and result (missed: left out, published)"
    );
    describe_counter!(
        LIMIT_CROSSINGS,
        "balances that crossed a limit, by threshold (alerts: limits that people set) and result (published, withdrawn by a reorg)"
    );
}

/// Starts what is counted of a schedule at zero.
pub fn schedule_starts(schedule: &str) {
    schedule_runs(schedule, "published", 0);
    schedule_runs(schedule, "missed", 0);
}

/// Counts runs of a schedule by their result.
pub fn schedule_runs(schedule: &str, result: &'static str, runs: u64) {
    counter!(SCHEDULE_RUNS, "schedule" => schedule.to_owned(), "result" => result).increment(runs);
}

/// Starts what is counted of a threshold at zero.
pub fn limit_starts(threshold: &str) {
    limit_crossed(threshold, "published", 0);
    limit_crossed(threshold, "withdrawn", 0);
}

/// Counts balances that crossed a limit by result.
pub fn limit_crossed(threshold: &str, result: &'static str, times: u64) {
    counter!(LIMIT_CROSSINGS, "threshold" => threshold.to_owned(), "result" => result).increment(times);
}

/// Starts what is counted of a reaction at zero.
pub fn reaction_starts(reaction: &str) {
    for result in ["cut", "empty", "published"] {
        counter!(REACTIONS, "reaction" => reaction.to_owned(), "result" => result).increment(0);
    }
}

/// Counts an answer of a reaction by its result.
pub fn reaction(reaction: &str, result: &'static str) {
    counter!(REACTIONS, "reaction" => reaction.to_owned(), "result" => result).increment(1);
}
