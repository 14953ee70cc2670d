//! What the daemon publishes by itself, from its configuration to its loops.

use std::time::SystemTime;

use tokio::task::JoinSet;

use super::error::AppError;
use super::loops::Loops;
use super::parts::Loaded;
use super::serve::application::schemas;
use crate::config::Config;
use chainflume_api::Api;
use chainflume_db::{Database, LIMITS_LEASE, SCHEDULE_LEASE};
use chainflume_ops::metrics;
use chainflume_trigger::{
    ALERTS, BalanceWatch, ScheduleLoop, StoredSchedules, Timestamp, UserAlerts, WatchSettings, alert_routes,
};

/// Starts what is configured, among `tasks`.
///
/// # Errors
/// When the payload of a schedule does not fit the schema of its type.
pub(crate) fn start(
    loaded: &Loaded,
    database: &Database,
    loops: &mut Loops,
    tasks: &mut JoinSet<()>,
) -> Result<(), AppError> {
    check(loaded)?;
    schedules(loaded, database, loops, tasks);
    limits(loaded, database, loops, tasks);
    Ok(())
}

fn schedules(loaded: &Loaded, database: &Database, loops: &mut Loops, tasks: &mut JoinSet<()>) {
    let schedules = &loaded.config.schedules;
    if schedules.is_empty() {
        return;
    }
    schedules.iter().for_each(|schedule| metrics::schedule_starts(&schedule.name));
    let (schedules, store) = (schedules.clone(), StoredSchedules::of(database));
    loops.trigger(tasks, SCHEDULE_LEASE, move |turn, heartbeat| {
        let schedules = ScheduleLoop::new(schedules.clone(), store.clone(), now);
        async move { schedules.run(turn, heartbeat).await }
    });
}

/// Compares balances with limits: those of the configuration, and those that people set at any server on this database.
fn limits(loaded: &Loaded, database: &Database, loops: &mut Loops, tasks: &mut JoinSet<()>) {
    let config = &loaded.config;
    let names = config.thresholds.iter().map(|threshold| threshold.name.as_str());
    names.chain([ALERTS]).for_each(metrics::limit_starts);
    let settings = WatchSettings {
        thresholds: config.thresholds.clone(),
        windows: config.chains.iter().map(|chain| (chain.chain_id, chain.reorg_window)).collect(),
    };
    let database = database.clone();
    loops.trigger(tasks, LIMITS_LEASE, move |turn, heartbeat| {
        let watch = BalanceWatch::new(&database, settings.clone());
        async move { watch.run(turn, heartbeat).await }
    });
}

/// The routes of people's limits.
pub(crate) fn api(config: &Config, database: &Database) -> Api {
    let chains = config.chains.iter().map(|chain| chain.chain_id).collect();
    alert_routes(&UserAlerts::of(database, chains))
}

/// Checks payloads against the schemas of their types.
///
/// # Errors
/// The first that does not fit.
pub(crate) fn check(loaded: &Loaded) -> Result<(), AppError> {
    let (path, config) = (loaded.path.display(), &loaded.config);
    let schemas = schemas(config)?;
    for schedule in &config.schedules {
        schedule.check(&schemas).map_err(|what| {
            AppError::Config(format!("{path}: schedule \"{}\": payload: {what}", schedule.name))
        })?;
    }
    Ok(())
}

fn now() -> Timestamp {
    // A clock that far off is no time at all.
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH)
}
