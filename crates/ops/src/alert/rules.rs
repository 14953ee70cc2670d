use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::health::{
    AuditHealth, Board, ChainHealth, ChainState, ContractHealth, DatabaseHealth, LoopHealth, SinkHealth,
};
use crate::metrics::StepErrorKind;

/// The limits of each chain.
#[derive(Clone, Debug, Default)]
pub struct AlertThresholds {
    /// By chain, the maximum time without a new head.
    pub head_silence: BTreeMap<String, Duration>,
    /// Chains whose heads a WebSocket announces in normal operation.
    pub websocket: BTreeSet<String>,
    /// By chain, the usual time from one block to the next.
    pub block_time: BTreeMap<String, Duration>,
    /// Number of confirmed blocks that a source may lack.
    pub max_lag: u64,
}

/// The health board at one moment.
#[derive(Clone, Debug, Default)]
pub struct BoardSnapshot {
    /// By name.
    pub chains: BTreeMap<String, ChainHealth>,
    /// By name.
    pub sinks: BTreeMap<String, SinkHealth>,
    /// `None` before the first probe.
    pub database: Option<DatabaseHealth>,
    /// By name.
    pub loops: BTreeMap<String, LoopHealth>,
    /// By chain and source.
    pub audits: BTreeMap<(String, String), AuditHealth>,
    /// By chain and source.
    pub contracts: BTreeMap<(String, String), ContractHealth>,
    /// Seconds by which the clock of the database is ahead of this machine's.
    pub clock_ahead: Option<f64>,
    /// Time of this machine's clock, in seconds since the Unix epoch.
    pub time: u64,
}

impl BoardSnapshot {
    /// The present state of the board.
    pub fn of(board: &Board) -> Self {
        Self {
            chains: board.chains(),
            sinks: board.sinks(),
            database: board.database(),
            loops: board.loops(),
            contracts: board.contracts(),
            clock_ahead: board.clock_ahead(),
            time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            audits: board.audits(),
        }
    }
}

/// Identifies an incident: its kind, and its chain, sink or loop. Stays the same while the incident lasts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IncidentKey {
    /// The word in metrics.
    pub kind: &'static str,
    /// Name of the chain, sink or loop; empty for a kind that occurs once.
    pub of: String,
}

/// A detected problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// The text, for a person.
    pub text: String,
    /// The minimum duration before a notice is sent.
    pub after: Duration,
}

/// This many errors in a row are a problem.
const ERRORS: u64 = 5;
/// Messages that have waited this long are a problem, not only a peak.
const STUCK: Duration = Duration::from_mins(1);
/// By then the default schedule has tried a message six times, and an operator can still act before it becomes a dead
/// letter.
const HELD: Duration = Duration::from_hours(8);
/// Seconds by which a clock may be off. A synchronized clock is off by milliseconds, and leases last ten seconds.
pub const CLOCK_OFF: f64 = 30.0;
/// The same for times of blocks. A block is accepted up to some seconds before its time (go-ethereum: 15 s).
const CLOCK_OFF_BLOCK: u64 = 30;
/// A lost WebSocket reopens within seconds, and the daemon polls meanwhile.
const LISTENER: Duration = Duration::from_mins(1);
/// A chain without a confirmed block, or below the start of a source, may be a young one that gets there by itself.
const WAITING: Duration = Duration::from_secs(30);
/// A single occurrence stays an incident for this long: several in a row cause one notice.
const RECENT: Duration = Duration::from_mins(10);

/// Returns all problems.
pub fn incidents(
    board: &BoardSnapshot,
    limits: &AlertThresholds,
    now: Instant,
) -> BTreeMap<IncidentKey, Incident> {
    let mut found = FoundIncidents(BTreeMap::new());
    for (name, chain) in &board.chains {
        chain_troubles(&mut found, name, chain, now);
        node_troubles(&mut found, name, chain, limits, now);
        waiting_troubles(&mut found, name, chain, limits);
    }
    for (name, sink) in &board.sinks {
        sink_troubles(&mut found, name, sink, now);
    }
    if let Some(database) = &board.database {
        database_troubles(&mut found, database, now);
    }
    for ((chain, source), health) in board.contracts.iter().filter(|(_, health)| !health.findings.is_empty())
    {
        let text = format!("source {source} of chain {chain}: {}", health.findings.join("; "));
        found.add("contract", source, text);
    }
    clock_troubles(&mut found, board);
    for ((chain, source), audit) in &board.audits {
        audit_troubles(&mut found, chain, source, audit, now);
    }
    for (name, one) in &board.loops {
        for trouble in one.troubles() {
            found.add(
                "loop",
                name,
                format!("loop {name} of the daemon: {trouble}; see the log, and report it"),
            );
        }
    }
    found.0
}

struct FoundIncidents(BTreeMap<IncidentKey, Incident>);

impl FoundIncidents {
    fn add(&mut self, kind: &'static str, of: &str, text: String) {
        self.add_after(kind, of, text, Duration::ZERO);
    }

    fn add_after(&mut self, kind: &'static str, of: &str, text: String, after: Duration) {
        self.0.insert(IncidentKey { kind, of: of.to_owned() }, Incident { text, after });
    }
}

fn chain_troubles(found: &mut FoundIncidents, name: &str, chain: &ChainHealth, now: Instant) {
    let error = chain.errors.last.as_deref().unwrap_or("no error is known");
    if chain.state == ChainState::Stopped {
        found.add(
            "chain_stopped",
            name,
            format!("chain {name} is stopped: operator action required: {error}"),
        );
    } else if chain.errors.consecutive >= ERRORS {
        let errors = chain.errors.consecutive;
        if is_the_nodes(chain) {
            found.add(
                "provider_down",
                name,
                format!("chain {name} cannot reach its node, {errors} times in a row: {error}"),
            );
        } else {
            found.add(
                "chain_failing",
                name,
                format!("chain {name} has failed {errors} times in a row: {error}"),
            );
        }
    }
    if let Some(reorg) = chain.deep_reorg.filter(|reorg| since(reorg.at, now) < RECENT) {
        let depth = reorg.depth;
        let text = format!("chain {name} undid {depth} confirmed blocks; retractions are published");
        found.add("deep_reorg", name, text);
    }
}

fn node_troubles(
    found: &mut FoundIncidents,
    name: &str,
    chain: &ChainHealth,
    limits: &AlertThresholds,
    now: Instant,
) {
    // While the chain fails for another reason, the head may stay the same because of that reason; a standby reads no
    // head.
    if matches!(chain.state, ChainState::Stopped | ChainState::Standby) || chain.errors.consecutive >= ERRORS
    {
        return;
    }
    let silence = since(chain.heads.moved_at, now);
    if chain.heads.latest.is_some() && limits.head_silence.get(name).is_some_and(|limit| silence > *limit) {
        let text = format!("chain {name}: its node has had no new block for {} s", silence.as_secs());
        found.add("provider_stalled", name, text);
    }
    if chain.heads.node_behind > 0 {
        let text = format!(
            "chain {name}: its node is {} blocks below what is stored: it still syncs, or was replaced by an old copy",
            chain.heads.node_behind
        );
        found.add_after("node_behind", name, text, LISTENER);
    }
    if limits.websocket.contains(name) && !chain.heads.pushed {
        let text = format!("chain {name}: the websocket announces no heads; they are polled for");
        found.add_after("listener_down", name, text, LISTENER);
    }
}

/// What is not stored although nothing fails: blocks that the chain does not have yet, and those that it makes faster than they are
/// stored.
fn waiting_troubles(found: &mut FoundIncidents, name: &str, chain: &ChainHealth, limits: &AlertThresholds) {
    let Some(head) =
        chain.heads.latest.filter(|_| !matches!(chain.state, ChainState::Stopped | ChainState::Standby))
    else {
        return;
    };
    if chain.heads.confirmed.is_none() {
        let text = format!(
            "chain {name} stores nothing: no block is confirmed at head {head}: see `chainflume status`. Lower \
             `confirmations`, or wait"
        );
        found.add_after("unconfirmed", name, text, WAITING);
    }
    for source in chain.sources.iter().filter(|source| !source.is_blocked && source.idle.is_none()) {
        if source.tip.is_none() && source.next > head {
            let text = format!(
                "source {} of chain {name} stores nothing: it starts at block {} and the head is {head}; correct start_block, \
                 or wait",
                source.name, source.next
            );
            found.add_after("start_ahead", &source.name, text, WAITING);
        }
        let (Some(speed), Some(block_time)) = (source.pace.rate(), limits.block_time.get(name)) else {
            continue;
        };
        let lag = source.lag(chain.heads.confirmed);
        if lag > limits.max_lag && speed.blocks * block_time.as_secs_f64() <= 1.0 {
            let text = format!(
                "source {} of chain {name} falls behind: it lacks {lag} blocks, and {:.1} blocks/s are stored; the node or the \
                 database is too slow",
                source.name, speed.blocks
            );
            found.add_after("falls_behind", &source.name, text, LISTENER);
        }
    }
}

fn is_the_nodes(chain: &ChainHealth) -> bool {
    matches!(chain.errors.last_kind, Some(StepErrorKind::Unreachable | StepErrorKind::Timeout))
}

fn sink_troubles(found: &mut FoundIncidents, name: &str, sink: &SinkHealth, now: Instant) {
    if let Some(foreign) = &sink.foreign {
        found.add(
            "sink_foreign",
            name,
            format!("delivery to sink {name} stopped: operator action required: {foreign}"),
        );
        return;
    }
    if let Some(reason) = &sink.disabled {
        found.add("sink_disabled", name, format!("sink {name} is disabled and gets no messages: {reason}"));
        return;
    }
    let held_for = sink.held_since.map_or(Duration::ZERO, |at| since(at, now));
    if held_for > HELD || sink.held_full {
        let (held, hours) = (sink.held, held_for.as_secs() / 3_600);
        let text = format!(
            "{held} messages wait for a retry to sink {name}, the oldest for {hours} h: correct the receiver, then \
             `chainflume webhooks retry {}`",
            name.strip_prefix("webhook:").unwrap_or(name)
        );
        found.add("sink_held", name, text);
    }
    let stuck = sink.waiting_since.map_or(Duration::ZERO, |at| since(at, now));
    if stuck > STUCK || sink.consecutive_errors >= ERRORS {
        let error = sink.last_error.as_deref().unwrap_or("no error is known");
        found.add("sink_stuck", name, format!("sink {name} takes no messages: {error}"));
    }
}

/// A difference lasts until a read agrees. A repaired difference causes one notice.
fn audit_troubles(found: &mut FoundIncidents, chain: &str, source: &str, audit: &AuditHealth, now: Instant) {
    let repaired = audit.repaired.filter(|(_, at)| since(*at, now) < RECENT);
    let text = match (audit.differences, repaired) {
        (0, None) => return,
        (0, Some((repaired, _))) => format!(
            "the audit repaired {repaired} stored events of source {source}: a node had answered them wrongly. Consider a second \
             provider for chain {chain}"
        ),
        (differences, _) => {
            let range = audit.differing_in.map(|(from, to)| format!(" --from {from} --to {to}"));
            format!(
                "{differences} stored events of source {source} differ from the chain {chain}; compare with a node you trust, \
                 then run `chainflume verify --source {source}{} --repair`",
                range.unwrap_or_default()
            )
        }
    };
    found.add("audit_differs", source, text);
}

fn database_troubles(found: &mut FoundIncidents, database: &DatabaseHealth, now: Instant) {
    if !database.writable {
        let error = database.error.as_deref().unwrap_or("no error is known");
        found.add("database", "", format!("the database takes no writes: {error}"));
    }
    if database.letters_rose_at.is_some_and(|at| since(at, now) < RECENT) {
        let open = database.open_dead_letters;
        let text = format!("dead letters grow, {open} are open: see `chainflume dead-letters list`");
        found.add("dead_letters", "", text);
    }
}

/// Leases, timestamps of blocks and signatures of webhooks depend on the clock.
fn clock_troubles(found: &mut FoundIncidents, board: &BoardSnapshot) {
    if let Some(ahead) = board.clock_ahead.filter(|ahead| ahead.abs() > CLOCK_OFF) {
        let (seconds, which) = (ahead.abs(), if ahead > 0.0 { "behind" } else { "ahead of" });
        let text = format!(
            "the clock of this machine is {seconds:.0} s {which} the clock of the database: synchronise it (timedatectl, chrony)"
        );
        found.add("clock", "", text);
    }
    for (name, chain) in &board.chains {
        let ahead = chain.heads.latest_time.map_or(0, |time| time.saturating_sub(board.time));
        if ahead > CLOCK_OFF_BLOCK {
            let text = format!(
                "the newest block of chain {name} is {ahead} s in the future: the clock of this machine is behind, or the clock of its node is ahead; synchronise it"
            );
            found.add("clock", name, text);
        }
    }
}

fn since(at: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{DeepReorg, SourceHealth, SourceIdle, TurnSource};

    /// A moment before all other moments of a test.
    fn later(board: &Board) -> (BoardSnapshot, Instant) {
        (BoardSnapshot::of(board), Instant::now() + Duration::from_hours(1))
    }

    fn found(snapshot: &BoardSnapshot, now: Instant) -> Vec<(&'static str, u64)> {
        let limits = AlertThresholds {
            head_silence: [("dev".to_owned(), Duration::from_hours(2))].into(),
            websocket: ["dev".to_owned()].into(),
            ..AlertThresholds::default()
        };
        let found = incidents(snapshot, &limits, now);
        found.into_iter().map(|(key, incident)| (key.kind, incident.after.as_secs())).collect()
    }

    fn chain(change: impl FnOnce(&mut ChainHealth, Instant)) -> Vec<(&'static str, u64)> {
        let board = Board::default();
        board.chain("dev", |chain| {
            (chain.state, chain.heads.latest, chain.heads.confirmed, chain.heads.pushed) =
                (ChainState::Live, Some(9), Some(9), true)
        });
        let now = Instant::now() + Duration::from_hours(1);
        board.chain("dev", |chain| change(chain, now));
        found(&BoardSnapshot::of(&board), now)
    }

    #[test]
    fn every_trouble_of_a_chain_is_an_incident_and_a_hiccup_is_none() {
        let failing = |errors, kind| {
            move |chain: &mut ChainHealth, _| {
                (chain.state, chain.errors.consecutive, chain.errors.last_kind) =
                    (ChainState::Failing, errors, Some(kind));
            }
        };
        assert_eq!(chain(|_, _| {}), []);
        assert_eq!(chain(failing(4, StepErrorKind::Unreachable)), []);
        assert_eq!(chain(failing(5, StepErrorKind::Unreachable)), [("provider_down", 0)]);
        assert_eq!(chain(failing(5, StepErrorKind::Database)), [("chain_failing", 0)]);
        assert_eq!(chain(|chain, _| chain.state = ChainState::Stopped), [("chain_stopped", 0)]);
        assert_eq!(chain(|chain, _| chain.heads.pushed = false), [("listener_down", 60)]);
        assert_eq!(chain(|chain, _| chain.heads.node_behind = 900), [("node_behind", 60)]);
        let silent = Board::default();
        silent.chain("dev", |chain| {
            (chain.state, chain.heads.latest, chain.heads.confirmed, chain.heads.pushed) =
                (ChainState::Live, Some(9), Some(9), true)
        });
        let after = |hours| Instant::now() + Duration::from_hours(hours);
        assert_eq!(found(&BoardSnapshot::of(&silent), after(1)), []);
        assert_eq!(found(&BoardSnapshot::of(&silent), after(3)), [("provider_stalled", 0)]);
        let reorg = |ago| {
            move |chain: &mut ChainHealth, now: Instant| {
                chain.deep_reorg = Some(DeepReorg { depth: 3, at: now - Duration::from_secs(ago) });
            }
        };
        assert_eq!(chain(reorg(599)), [("deep_reorg", 0)]);
        assert_eq!(chain(reorg(601)), []);
    }

    #[test]
    fn what_is_not_stored_although_nothing_fails_is_an_incident() {
        let source =
            |tip, next| SourceHealth { name: "vault".to_owned(), tip, next, ..SourceHealth::default() };
        assert_eq!(chain(|chain, _| chain.heads.confirmed = None), [("unconfirmed", 30)]);
        assert_eq!(chain(|chain, _| chain.sources = vec![source(None, 10)]), [("start_ahead", 30)]);
        assert_eq!(chain(|chain, _| chain.sources = vec![source(None, 9)]), [], "its block is there");
        let standby = |chain: &mut ChainHealth, _| {
            (chain.state, chain.heads.confirmed) = (ChainState::Standby, None);
        };
        assert_eq!(chain(standby), [], "its leader says so");
        let blocked = SourceHealth { is_blocked: true, ..source(None, 10) };
        assert_eq!(chain(|chain, _| chain.sources = vec![blocked]), [], "it waits for an operator");
        let idle = SourceHealth { idle: Some(SourceIdle::AwaitsHead), ..source(None, 10) };
        assert_eq!(chain(|chain, _| chain.sources = vec![idle]), [], "it begins with the head");
        assert_eq!(chain(|chain, _| chain.sources = vec![source(Some(9), 10)]), [], "it is at the head");
        let stopped = |chain: &mut ChainHealth, _| {
            (chain.state, chain.heads.confirmed) = (ChainState::Stopped, None);
        };
        assert_eq!(chain(stopped), [("chain_stopped", 0)]);
        // No speed is known yet.
        assert_eq!(chain(|chain, _| chain.sources = vec![source(Some(1), 2)]), []);
    }

    #[test]
    fn a_head_that_nothing_reads_is_no_incident() {
        let unread = |state, errors| {
            move |chain: &mut ChainHealth, _| {
                (chain.state, chain.errors.consecutive) = (state, errors);
                (chain.heads.pushed, chain.heads.node_behind) = (false, 9);
            }
        };
        assert_eq!(chain(unread(ChainState::Live, 4)), [("listener_down", 60), ("node_behind", 60)]);
        assert_eq!(chain(unread(ChainState::Standby, 0)), []);
        assert_eq!(chain(unread(ChainState::Stopped, 0)), [("chain_stopped", 0)]);
        assert_eq!(chain(unread(ChainState::Failing, 5)), [("chain_failing", 0)]);
    }

    #[test]
    fn a_source_that_its_chain_outruns_is_an_incident() {
        let found = |blocks: u64, confirmed| {
            let board = Board::default();
            let start = Instant::now().checked_sub(Duration::from_secs(100)).expect("the machine is up");
            board.chain("dev", |chain| {
                (chain.state, chain.heads.latest, chain.heads.confirmed) =
                    (ChainState::Live, Some(confirmed), Some(confirmed));
                let mut source = SourceHealth { name: "vault".to_owned(), ..SourceHealth::default() };
                source.pace.mark_at(start, 0, 0);
                source.pace.mark_at(start + Duration::from_secs(50), blocks, 0);
                (source.tip, source.next) = (Some(blocks), blocks + 1);
                chain.sources = vec![source];
            });
            let limits = AlertThresholds {
                block_time: [("dev".to_owned(), Duration::from_secs(2))].into(),
                max_lag: 100,
                ..AlertThresholds::default()
            };
            let found = incidents(&BoardSnapshot::of(&board), &limits, Instant::now());
            found.into_keys().map(|key| key.kind).collect::<Vec<_>>()
        };
        // The chain grows by half a block a second.
        assert_eq!(found(40, 141), ["falls_behind"]);
        assert_eq!(found(40, 140), [""; 0], "it lacks no more than it may");
        assert_eq!(found(90, 1_000), [""; 0], "it catches up");
    }

    #[test]
    fn the_clock_that_is_off_is_named() {
        let text = |ahead| {
            let board = Board::default();
            board.set_clock_ahead(ahead);
            let found = incidents(&BoardSnapshot::of(&board), &AlertThresholds::default(), Instant::now());
            found.into_values().map(|incident| incident.text).collect::<String>()
        };
        let words = |side| format!("the clock of this machine is 31 s {side} the clock of the database");
        assert!(text(31.0).starts_with(&words("behind")), "{}", text(31.0));
        assert!(text(-31.0).starts_with(&words("ahead of")), "{}", text(-31.0));
    }

    #[test]
    fn a_sink_is_stuck_after_a_minute_and_holds_for_hours() {
        let found = |change: fn(&mut SinkHealth, Instant)| {
            let (board, now) = (Board::default(), Instant::now() + Duration::from_hours(10));
            board.sink("redis", |sink| change(sink, now));
            found(&BoardSnapshot::of(&board), now)
        };
        assert_eq!(found(|sink, now| sink.waiting_since = now.checked_sub(STUCK)), []);
        assert_eq!(found(|sink, now| sink.held_since = now.checked_sub(HELD)), []);
        assert_eq!(found(|sink, _| sink.consecutive_errors = ERRORS - 1), []);
    }

    #[test]
    fn a_clock_that_is_off_is_an_incident() {
        let board = Board::default();
        board.chain("dev", |chain| {
            (chain.state, chain.heads.latest, chain.heads.confirmed, chain.heads.pushed) =
                (ChainState::Live, Some(9), Some(9), true)
        });
        let time = BoardSnapshot::of(&board).time;
        for (ahead, block, wanted) in [
            (0.0, time, vec![]),
            (29.9, time + 29, vec![]),
            (-31.0, time, vec![("clock", 0)]),
            (3_600.0, time + 3_600, vec![("clock", 0), ("clock", 0)]),
        ] {
            board.set_clock_ahead(ahead);
            board.chain("dev", |chain| chain.heads.latest_time = Some(block));
            assert_eq!(
                found(&BoardSnapshot { time, ..BoardSnapshot::of(&board) }, Instant::now()),
                wanted,
                "{ahead}"
            );
        }
    }

    #[test]
    fn a_contract_that_looks_wrong_is_an_incident() {
        let board = Board::default();
        assert!(!board.set_contracts("dev", "token", Vec::new()), "nothing is new");
        assert_eq!(found(&later(&board).0, Instant::now()), []);
        assert!(board.set_contracts("dev", "token", vec!["has no code".to_owned()]));
        assert_eq!(found(&later(&board).0, Instant::now()), [("contract", 0)]);
        assert!(board.set_contracts("dev", "token", Vec::new()), "it is mended");
        assert_eq!(found(&later(&board).0, Instant::now()), []);
    }

    #[test]
    fn what_the_audit_found_is_an_incident_until_it_is_repaired() {
        let (board, now) = (Board::default(), Instant::now());
        let text = |change: &dyn Fn(&mut AuditHealth)| {
            board.audit("dev", "token", change);
            let all = incidents(&BoardSnapshot::of(&board), &AlertThresholds::default(), now);
            all.into_iter()
                .map(|(key, incident)| format!("{} {}: {}", key.kind, key.of, incident.text))
                .collect::<String>()
        };
        assert_eq!(text(&|_| {}), "");
        let stands = text(&|audit| (audit.differences, audit.differing_in) = (3, Some((10, 19))));
        assert!(
            stands.starts_with("audit_differs token: 3 stored events of source token differ"),
            "{stands}"
        );
        assert!(stands.contains("`chainflume verify --source token --from 10 --to 19 --repair`"), "{stands}");
        let repaired = text(&|audit| {
            (audit.differences, audit.repaired) = (0, Some((3, now)));
        });
        assert!(repaired.contains("the audit repaired 3 stored events of source token"), "{repaired}");
        assert_eq!(text(&|audit| audit.repaired = now.checked_sub(RECENT).map(|at| (3, at))), "");
    }

    #[test]
    fn a_loop_that_failed_is_an_incident() {
        let board = Board::default();
        board.loop_starts("probe", TurnSource::Heartbeat, Duration::from_mins(1));
        assert_eq!(found(&later(&board).0, Instant::now()), []);
        board.loop_failed("probe", "panicked and is started again".to_owned());
        assert_eq!(found(&later(&board).0, Instant::now()), [("loop", 0)]);
    }

    #[test]
    fn every_trouble_of_a_sink_or_the_database_is_an_incident() {
        let board = Board::default();
        board.sink("redis", |_| {});
        let (snapshot, now) = later(&board);
        assert_eq!(found(&snapshot, now), []);
        board.sink("redis", |sink| sink.waiting_since = Some(now - Duration::from_secs(61)));
        board.sink("webhook:crm", |sink| sink.consecutive_errors = 5);
        board.sink("webhook:old", |sink| sink.disabled = Some("410".to_owned()));
        board.sink("webhook:full", |sink| sink.held_full = true);
        board.sink("webhook:slow", |sink| sink.held_since = now.checked_sub(Duration::from_hours(9)));
        let database = |writable, rose_ago| DatabaseHealth {
            writable,
            open_dead_letters: 3,
            letters_rose_at: Some(now - Duration::from_secs(rose_ago)),
            ..DatabaseHealth::default()
        };
        board.set_database(database(false, 599));
        let kinds = [
            "database",
            "dead_letters",
            "sink_disabled",
            "sink_held",
            "sink_held",
            "sink_stuck",
            "sink_stuck",
        ];
        assert_eq!(found(&later(&board).0, now), kinds.map(|kind| (kind, 0)));
        board.sink("webhook:old", |sink| sink.foreign = Some("do this".to_owned()));
        let kinds = [
            "database",
            "dead_letters",
            "sink_foreign",
            "sink_held",
            "sink_held",
            "sink_stuck",
            "sink_stuck",
        ];
        assert_eq!(
            found(&later(&board).0, now),
            kinds.map(|kind| (kind, 0)),
            "the worse incident is reported"
        );
        board.sink("webhook:old", |sink| sink.foreign = None);
        board.set_database(database(true, 601));
        assert_eq!(
            found(&later(&board).0, now),
            ["sink_disabled", "sink_held", "sink_held", "sink_stuck", "sink_stuck"].map(|kind| (kind, 0))
        );
    }
}
