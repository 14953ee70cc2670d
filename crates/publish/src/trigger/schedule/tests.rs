use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::tests::fixture::database;
use chainflume_db::StoreError;
use chainflume_ops::health::{Board, Heartbeat, TurnSource};

fn heartbeat() -> Heartbeat {
    Board::default().loop_starts("schedule", TurnSource::Heartbeat, Duration::from_secs(120))
}

fn times(expression: &str, zone: &str) -> CronTimes {
    CronTimes::read(expression, zone).expect("it is an expression")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn schedule(expression: &str, missed: MissedRuns) -> ScheduledEvent {
    ScheduledEvent {
        name: "sync".to_owned(),
        times: times(expression, "UTC"),
        missed,
        event_type: "service.balance.sync.started".to_owned(),
        aggregate_type: "schedule".to_owned(),
        aggregate_id: "sync".to_owned(),
        payload: serde_json::json!({ "depth": 3 }).as_object().cloned().unwrap_or_default(),
    }
}

/// The times of a day in UTC, hours and minutes, from several beginnings: each begins where another was interrupted.
fn day(times: &CronTimes, (from, to): (&str, &str)) -> Vec<String> {
    let (from, to) = (at(from), at(to));
    let walk = |from| {
        let due = std::iter::successors(times.after(from), |due| times.after(*due));
        due.take_while(|due| *due < to).collect::<BTreeSet<Timestamp>>()
    };
    let all = walk(from);
    let mut begin = from;
    while begin < to {
        let rest: BTreeSet<Timestamp> = all.iter().copied().filter(|due| *due > begin).collect();
        assert_eq!(walk(begin), rest, "from {begin}");
        begin += jiff::SignedDuration::from_mins(7);
    }
    all.iter().map(|due| due.strftime("%H:%M").to_string()).collect()
}

#[test]
fn a_day_without_an_hour_has_each_fixed_time_once() {
    // Berlin leaves out 02:00 to 03:00 on 2026-03-29, which is 01:00 UTC.
    let night = ("2026-03-28T23:00:00Z", "2026-03-29T05:00:00Z");
    assert_eq!(day(&times("30 2 * * *", "Europe/Berlin"), night), ["01:00"]);
    assert_eq!(day(&times("0 2 * * *", "Europe/Berlin"), night), ["01:00"]);
    assert_eq!(day(&times("15 1 * * *", "Europe/Berlin"), night), ["00:15"]);
    assert_eq!(day(&times("0 3 * * *", "Europe/Berlin"), night), ["01:00"]);
    let hourly = day(&times("30 * * * *", "Europe/Berlin"), night);
    assert_eq!(hourly, ["23:30", "00:30", "01:30", "02:30", "03:30", "04:30"], "each hour that there is");
}

#[test]
fn a_day_with_an_hour_twice_has_each_fixed_time_once() {
    // Berlin has 02:00 to 03:00 twice on 2026-10-25: from 00:00 and from 01:00 UTC.
    let night = ("2026-10-24T22:00:00Z", "2026-10-25T03:00:00Z");
    assert_eq!(day(&times("30 2 * * *", "Europe/Berlin"), night), ["00:30"]);
    assert_eq!(day(&times("0 3 * * *", "Europe/Berlin"), night), ["02:00"]);
    assert_eq!(day(&times("30 * * * *", "Europe/Berlin"), night).len(), 5, "each hour that there is");
    assert_eq!(day(&times("*/20 2 * * *", "Europe/Berlin"), night).len(), 6, "both passes");
}

#[test]
fn an_expression_without_times_or_zone_is_refused() {
    let fault = |expression, zone| CronTimes::read(expression, zone).expect_err("refused");
    assert_eq!(fault("0 0 31 2 *", "UTC"), CronFault::Never);
    assert_eq!(fault("0 0 * * *", "Berlin"), CronFault::Zone);
    for wrong in ["", "* * * *", "60 * * * *", "0 0 0 * * *", "every day", "5/5 * * * *"] {
        assert!(matches!(fault(wrong, "UTC"), CronFault::Pattern(_)), "{wrong}");
    }
}

#[test]
fn runs_that_were_missed_are_left_out_by_rule() {
    let times = times("0 * * * *", "UTC");
    let plan = |missed, since: &str, now: &str| RunPlan::of(&times, missed, at(since), at(now));
    let shown = |plan: RunPlan| {
        let runs = plan.runs.iter().map(|run| (run.due.strftime("%H:%M").to_string(), run.missed));
        (runs.collect::<Vec<_>>(), plan.missed)
    };
    let run = |due: &str, missed| (due.to_owned(), missed);
    let (since, later) = ("2026-01-01T00:00:00Z", "2026-01-01T03:30:00Z");
    assert_eq!(shown(plan(MissedRuns::Latest, since, later)), (vec![run("03:00", 2)], 2));
    assert_eq!(shown(plan(MissedRuns::Skip, since, later)), (vec![], 3));
    let all = vec![run("01:00", 0), run("02:00", 0), run("03:00", 0)];
    assert_eq!(shown(plan(MissedRuns::All, since, later)), (all, 0));
    // A run within a minute is on time: a takeover leaves out none.
    let soon = "2026-01-01T03:00:59Z";
    assert_eq!(shown(plan(MissedRuns::Skip, since, soon)), (vec![run("03:00", 2)], 2));
    assert_eq!(shown(plan(MissedRuns::Latest, since, soon)), (vec![run("03:00", 2)], 2));
    let none = plan(MissedRuns::All, "2026-01-01T00:00:00Z", "2026-01-01T00:59:59Z");
    assert_eq!((none.runs.len(), none.upto), (0, None));
    // A long downtime: the newest thousand.
    let year = plan(MissedRuns::All, "2025-01-01T00:00:00Z", "2026-01-01T00:00:30Z");
    assert_eq!((year.runs.len(), year.missed), (1_001, 365 * 24 - 1_001));
    assert_eq!(year.upto, Some(at("2026-01-01T00:00:00Z")));
}

/// Times at which runs were published, in a table of memory.
#[derive(Clone, Default)]
struct Memory {
    ran: Arc<Mutex<Option<Timestamp>>>,
    runs: Arc<Mutex<Vec<String>>>,
}

impl ScheduleStore for Memory {
    async fn begin(&self, _: &[ScheduledEvent], now: Timestamp) -> Result<Vec<Timestamp>, StoreError> {
        Ok(vec![*self.ran.lock().expect("nothing panics").get_or_insert(now)])
    }

    async fn run(&self, _: &ScheduledEvent, since: Timestamp, plan: &RunPlan) -> Result<bool, StoreError> {
        let mut ran = self.ran.lock().expect("nothing panics");
        if *ran != Some(since) {
            return Ok(false);
        }
        *ran = plan.upto;
        let due = plan.runs.iter().map(|run| run.due.to_string());
        self.runs.lock().expect("nothing panics").extend(due);
        Ok(true)
    }
}

#[tokio::test(start_paused = true)]
async fn each_run_comes_at_its_time_and_none_twice_by_two_leaders() {
    let (memory, began, stop) = (Memory::default(), Instant::now(), CancellationToken::new());
    let lead = |missed| {
        let clock = move || {
            at("2026-01-01T00:00:30Z") + jiff::SignedDuration::try_from(began.elapsed()).expect("short")
        };
        let (memory, stop) = (memory.clone(), stop.clone());
        let schedules = vec![schedule("*/5 * * * *", missed)];
        tokio::spawn(async move {
            ScheduleLoop::new(schedules, memory, clock).run(stop, heartbeat()).await;
        })
    };
    // Two instances that both act as leader.
    let leaders = [lead(MissedRuns::Skip), lead(MissedRuns::Skip)];
    tokio::time::sleep(Duration::from_secs(15 * 60)).await;
    let runs = memory.runs.lock().expect("nothing panics").clone();
    assert_eq!(runs, ["2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z", "2026-01-01T00:15:00Z"]);
    // No instance leads for an hour.
    stop.cancel();
    for leader in leaders {
        leader.await.expect("it ends");
    }
    tokio::time::sleep(Duration::from_secs(60 * 60)).await;
    let store = memory.clone();
    let now = at("2026-01-01T01:17:00Z");
    let late = ScheduleLoop::new(vec![schedule("*/5 * * * *", MissedRuns::Latest)], store, move || now);
    let stop = CancellationToken::new();
    let task = tokio::spawn({
        let stop = stop.clone();
        async move { late.run(stop, heartbeat()).await }
    });
    tokio::time::sleep(Duration::from_secs(30)).await;
    stop.cancel();
    task.await.expect("it ends");
    assert_eq!(memory.runs.lock().expect("nothing panics").last().expect("a run"), "2026-01-01T01:15:00Z");
    assert_eq!(memory.runs.lock().expect("nothing panics").len(), 4);
}

#[tokio::test]
async fn a_run_is_one_event_also_with_two_leaders() {
    let database = database().await;
    let (one, two) = (StoredSchedules::of(&database), StoredSchedules::of(&database));
    let hourly = [schedule("0 * * * *", MissedRuns::All)];
    let begun = one.begin(&hourly, at("2026-01-01T00:30:00Z")).await.expect("begins");
    assert_eq!(two.begin(&hourly, at("2026-01-01T02:10:00Z")).await.expect("begins"), begun);
    let plan = RunPlan::of(&hourly[0].times, MissedRuns::All, begun[0], at("2026-01-01T02:10:00Z"));
    assert!(one.run(&hourly[0], begun[0], &plan).await.expect("runs"));
    assert!(!two.run(&hourly[0], begun[0], &plan).await.expect("is too late"));
    // Even where the record of the first is lost, the ids are the same.
    sqlx::query("update schedules set due_at = '2026-01-01T00:30:00Z'")
        .execute(database.pool())
        .await
        .expect("updated");
    assert!(two.run(&hourly[0], begun[0], &plan).await.expect("runs"));
    let stored: Vec<(String, String, String)> =
        sqlx::query_as("select type, payload ->> 'dueAt', source from domain_events order by seq")
            .fetch_all(database.pool())
            .await
            .expect("reads");
    let row =
        |due: &str| ("service.balance.sync.started".to_owned(), due.to_owned(), "schedule:sync".to_owned());
    assert_eq!(stored, [row("2026-01-01T01:00:00.000Z"), row("2026-01-01T02:00:00.000Z")]);
    let messages: i64 =
        sqlx::query_scalar("select count(*) from outbox").fetch_one(database.pool()).await.expect("reads");
    assert_eq!(messages, 2);
    // Other times begin anew: none was missed.
    let daily = [schedule("0 0 * * *", MissedRuns::All)];
    let now = at("2026-02-01T12:00:00Z");
    assert_eq!(two.begin(&daily, now).await.expect("begins"), [now]);
}
