//! Facts that the daemon publishes by itself. [`ScheduleLoop`] publishes by the clock, [`BalanceWatch`] when a balance
//! crosses a limit, and a [`Reaction`] what a URL answers.

/// Limits of balances.
mod limit;
/// Answers of URLs.
mod reaction;
/// Events by the clock.
mod schedule;

pub use jiff::Timestamp;
pub use limit::{
    ALERTS, AlertLimit, BalanceLimit, BalanceStep, BalanceSum, BalanceWatch, LimitCrossing, LimitRule,
    LimitSide, LimitTurn, Movement, Threshold, UserAlerts, WatchSettings, alert_routes, judge,
};
pub use reaction::{MAX_DEPTH, Reaction, ReactionError};
pub use schedule::{
    CronFault, CronTimes, DueRun, MissedRuns, RunPlan, ScheduleLoop, ScheduleStore, ScheduledEvent,
    StoredSchedules,
};
