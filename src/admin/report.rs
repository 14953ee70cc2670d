mod database;
mod leases;
mod loops;
mod providers;
mod public;
mod sinks;
mod unread;
mod waits;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use chainflume_ops::health::{Board, ChainHealth, ChainState, HUNG_AFTER, SinkHealth, SourceHealth};
use chainflume_ops::metrics;
pub use database::DatabaseReport;
pub use leases::LeaseReport;
use leases::{role, unled};
pub use loops::LoopReport;
use providers::by_method;
pub use providers::{ProviderReport, RpcReport};
pub use public::PublicReport;
pub use sinks::SinkReport;
use sinks::{held_for, stuck};
pub use unread::UnreadReport;
pub use waits::{ChainPace, about, thousands};

/// Limits of the readiness of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Number of confirmed blocks that a source may lack.
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 1_000_000_000, _, _>")]
    pub max_lag: u64,
    /// By chain, how long its head may stay the same: many times its block interval.
    #[serde(skip)]
    pub head_silence: BTreeMap<String, Duration>,
    /// By chain, its speed and the rule that confirms its blocks.
    #[serde(skip)]
    pub pace: BTreeMap<String, ChainPace>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_lag: 100, head_silence: BTreeMap::new(), pace: BTreeMap::new() }
    }
}

/// The answer of `/readyz`, which `status` shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether everything is ready.
    pub ready: bool,
    /// Version of the daemon.
    pub version: String,
    /// The database.
    pub database: DatabaseReport,
    /// Whether the process was asked to stop and finishes its steps.
    #[serde(default)]
    pub stopping: bool,
    /// `leader` if it leads anything, else `standby`; `server` for a public server without chains.
    #[serde(default)]
    pub role: String,
    /// Leases by name; empty if none are needed.
    #[serde(default)]
    pub leases: BTreeMap<String, LeaseReport>,
    /// Chains by name.
    pub chains: BTreeMap<String, ChainReport>,
    /// Sinks by name.
    #[serde(default)]
    pub sinks: BTreeMap<String, SinkReport>,
    /// The loops of the daemon, by name.
    #[serde(default)]
    pub loops: BTreeMap<String, LoopReport>,
    /// The public server, if it runs.
    #[serde(default)]
    pub public: Option<PublicReport>,
}

/// A chain in a [`Report`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainReport {
    /// `starting`, `syncing`, `live`, `failing`, `stopped` or `standby`.
    pub state: String,
    /// Why it is not ready, one reason a line; empty if it is.
    pub not_ready: Vec<String>,
    /// The leader; `None` without one, or if no lease is needed.
    #[serde(default)]
    pub led_by: Option<String>,
    /// Host of the present node.
    #[serde(default)]
    pub provider: Option<String>,
    /// Newest block the node knows.
    pub head: Option<u64>,
    /// Highest confirmed block.
    pub confirmed: Option<u64>,
    /// Highest final block.
    pub final_block: u64,
    /// Time since the head last moved.
    pub seconds_since_head: f64,
    /// Whether the WebSocket announces heads; otherwise the daemon polls.
    pub websocket: bool,
    /// Errors since the last success.
    pub consecutive_errors: u64,
    /// The last error, until a step succeeds.
    pub last_error: Option<String>,
    /// Typed views that could not be made, each with its remedy; they do not affect readiness.
    #[serde(default)]
    pub view_troubles: Vec<String>,
    /// Sources by name.
    pub sources: BTreeMap<String, SourceReport>,
    /// Differences of sources that are stored and no longer configured.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Use of the JSON-RPC methods since the start.
    #[serde(default)]
    pub rpc: BTreeMap<String, RpcReport>,
    /// Its providers, in the order of the configuration.
    #[serde(default)]
    pub providers: Vec<ProviderReport>,
}

/// A source in a [`Report`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceReport {
    /// Newest block stored.
    pub tip: Option<u64>,
    /// Number of confirmed blocks that are not stored yet.
    pub lag: u64,
    /// Time since this process last committed for it.
    pub seconds_since_commit: Option<f64>,
    /// The audit has compared everything up to here with the chain again.
    #[serde(default)]
    pub verified_to: Option<u64>,
    /// Stored events that the audit found to differ from the chain.
    #[serde(default)]
    pub differences: u64,
    /// Blocks stored a second over the last minute; `None` until there are two observations.
    #[serde(default)]
    pub blocks_per_second: Option<f64>,
    /// Events stored a second, likewise.
    #[serde(default)]
    pub events_per_second: Option<f64>,
    /// `following`, `blocked`, `partly_blocked`, `filling`, `waiting` or `complete`. An operator decides about a blocked
    /// source, see `blocked`. A part of the past of one that is filling is read. One that waits does so for the head that
    /// decides its first block. The last block of a complete one is stored and final.
    #[serde(default)]
    pub state: String,
    /// Why it, or a part of it, is not followed, and the remedy.
    #[serde(default)]
    pub blocked: Option<String>,
    /// Gaps that are being read.
    #[serde(default)]
    pub unread: Option<UnreadReport>,
    /// Other differences between its configuration and the store.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The condition that it waits for before its first event.
    #[serde(default)]
    pub waits: Option<String>,
    /// The findings of the last check of its contracts, one finding a line.
    #[serde(default)]
    pub contracts: Vec<String>,
    /// Estimated seconds until it has caught up; `None` if it follows the head or comes no nearer.
    #[serde(default)]
    pub eta_seconds: Option<f64>,
}

impl Report {
    /// Builds the report of the present state.
    pub fn of(board: &Board, limits: &Limits) -> Self {
        let database = board.database();
        let leases = board.leases();
        let chain = |(name, chain): (&String, &ChainHealth)| {
            let mut report = ChainReport::of(name, chain, limits);
            report.not_ready.extend(unled(chain.lease.as_deref(), &leases));
            let lease = chain.lease.as_ref().and_then(|lease| leases.get(lease));
            report.led_by = lease.and_then(|lease| lease.holder.clone());
            (name.clone(), report)
        };
        let chains = with_looks(board.chains().iter().map(chain).collect(), board);
        let writable = database.as_ref().is_some_and(|database| database.writable);
        let last = board.outbox().map_or(0, |outbox| outbox.last);
        let sink = |(name, sink): (String, SinkHealth)| {
            let unled = unled(sink.lease.as_deref(), &leases);
            let mut report = SinkReport::of(sink, last);
            report.not_ready.extend(unled);
            (name, report)
        };
        let sinks: BTreeMap<String, SinkReport> = board.sinks().into_iter().map(sink).collect();
        let public = board.public().map(PublicReport::of);
        let is_server = chains.is_empty() && public.is_some();
        let chains_ready = (is_server || !chains.is_empty())
            && chains.values().all(|chain| chain.not_ready.is_empty())
            && public.as_ref().is_none_or(|public| public.not_ready.is_empty());
        let stopping = board.is_stopping();
        let loops = loops::report(board);
        let loops_run = loops.values().all(|one| one.not_ready.is_empty());
        let sinks_ready = sinks.values().all(|sink| sink.not_ready.is_empty());
        Self {
            ready: writable && chains_ready && sinks_ready && loops_run && !stopping,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            database: DatabaseReport::of(database, board.database_identity(), board.clock_ahead()),
            stopping,
            role: match is_server {
                true => "server".to_owned(),
                false => role(leases.is_empty() || leases.values().any(|lease| lease.held)),
            },
            leases: leases.into_iter().map(|(name, lease)| (name, LeaseReport::of(lease))).collect(),
            chains,
            sinks,
            loops,
            public,
        }
    }
}

/// Adds the findings of audits and of checks of contracts.
fn with_looks(mut chains: BTreeMap<String, ChainReport>, board: &Board) -> BTreeMap<String, ChainReport> {
    for ((chain, source), contracts) in board.contracts() {
        if let Some(report) = chains.get_mut(&chain).and_then(|chain| chain.sources.get_mut(&source)) {
            report.contracts = contracts.findings;
        }
    }
    for ((chain, source), audit) in board.audits() {
        let Some(report) = chains.get_mut(&chain) else { continue };
        let Some(of_source) = report.sources.get_mut(&source) else { continue };
        (of_source.verified_to, of_source.differences) = (audit.verified_to, audit.differences);
        if audit.differences > 0 {
            report.not_ready.push(format!(
                "{} stored events of source {source} differ from the chain: see the log, then run `chainflume verify`",
                audit.differences
            ));
        }
    }
    chains
}

impl ChainReport {
    fn of(name: &str, chain: &ChainHealth, limits: &Limits) -> Self {
        let pace = limits.pace.get(name);
        let report = |source: &SourceHealth| {
            let waits = waits::source(source, chain, pace);
            let waits = waits.or_else(|| waits::falls_behind(source, chain, limits.max_lag, pace));
            (source.name.clone(), SourceReport { waits, ..SourceReport::of(source, chain, pace) })
        };
        let sources = chain.sources.iter().map(report);
        Self {
            state: chain.state.as_str().to_owned(),
            not_ready: why_not_ready(name, chain, limits),
            led_by: None,
            provider: chain.node.provider.clone(),
            head: chain.heads.latest,
            confirmed: chain.heads.confirmed,
            final_block: chain.heads.final_number,
            seconds_since_head: chain.heads.moved_at.elapsed().as_secs_f64(),
            websocket: chain.heads.pushed,
            consecutive_errors: chain.errors.consecutive,
            last_error: chain.errors.last.clone(),
            view_troubles: chain.notices.views.clone(),
            sources: sources.collect(),
            notes: chain.notices.past_sources.clone(),
            providers: chain.node.providers.iter().map(Into::into).collect(),
            rpc: by_method(&chain.node.rpc),
        }
    }
}

impl SourceReport {
    #[expect(clippy::cast_precision_loss, reason = "an estimate; lags are far below 2^53")]
    fn of(source: &SourceHealth, chain: &ChainHealth, usual: Option<&ChainPace>) -> Self {
        let (lag, rate) = (source.lag(chain.heads.confirmed), source.pace.rate());
        // In another state at most a block or two is left, stored before the estimate is read.
        let is_syncing = chain.state == ChainState::Syncing && lag > 0;
        // The head moves on meanwhile.
        let net = rate.map(|rate| rate.blocks - usual.map_or(0.0, ChainPace::blocks_per_second));
        let pace = net.filter(|blocks| is_syncing && *blocks > 0.0);
        Self {
            tip: source.tip,
            lag,
            seconds_since_commit: source.committed_at.map(|at| at.elapsed().as_secs_f64()),
            blocks_per_second: rate.map(|rate| rate.blocks),
            events_per_second: rate.map(|rate| rate.events),
            eta_seconds: pace.map(|blocks| lag as f64 / blocks),
            verified_to: None,
            differences: 0,
            state: unread::state(source).to_owned(),
            blocked: source.hindrance.clone(),
            unread: source.unread.as_ref().map(UnreadReport::of),
            notes: source.notes.clone(),
            waits: None,
            contracts: Vec::new(),
        }
    }
}

fn why_not_ready(name: &str, chain: &ChainHealth, limits: &Limits) -> Vec<String> {
    let mut reasons = Vec::new();
    match chain.state {
        ChainState::Starting => reasons.push("has not reached its node and database yet".to_owned()),
        // A stopped chain asks for no heads: what they would show is not known.
        ChainState::Stopped => return vec!["is stopped: operator action required".to_owned()],
        ChainState::Failing if chain.errors.consecutive > 1 => {
            reasons.push(format!("{} errors in a row", chain.errors.consecutive));
        }
        // The first error in a row is passed over, but not before the chain was opened.
        ChainState::Failing if chain.heads.latest.is_none() => {
            reasons.push("has not reached its node and database yet".to_owned());
        }
        _ => {}
    }
    if let Some(head) = chain.heads.latest.filter(|_| chain.heads.confirmed.is_none()) {
        reasons.push(waits::confirmation(head, limits.pace.get(name)));
    }
    if chain.lag() > limits.max_lag {
        reasons.push(format!("is {} blocks behind", chain.lag()));
    }
    if chain.heads.node_behind > 0 {
        reasons.push(format!(
            "its node is {} blocks below what is stored: it still syncs, or was replaced by an old copy",
            chain.heads.node_behind
        ));
    }
    reasons.extend(chain.notices.unpublished.clone());
    reasons.extend(chain.sources.iter().flat_map(|source| unread::reasons(source, limits.max_lag)));
    let silence = chain.heads.moved_at.elapsed();
    if chain.state != ChainState::Standby
        && limits.head_silence.get(name).is_some_and(|limit| silence > *limit)
    {
        reasons.push(format!("its head has not moved for {} s", silence.as_secs()));
    }
    if chain.alive_at.elapsed() > HUNG_AFTER {
        reasons.push(format!("its loop has not turned for {} s", chain.alive_at.elapsed().as_secs()));
    }
    reasons
}

/// Sets the metrics that are computed at the scrape.
pub(super) fn refresh_metrics(board: &Board) {
    let contracts = board.contracts();
    for (name, chain) in board.chains() {
        // A standby does not read these, so their ages are not reported.
        let leads = chain.state != ChainState::Standby;
        let since_head = if leads { chain.heads.moved_at.elapsed() } else { Duration::ZERO };
        metrics::chain(
            &name,
            chain.heads.latest,
            chain.heads.confirmed,
            chain.heads.final_number,
            since_head,
        );
        metrics::node_behind(&name, chain.heads.node_behind);
        metrics::consecutive_errors(&name, chain.errors.consecutive);
        for state in ChainState::ALL {
            metrics::chain_state(&name, state.as_str(), state == chain.state);
        }
        for source in &chain.sources {
            let since_commit = source.committed_at.unwrap_or(chain.since).elapsed();
            let reads = leads && source.idle.is_none();
            let since_commit = if reads { since_commit } else { Duration::ZERO };
            metrics::source(&name, &source.name, source.tip, source.lag(chain.heads.confirmed), since_commit);
            let unread = source.unread.as_ref().map_or(0, |unread| unread.blocks);
            metrics::source_past(&name, &source.name, source.hindrance.is_some(), unread);
            let looked = contracts.get(&(name.clone(), source.name.clone()));
            metrics::contract_findings(&name, &source.name, looked.map_or(0, |looked| looked.findings.len()));
        }
    }
    loops::refresh_metrics(board);
    public::refresh_metrics(board);
    for (name, lease) in board.leases() {
        metrics::lease(&name, lease.held, lease.epoch);
    }
    for ((chain, source), audit) in board.audits() {
        metrics::audit(&chain, &source, audit.verified_to, audit.differences);
    }
    let outbox = board.outbox();
    if let Some(outbox) = outbox {
        let oldest = outbox.oldest_at.map_or(Duration::ZERO, |at| at.elapsed());
        metrics::outbox((outbox.last + 1).saturating_sub(outbox.first), oldest);
    }
    for (name, sink) in board.sinks() {
        let last = outbox.map_or(0, |outbox| outbox.last);
        let lag = last.saturating_sub(sink.delivered.unwrap_or(last));
        metrics::sink(&name, lag, stuck(&sink), sink.consecutive_errors);
        metrics::sink_held(&name, sink.held, held_for(&sink));
        metrics::sink_disabled(&name, sink.disabled.is_some());
        metrics::sink_foreign(&name, sink.foreign.is_some());
    }
    metrics::clock_ahead(board.clock_ahead().unwrap_or_default());
    if let Some(database) = board.database() {
        metrics::database(database.writable, Some((database.negative_balances, database.open_dead_letters)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainflume_ops::health::DatabaseHealth;

    fn board(change: impl FnOnce(&mut ChainHealth)) -> Board {
        let board = Board::default();
        board.set_database(DatabaseHealth { writable: true, ..DatabaseHealth::default() });
        board.chain("dev", |chain| {
            (chain.state, chain.heads.latest, chain.heads.confirmed) =
                (ChainState::Live, Some(1000), Some(998));
            let name = "vault".to_owned();
            chain.sources.push(SourceHealth { name, tip: Some(998), next: 999, ..SourceHealth::default() });
            change(chain);
        });
        board
    }

    fn reasons(change: impl FnOnce(&mut ChainHealth)) -> Vec<String> {
        let limits = Limits {
            max_lag: 100,
            head_silence: [("dev".to_owned(), Duration::from_secs(60))].into(),
            ..Limits::default()
        };
        let report = Report::of(&board(change), &limits);
        assert_eq!(report.ready, report.chains["dev"].not_ready.is_empty());
        report.chains["dev"].not_ready.clone()
    }

    #[test]
    fn a_chain_at_the_head_is_ready_and_every_fault_has_its_reason() {
        let past = |seconds| std::time::Instant::now() - Duration::from_secs(seconds);
        assert_eq!(reasons(|_| {}), [""; 0]);
        assert_eq!(reasons(|chain| chain.sources[0].next = 899), [""; 0]);
        assert_eq!(reasons(|chain| chain.sources[0].next = 898), ["is 101 blocks behind"]);
        assert_eq!(
            reasons(|chain| chain.state = ChainState::Stopped),
            ["is stopped: operator action required"]
        );
        let stopped_for_a_minute = |chain: &mut ChainHealth| {
            chain.state = ChainState::Stopped;
            (chain.heads.moved_at, chain.heads.node_behind) = (past(61), 32);
        };
        assert_eq!(reasons(stopped_for_a_minute), ["is stopped: operator action required"]);
        assert_eq!(reasons(|chain| chain.heads.moved_at = past(61)), ["its head has not moved for 61 s"]);
        assert_eq!(
            reasons(|chain| chain.heads.node_behind = 5_000),
            ["its node is 5000 blocks below what is stored: it still syncs, or was replaced by an old copy"]
        );
        assert_eq!(reasons(|chain| chain.notices.unpublished = Some("it syncs".to_owned())), ["it syncs"]);
        assert_eq!(reasons(|chain| chain.alive_at = past(61)), ["its loop has not turned for 61 s"]);
        let failing = |errors| {
            move |chain: &mut ChainHealth| {
                (chain.state, chain.errors.consecutive) = (ChainState::Failing, errors);
            }
        };
        assert_eq!(reasons(failing(1)), [""; 0]);
        assert_eq!(reasons(failing(2)), ["2 errors in a row"]);
        let unopened = |chain: &mut ChainHealth| {
            failing(1)(chain);
            (chain.heads.latest, chain.heads.confirmed) = (None, None);
        };
        assert_eq!(reasons(unopened), ["has not reached its node and database yet"]);
    }

    #[test]
    fn what_the_audit_found_is_a_reason_until_it_is_repaired() {
        let limits = Limits { max_lag: 100, ..Limits::default() };
        let reasons = |differences| {
            let board = board(|_| {});
            board.audit("dev", "vault", |audit| audit.differences = differences);
            Report::of(&board, &limits).chains["dev"].not_ready.clone()
        };
        assert_eq!(reasons(0), [""; 0]);
        assert_eq!(
            reasons(3),
            [
                "3 stored events of source vault differ from the chain: see the log, then run `chainflume verify`"
            ]
        );
    }

    #[test]
    fn a_failing_sink_is_not_ready_and_every_fault_has_its_reason() {
        let past = |seconds| std::time::Instant::now() - Duration::from_secs(seconds);
        let reasons = |change: &dyn Fn(&mut SinkHealth)| {
            let board = board(|_| {});
            board.set_outbox(chainflume_ops::health::OutboxHealth { last: 9, first: 1, oldest_at: None });
            board.sink("redis", |sink| sink.delivered = Some(4));
            board.sink("redis", change);
            let report = Report::of(&board, &Limits { max_lag: 100, ..Limits::default() });
            assert_eq!(
                (report.ready, report.sinks["redis"].lag),
                (report.sinks["redis"].not_ready.is_empty(), 5)
            );
            report.sinks["redis"].not_ready.clone()
        };
        assert_eq!(reasons(&|_| {}), [""; 0]);
        assert_eq!(reasons(&|sink| sink.consecutive_errors = 1), [""; 0]);
        assert_eq!(reasons(&|sink| sink.consecutive_errors = 2), ["2 errors in a row"]);
        assert_eq!(reasons(&|sink| sink.waiting_since = Some(past(29))), [""; 0]);
        assert_eq!(reasons(&|sink| sink.waiting_since = Some(past(31))), ["messages have waited for 31 s"]);
        assert_eq!(
            reasons(&|sink| (sink.held, sink.held_full) = (100, true)),
            ["100 messages wait for a retry, and no new ones are read (max_held)"]
        );
        assert_eq!(reasons(&|sink| sink.alive_at = past(61)), ["its loop has not turned for 61 s"]);
        assert_eq!(
            reasons(&|sink| sink.foreign = Some("do this".to_owned())),
            ["delivery stopped: operator action required: do this"]
        );
    }

    #[test]
    fn a_database_that_takes_no_writes_is_not_ready() {
        let board = board(|_| {});
        let error = Some("read-only".to_owned());
        board.set_database(DatabaseHealth { writable: false, error, ..DatabaseHealth::default() });
        assert!(!Report::of(&board, &Limits { max_lag: 100, ..Limits::default() }).ready);
    }
}
