//! Facts that the daemon publishes by itself. [`ScheduleLoop`] publishes by the clock, [`BalanceWatch`] when a balance crosses a limit.

/// Limits of balances.
mod limit;

/// Events by the clock.
mod schedule;

pub use jiff::Timestamp;
pub use limit::{
    ALERTS, AlertLimit, BalanceLimit, BalanceStep, BalanceSum, BalanceWatch, LimitCrossing, LimitRule,
    LimitSide, LimitTurn, Movement, Threshold, UserAlerts, WatchSettings, alert_routes, judge,
};
pub use schedule::{
    CronFault, CronTimes, DueRun, MissedRuns, RunPlan, ScheduleLoop, ScheduleStore, ScheduledEvent,
    StoredSchedules,
};

#[cfg(test)]
mod testing;
