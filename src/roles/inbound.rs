//! Webhooks of providers: their routes on the public server, and the loop that compares what they report with the stored events.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::loops::Loops;
use super::parts::Loaded;
use crate::config::{Chain, Config};
use chainflume_api::routes::Api;
use chainflume_core::domain::causes;
use chainflume_db::Database;
use chainflume_inbound::{ComparedChain, Comparison, ComparisonLoop, InboundDeliveries, NewHints};
use chainflume_ops::health::{Board, ChainState};
use chainflume_ops::metrics;
use chainflume_ops::supervise::Loop;
use chainflume_publish::Publisher;

/// A turn compares a page of hints after the other, each within the five seconds that a statement may take.
const HUNG: Duration = Duration::from_mins(1);

/// Deliveries whose activities are moved at the same time, each on a connection of the pool. What finds no place here is moved by the
/// follower, some seconds later.
const HINTED: usize = 4;

/// The routes of deliveries; `None` where no `[[inbound]]` is configured. A delivery about a block that the chain's loop in this
/// process does not know yet wakes it, and activities of the transactions that it names are in progress.
pub(crate) fn api(config: &Config, database: &Database, publisher: &Publisher, board: &Board) -> Option<Api> {
    if config.inbound.is_empty() {
        return None;
    }
    let (chains, board, publisher) = (config.chains.clone(), board.clone(), publisher.clone());
    let places = Arc::new(Semaphore::new(HINTED));
    let wake = move |hints: NewHints| {
        let Some(chain) = chains.iter().find(|chain| chain.chain_id == hints.chain_id) else { return };
        if led_head(&board, chain).is_some_and(|head| hints.block.is_none_or(|block| block > head)) {
            board.wake(&chain.name);
        }
        if let Ok(place) = places.clone().try_acquire_owned() {
            tokio::spawn(move_activities(publisher.clone(), hints, place));
        }
    };
    let max_body = config.server.limits.body_bytes;
    let inbox = InboundDeliveries::new(database, config.inbound.clone(), max_body, Arc::new(wake));
    Some(chainflume_inbound::routes(&inbox))
}

/// The delivery is answered before: a provider need not wait for the activities.
async fn move_activities(publisher: Publisher, hints: NewHints, _place: OwnedSemaphorePermit) {
    let NewHints { endpoint, chain_id, transactions, .. } = hints;
    if let Err(error) = publisher.hint_activities(chain_id, &transactions, &endpoint).await {
        let error = causes(&error);
        tracing::debug!(error, "activities that a provider reported are left to the follower");
    }
}

/// Starts to compare, among `tasks`, where an `[[inbound]]` is configured.
pub(crate) fn start(loaded: &Loaded, database: &Database, loops: &Loops, tasks: &mut JoinSet<()>) {
    if loaded.config.inbound.is_empty() {
        return;
    }
    loaded.config.chains.iter().for_each(|chain| metrics::inbound_open(&chain.name, 0));
    let (config, board, stop) = (loaded.config.clone(), loops.board().clone(), loops.stop().clone());
    let (comparison, kept) = (Comparison::of(database), config.retention.inbound);
    loops.spawn(tasks, Loop::new("inbound", HUNG), move |heartbeat| {
        let (seen, woken, config) = (board.clone(), board.clone(), config.clone());
        let compared = ComparisonLoop {
            comparison: comparison.clone(),
            kept,
            chains: move || {
                let chains = config.chains.iter();
                let led = chains.filter_map(|chain| Some((chain, led_head(&seen, chain)?)));
                led.map(|(chain, head)| ComparedChain {
                    name: chain.name.clone(),
                    chain_id: chain.chain_id,
                    head,
                    window: chain.policy.reorg_window,
                    sources: config.sources_of(&chain.name).map(|source| source.name.clone()).collect(),
                })
                .collect()
            },
            wake: move |chain: &str| woken.wake(chain),
        };
        compared.run(stop.clone(), heartbeat)
    });
}

/// The head of a chain that this instance leads, once it is known.
fn led_head(board: &Board, chain: &Chain) -> Option<u64> {
    let health = board.chains().remove(&chain.name)?;
    health.heads.latest.filter(|_| !matches!(health.state, ChainState::Standby | ChainState::Stopped))
}
