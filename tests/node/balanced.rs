//! Providers that are load balancers: several nodes behind each URL, of which one lags, one has an index of logs that
//! lags, one leaves logs out, one refuses, one lies, and one is on another chain. Whatever tag is final, whatever is
//! checked and however the chain is reorganised, the tables end as the chain's, messages fold to them, and no confirmed
//! event that stayed on the chain was ever retracted.
//!
//! `PROPERTY_SEED` repeats a run or, with `BALANCED_CASES=1`, one case; `BALANCED_CASES` is the number of cases.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chainflume_devchain::{DevChain, Effect, Lie, RpcError, Rule, Server, Settings, Wire};
use chainflume_ops::health::ChainState;
use serde_json::Value;
use sqlx::postgres::PgPool;

use crate::balancer::Balancer;
use crate::flume::{Flume, all_sources, connect};
use crate::fold;
use crate::random::{Random, seed};
use crate::scene::by_hash;
use crate::{postgres, tables};

/// Cases of a run by default: each combination of tag, check and number of providers twice.
const CASES: u64 = 32;
/// Cases at the same time: much of each is waiting.
const LANES: u64 = 4;
/// Blocks a tag may be behind the head.
const TAGS: [u64; 4] = [0, 1, 64, 800];
const WINDOW: u64 = 16;
/// Blocks a daemon has read from a node that is well before it meets the others.
const FIRST: u64 = 5;
/// How long a daemon may take to come to the end once every node is well.
const LONG: Duration = Duration::from_secs(90);

#[test]
fn behind_any_balancer_the_tables_are_the_chains() {
    let first = seed("balanced");
    let cases = std::env::var("BALANCED_CASES").ok().map_or(CASES, |text| text.parse().expect("a number"));
    let next = std::sync::atomic::AtomicU64::new(0);
    let lane = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut failures = Vec::new();
        while failures.is_empty() {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if index >= cases {
                break;
            }
            let case = Case::draw(first.wrapping_add(index));
            let outcome = runtime.block_on(case.run());
            failures.extend(outcome.err().map(|what| format!("{case:?}: {what}")));
        }
        failures
    };
    let failures: Vec<String> = std::thread::scope(|threads| {
        let lanes: Vec<_> = (0..LANES.min(cases)).map(|_| threads.spawn(lane)).collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("a lane does not panic")).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// How a node behind a balancer is.
#[derive(Clone, Copy, Debug)]
enum Backend {
    /// As it should be.
    Well,
    /// It does not know the newest blocks.
    Lags(u64),
    /// It knows them, and its index of logs does not: a range ends early without a word.
    IndexLags(u64),
    /// Now and then it knows a block and leaves out its logs.
    LeavesOut,
    /// It refuses every other question.
    Refuses(u64),
    /// Now and then its logs are not those that were asked for.
    Lies(Lie),
    /// It is of a chain with another id.
    OtherId,
    /// It is of a chain with this id and another block 0.
    OtherGenesis,
}

#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    tag: u64,
    verify: &'static str,
    /// The backends behind each URL.
    providers: Vec<Vec<Backend>>,
    pending: bool,
    timed: bool,
    history: u64,
    acts: Vec<Act>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Mine(u64),
    Reorg { depth: u64, more: u64 },
    Pause(u64),
    Restart,
}

impl Case {
    fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let tag = TAGS[usize::try_from(seed % 4).expect("small")];
        let verify = ["bloom", "receipts"][usize::try_from(seed / 4 % 2).expect("small")];
        let providers = 1 + seed / 8 % 2;
        let providers = (0..providers)
            .map(|_| [vec![Backend::Well], (0..2).map(|_| Backend::draw(&mut random)).collect()].concat())
            .collect();
        let acts = (0..random.between(10, 20)).flat_map(|_| Act::draw(&mut random)).collect();
        Self {
            seed,
            tag,
            verify,
            providers,
            pending: random.percent(50),
            timed: random.percent(50),
            // Beyond the tag, so that part of the history is final.
            history: tag + random.between(20, 60),
            acts,
        }
    }
}

impl Backend {
    fn draw(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Self::Well,
            1 => Self::Lags(random.between(1, 8)),
            2 => Self::IndexLags(random.between(1, 8)),
            3 => Self::LeavesOut,
            4 => Self::Refuses(random.below(3)),
            5 => Self::Lies(random.pick(&[Lie::Duplicate, Lie::ForeignAddress, Lie::WrongBlockHash])),
            6 => Self::OtherId,
            _ => Self::OtherGenesis,
        }
    }

    /// A node that is so.
    fn node(self, chain: &DevChain, mut random: Random) -> DevChain {
        let (settings, head) = (chain.settings().clone(), chain.head().number);
        let stranger = |chain_id, seed| {
            let settings = Settings { chain_id, seed, history: head + 1_000, ..settings.clone() };
            DevChain::new(settings)
        };
        let node = match self {
            Self::OtherId => stranger(settings.chain_id + 1, settings.seed),
            Self::OtherGenesis => stranger(settings.chain_id, settings.seed ^ 0xff),
            _ => chain.another_node(),
        };
        let faults = node.faults();
        match self {
            Self::Well | Self::OtherId | Self::OtherGenesis => {}
            Self::Lags(blocks) => faults.set(|node| node.lag = blocks),
            Self::IndexLags(blocks) => {
                drop(
                    faults
                        .add(Rule::on("eth_getLogs", Effect::Lag(blocks)).asking(|params| !by_hash(params))),
                );
            }
            Self::LeavesOut => faults.decide(move |request| {
                let hit = request.method == "eth_getLogs" && by_hash(&request.params) && random.percent(50);
                hit.then_some(Effect::Lie(Lie::DropLogs))
            }),
            Self::Refuses(how) => faults.decide(move |_| random.percent(50).then(|| refusal(how))),
            Self::Lies(lie) => faults.decide(move |request| {
                // Of a range far below the head another hash is not found.
                let may = lie != Lie::WrongBlockHash || by_hash(&request.params);
                let hit = request.method == "eth_getLogs" && may && random.percent(50);
                hit.then_some(Effect::Lie(lie))
            }),
        }
        node
    }
}

fn refusal(how: u64) -> Effect {
    match how {
        0 => Effect::Wire(Wire::rate_limited(0)),
        1 => Effect::Error(RpcError::new(-32005, "rate limit exceeded")),
        _ => Effect::Error(RpcError::new(-32000, "header not found")),
    }
}

impl Act {
    fn draw(random: &mut Random) -> Vec<Self> {
        let act = match random.below(10) {
            0..5 => Self::Mine(random.between(1, 5)),
            5..8 => Self::Reorg { depth: random.between(1, 12), more: random.below(3) },
            8 => Self::Pause(random.between(200, 600)),
            _ => Self::Restart,
        };
        vec![act, Self::Pause(random.below(150))]
    }
}

/// The backends behind the URLs while a case runs.
struct World {
    chain: DevChain,
    /// Each with its backends, of which the first is well.
    balancers: Vec<(Balancer, Vec<SocketAddr>)>,
    nodes: Vec<DevChain>,
    _servers: Vec<Server>,
    /// The lowest height that may still be reorganised is above this one.
    floor: u64,
}

impl World {
    async fn of(case: &Case) -> Self {
        let chain = DevChain::new(Settings {
            seed: case.seed,
            history: FIRST,
            finalized_depth: Some(case.tag),
            block_timestamp_in_logs: case.timed,
            ..Settings::default()
        });
        let (mut balancers, mut nodes, mut servers) = (Vec::new(), Vec::new(), Vec::new());
        for (number, backends) in (0..).zip(&case.providers) {
            let mut addresses = Vec::new();
            for (index, backend) in (0..).zip(backends) {
                let node = backend.node(&chain, Random::new(case.seed ^ (100 * number + index)));
                let server = node.serve("127.0.0.1:0").await.expect("a free port");
                addresses.push(server.address());
                nodes.push(node);
                servers.push(server);
            }
            balancers.push((Balancer::serve(vec![addresses[0]], case.seed ^ number).await, addresses));
        }
        let mut world = Self { chain, balancers, nodes, _servers: servers, floor: 0 };
        world.seen(case);
        world
    }

    /// A daemon may have seen this head, and taken it for final by its tag.
    fn seen(&mut self, case: &Case) {
        self.floor = self.floor.max(self.chain.head().number.saturating_sub(case.tag.min(WINDOW)));
    }

    fn act(&mut self, case: &Case, act: Act) {
        match act {
            Act::Mine(count) => drop(self.chain.mine(count)),
            Act::Reorg { depth, more } => {
                let depth = depth.min(self.chain.head().number - self.floor);
                if depth > 0 {
                    self.chain.reorg(depth, depth + more);
                }
            }
            Act::Pause(_) | Act::Restart => {}
        }
        self.seen(case);
    }

    /// Every URL leads to all of its backends.
    fn mix(&self) {
        for (balancer, addresses) in &self.balancers {
            balancer.lead_to(addresses);
        }
    }

    /// Every URL leads to a node that is well.
    fn heal(&self) {
        for (balancer, addresses) in &self.balancers {
            balancer.lead_to(&addresses[..1]);
        }
        self.nodes.iter().for_each(|node| node.faults().clear());
    }

    fn config(&self, case: &Case) -> String {
        let provider = |(number, (balancer, _)): (usize, &(Balancer, Vec<SocketAddr>))| {
            format!("[[chain.provider]]\nname = \"p{number}\"\nhttp = \"{}\"\n", balancer.url)
        };
        let providers: String = self.balancers.iter().enumerate().map(provider).collect();
        let publish = if case.pending { "pending_and_confirmed" } else { "confirmed" };
        let sources = all_sources().replace("start_block", "publish_from = \"start\"\nstart_block");
        format!(
            "[[chain]]\nname = \"dev\"\nchain_id = 31337\nconfirmations = 2\nreorg_window = {WINDOW}\nblock_time = \"200ms\"\n\
             poll_interval = \"100ms\"\nrequest_timeout = \"1s\"\nverify = \"{}\"\npublish = \"{publish}\"\n\
             [chain.failover]\nprobe_interval = \"200ms\"\nmax_lag = 3\nreturn_after = \"500ms\"\n{providers}\n{sources}",
            case.verify
        )
    }
}

impl Case {
    async fn run(&self) -> Result<(), String> {
        let mut world = World::of(self).await;
        let (url, config) = (postgres::database().await, world.config(self));
        // Which chain it is a daemon learns from the first node it meets; it has no other source.
        let flume = Flume::start(&config, &url).await;
        flume.until_tip("dev", FIRST - 2).await;
        flume.stop().await;
        world.act(self, Act::Mine(self.history));
        world.mix();
        let mut flume = Flume::start(&config, &url).await;
        for act in &self.acts {
            world.act(self, *act);
            match *act {
                Act::Pause(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
                Act::Restart => {
                    flume.vanish();
                    flume = Flume::start(&config, &url).await;
                }
                Act::Mine(_) | Act::Reorg { .. } => {}
            }
        }
        let pool = connect(&url).await;
        world.heal();
        world.act(self, Act::Mine(4));
        // A daemon that waits longer and longer between errors would be right, and slow.
        flume.stop().await;
        let flume = Flume::start(&config, &url).await;
        let outcome = self.ends_well(&world, &flume, &pool).await;
        flume.stop().await;
        outcome?;
        self.equals_fresh_sync(&config, &world, &pool).await?;
        no_event_of_the_chain_was_retracted(&pool, &world.chain).await
    }

    /// Waits until everything confirmed is stored and everything else is announced, where that is configured.
    async fn ends_well(&self, world: &World, flume: &Flume, pool: &PgPool) -> Result<(), String> {
        let (deadline, tip) = (Instant::now() + LONG, world.chain.head().number - 2);
        loop {
            let health = flume.chain("dev");
            let arrived = health.sources.iter().filter(|source| source.tip == Some(tip)).count() == 3;
            let folded = messages_fold_to_the_tables(pool, self.pending).await;
            if arrived && folded.is_ok() {
                return Ok(());
            }
            if health.state == ChainState::Stopped || Instant::now() > deadline {
                let tips: Vec<_> = health.sources.iter().map(|source| source.tip).collect();
                return Err(format!(
                    "{:?} at {tips:?} of {tip}, {:?}, {folded:?}",
                    health.state, health.errors.last
                ));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn equals_fresh_sync(&self, config: &str, world: &World, pool: &PgPool) -> Result<(), String> {
        let url = postgres::database().await;
        let flume = Flume::start(config, &url).await;
        flume.until_tip("dev", world.chain.head().number - 2).await;
        flume.stop().await;
        let fresh = tables::all(&connect(&url).await).await;
        let differences = tables::differences(&tables::all(pool).await, &fresh);
        if differences.is_empty() {
            return Ok(());
        }
        let first = differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n  ");
        Err(format!("{} rows are not those of a fresh sync:\n  {first}", differences.len()))
    }
}

async fn messages(connection: &mut sqlx::postgres::PgConnection) -> Vec<String> {
    let sql = "select message from outbox order by seq";
    sqlx::query_scalar(sql).fetch_all(connection).await.expect("the table is there")
}

async fn messages_fold_to_the_tables(pool: &PgPool, pending: bool) -> Result<(), String> {
    let mut tx = pool
        .begin_with("begin isolation level repeatable read read only")
        .await
        .map_err(|error| error.to_string())?;
    let folded = fold::fold(&messages(&mut tx).await)?;
    let held = fold::held(&mut tx).await.map_err(|error| error.to_string())?;
    match folded == held && (pending || held.pending.is_empty()) {
        true => Ok(()),
        false => Err("messages do not fold to the tables".to_owned()),
    }
}

/// The chain never comes back to a branch it has left, so a retraction is of an event that is not on it.
async fn no_event_of_the_chain_was_retracted(pool: &PgPool, chain: &DevChain) -> Result<(), String> {
    let hash = |number| chain.block(number).map(|block| block.hash.to_string());
    let stayed: BTreeSet<String> = (0..=chain.head().number).filter_map(hash).collect();
    let mut connection = pool.acquire().await.map_err(|error| error.to_string())?;
    for message in messages(&mut connection).await {
        let message: Value = serde_json::from_str(&message).map_err(|error| error.to_string())?;
        let block = message["metadata"]["blockHash"].as_str().unwrap_or_default();
        if message["state"] == "retracted" && stayed.contains(block) {
            return Err(format!("an event that is on the chain was retracted: {message}"));
        }
    }
    Ok(())
}
