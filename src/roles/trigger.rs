//! What the daemon publishes by itself, from its configuration to its loops.

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::JoinSet;

use super::application::{publisher, schemas};
use super::error::AppError;
use super::loops::Loops;
use super::parts::Loaded;
use crate::config::{self, Config};
use chainflume_api::routes::Api;
use chainflume_core::domain::causes;
use chainflume_db::{Database, LeaseName};
use chainflume_deliver::sink::{AnswerFault, TakeAnswer};
use chainflume_ops::metrics;
use chainflume_publish::trigger::{
    ALERTS, BalanceWatch, Reaction, ReactionError, ScheduleLoop, StoredSchedules, Timestamp, UserAlerts,
    WatchSettings, alert_routes,
};
use chainflume_store::Store;

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
    loops.trigger(tasks, LeaseName::schedule(), move |turn, heartbeat| {
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
        windows: config.chains.iter().map(|chain| (chain.chain_id, chain.policy.reorg_window)).collect(),
    };
    let database = database.clone();
    loops.trigger(tasks, LeaseName::limits(), move |turn, heartbeat| {
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

/// What takes the answers of a `[[reaction]]`; `None` of a webhook.
///
/// # Errors
/// When a schema cannot be read.
pub(crate) fn reaction(
    loaded: &Loaded,
    store: &Store,
    webhook: &config::Webhook,
) -> Result<Option<Arc<dyn TakeAnswer>>, AppError> {
    let Some(answers) = &webhook.answers else { return Ok(None) };
    metrics::reaction_starts(&webhook.endpoint.name);
    let publisher = publisher(&loaded.config, store)?;
    let reaction = Reaction::new(store, publisher, webhook.endpoint.name.clone(), answers.event_type.clone());
    Ok(Some(Arc::new(ReactionAnswers(reaction))))
}

/// Joins the endpoint, which knows nothing of events, and the reaction, which knows nothing of endpoints.
#[derive(Debug)]
struct ReactionAnswers(Reaction);

impl TakeAnswer for ReactionAnswers {
    fn wants<'a>(
        &'a self,
        message: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<bool, AnswerFault>> + Send + 'a>> {
        Box::pin(async move {
            self.0.wants(message).await.map_err(|error| AnswerFault::Unavailable(causes(&error)))
        })
    }

    fn take<'a>(
        &'a self,
        message: &'a str,
        answer: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<(), AnswerFault>> + Send + 'a>> {
        Box::pin(async move {
            match self.0.take(message, &answer).await {
                Ok(_) => Ok(()),
                Err(ReactionError::Unusable(what)) => Err(AnswerFault::Unusable(what)),
                Err(ReactionError::Unavailable(what)) => Err(AnswerFault::Unavailable(what)),
            }
        })
    }
}
