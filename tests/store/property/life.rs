//! Carries out a case: the chain moves, the daemon lives and dies, and at the end two databases are compared.

use std::time::{Duration, Instant};

use chainflume_devchain::{DevChain, Server, Settings};
use chainflume_ops::health::{ChainHealth, ChainState};

use super::bench::{Bench, Deed};
use super::ground::Ground;
use super::look::{implausible, look, published};
use super::plan::{Act, Case, Confirmations, Fate, Statement, World};
use super::sources::Sources;
use super::{node, odd};
use crate::cable::Cut;
use crate::flume::{self, Flume};
use crate::tables;

/// The time a daemon is given to catch up where nothing depends on it.
const SHORT: Duration = Duration::from_millis(300);
/// The time it has at the end: its pauses between errors are part of it.
const LONG: Duration = Duration::from_secs(40);
/// Longer than any case needs.
const MAX_HEAD: u64 = 80;

/// Lives through `case`; the error names what does not hold.
pub async fn live(case: &Case, bench: &mut Bench) -> Result<(), String> {
    bench.empty().await;
    let chain = DevChain::new(Settings {
        seed: case.seed,
        history: case.world.history,
        finalized_depth: case.world.finalized,
        block_timestamp_in_logs: case.world.timed,
        // Then blocks without logs of the sources need no question for logs.
        header_hashes: case.seed.is_multiple_of(2),
        ..Settings::default()
    });
    let server = chain.serve("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let ground = Ground::new(chain, case.world.depth());
    let mut life = Life { case, bench, ground, server, flume: None, running: Sources(0), fused: false };
    let outcome = life.whole().await;
    life.kill();
    life.ground.heal();
    life.server.stop().await;
    outcome
}

struct Life<'a> {
    case: &'a Case,
    bench: &'a mut Bench,
    ground: Ground,
    server: Server,
    flume: Option<Flume>,
    running: Sources,
    /// It is going to be dropped in the middle of something.
    fused: bool,
}

impl Life<'_> {
    async fn whole(&mut self) -> Result<(), String> {
        for (index, act) in self.case.acts.iter().enumerate() {
            self.act(act).await;
            // A look costs the server as much as a commit.
            if index % 2 == 1 {
                self.look().await.map_err(|what| format!("after act {index} ({act:?}): {what}"))?;
            }
        }
        self.finish().await.map_err(|what| format!("at the end: {what}"))
    }

    fn world(&self) -> &World {
        &self.case.world
    }

    async fn act(&mut self, act: &Act) {
        match *act {
            Act::Mine(_) | Act::Odd(_) | Act::Reorg { .. } | Act::Remine { .. } | Act::Truncate(_) => {
                self.ground.change(|chain, most| change(chain, most, act));
            }
            Act::Flip { depth, len, pause } => self.flip(depth, len, pause).await,
            Act::Flicker { after, depth } => self.ground.flicker(after, depth),
            Act::Start { sources, polls } => self.start(sources, polls).await,
            Act::Stop => self.stop().await,
            Act::Kill => self.kill(),
            Act::KillAt(statement, fate) => self.kill_at(statement, fate).await,
            Act::Terminate => self.bench.lived.terminate().await,
            Act::TerminateAt(statement) => self.bench.lived.arm(statement, Deed::Terminate).await,
            Act::FailAt(statement) => self.bench.lived.arm(statement, Deed::Fail).await,
            Act::LoseAnswer(nth) => self.bench.lived.cable.set(Cut::Answer(nth)),
            Act::LoseCommit => self.bench.lived.cable.set(Cut::Commit),
            Act::Node(ref fault) => node::misbehave(self.ground.chain.faults(), fault, self.world()),
            Act::Heal => self.heal().await,
            Act::Pause(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            Act::CatchUp => drop(self.catch_up(SHORT).await),
        }
    }

    async fn flip(&self, depth: u64, len: u64, pause: u64) {
        let mut branch = None;
        self.ground.change(|chain, most| {
            if most > 0 {
                branch = Some(chain.branch());
                chain.reorg(depth.min(most), len);
            }
        });
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let Some(branch) = branch else { return };
        // B may have been so much longer that A is too deep to come back to by now.
        self.ground.change(|chain, most| {
            if depth.min(most) + len <= most + depth && chain.head().number <= most + depth {
                chain.restore(&branch);
            }
        });
    }

    async fn start(&mut self, sources: Sources, polls: Option<u64>) {
        if self.flume.as_mut().is_some_and(|flume| !flume.has_ended()) {
            return;
        }
        self.kill();
        self.bench.lived.cable.set(Cut::None);
        self.ground.set_watched(true);
        let config = self.config(sources, "");
        self.flume = Some(Flume::start_fused(&config, self.bench.lived.cable.url(), polls).await);
        (self.running, self.fused) = (sources, polls.is_some());
    }

    fn config(&self, sources: Sources, more: &str) -> String {
        config(self.world(), &self.server, sources, more)
    }

    async fn stop(&mut self) {
        if let Some(flume) = self.flume.take() {
            flume.stop().await;
        }
        self.ground.set_watched(false);
    }

    fn kill(&mut self) {
        if let Some(flume) = self.flume.take() {
            flume.vanish();
        }
        self.ground.set_watched(false);
    }

    async fn kill_at(&mut self, statement: Statement, fate: Fate) {
        let held = self.bench.lived.shut(statement).await;
        self.kill();
        self.bench.lived.open(held, fate).await;
    }

    async fn heal(&mut self) {
        self.ground.heal();
        self.bench.lived.cable.set(Cut::None);
        self.bench.lived.disarm().await;
    }

    async fn look(&self) -> Result<(), String> {
        if let Some(flume) = &self.flume {
            let health = flume.chain("dev");
            if health.state == ChainState::Stopped {
                return Err(format!("the chain has stopped: {}", health.errors.last.unwrap_or_default()));
            }
        }
        look(&self.bench.lived.pool, &self.ground, self.world()).await
    }

    /// The block up to which everything is confirmed.
    fn confirmed(&self) -> u64 {
        let head = self.ground.chain.head().number;
        match self.world().confirmations {
            Confirmations::Blocks(depth) => head.saturating_sub(depth),
            Confirmations::Safe => head.saturating_sub(self.world().finalized.unwrap_or(0) / 2),
        }
    }

    /// Waits until every source is at the confirmed block, by number and hash.
    async fn catch_up(&self, patience: Duration) -> Result<(), String> {
        let Some(flume) = &self.flume else { return Ok(()) };
        let deadline = Instant::now() + patience;
        let (number, names) = (self.confirmed(), self.running.names());
        let hash = self.ground.chain.block(number).map(|block| block.hash).unwrap_or_default();
        loop {
            let health = flume.chain("dev");
            let arrived = health.sources.iter().filter(|source| source.tip == Some(number)).count();
            if arrived == names.len() && self.standing_at(number, hash.as_slice()).await == names.len() {
                return Ok(());
            }
            if Instant::now() > deadline || health.state == ChainState::Stopped {
                return Err(format!("not all sources reach block {number} ({hash}): {}", words(&health)));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn standing_at(&self, number: u64, hash: &[u8]) -> usize {
        let count: i64 = sqlx::query_scalar(
            "select count(*) from checkpoints where block_number = $1 and block_hash = $2 and source = any($3)",
        )
        .bind(number.cast_signed())
        .bind(hash)
        .bind(self.running.names())
        .fetch_one(&self.bench.lived.pool)
        .await
        .expect("the test's own connection");
        usize::try_from(count).expect("few")
    }

    /// Everything works again, and the chain grows beyond all that was.
    async fn finish(&mut self) -> Result<(), String> {
        self.heal().await;
        let sources = self.case.sources();
        let errors = self.flume.as_ref().map_or(0, |flume| flume.chain("dev").errors.consecutive);
        if self.fused {
            self.kill();
        }
        // A daemon that waits longer and longer between errors would be right, and slow.
        if self.running != sources || errors > 2 {
            self.stop().await;
        }
        self.start(sources, None).await;
        let lowest = sources.indices().map(|index| self.world().starts[index]).max().unwrap_or(0);
        // Everything unconfirmed is ordinary traffic then.
        let top = self.ground.highest().max(lowest + 3) + 4 + self.world().finalized.unwrap_or(0) / 2;
        self.ground.change(|chain, _| {
            chain.mine(top - chain.head().number);
        });
        self.catch_up(LONG).await?;
        self.all_told(sources).await?;
        self.look().await?;
        self.stop().await;
        self.compare(sources).await
    }

    /// Waits until every log that is not confirmed yet is published, and no other. Of blocks that only a tag would make
    /// confirmed some may have been published when they were new.
    async fn all_told(&self, sources: Sources) -> Result<(), String> {
        let (confirmed, head) = (self.confirmed(), self.ground.chain.head().number);
        let must = confirmed.max(head.saturating_sub(self.world().depth()));
        let deadline = Instant::now() + LONG;
        loop {
            let due = |block: u64| self.ground.logs(block, sources, &self.world().starts);
            let published = published(&self.bench.lived.pool).await?;
            let expected: Vec<_> = (must + 1..=head).flat_map(due).filter(|_| self.world().pending).collect();
            let may: Vec<_> = (confirmed + 1..=must).flat_map(due).filter(|_| self.world().pending).collect();
            if expected.iter().all(|due| published.contains(due))
                && published.iter().all(|published| expected.contains(published) || may.contains(published))
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("told are {published:?}, due {expected:?}, allowed {may:?}"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn compare(&mut self, sources: Sources) -> Result<(), String> {
        let fresh = "ws = none\nhistory = { initial_range = 1000 }";
        let flume = Flume::start(&self.config(sources, fresh), self.bench.fresh.cable.url()).await;
        let confirmed = self.confirmed();
        flume.until_tip("dev", confirmed).await;
        flume.stop().await;
        let chain = &self.ground.chain;
        let above = chain.head().number.saturating_sub(self.world().depth());
        let lived = tables::all_with_window(&self.bench.lived.pool, above).await;
        let fresh = tables::all_with_window(&self.bench.fresh.pool, above).await;
        let differences = tables::differences(&lived, &fresh);
        if !differences.is_empty() {
            let first = differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n  ");
            return Err(format!("{} rows are not those of a fresh sync:\n  {first}", differences.len()));
        }
        let implausible = implausible(&self.bench.lived.pool, chain, &self.ground).await;
        implausible.map_or(Ok(()), Err)
    }
}

fn words(health: &ChainHealth) -> String {
    let tips: Vec<_> = health.sources.iter().map(|source| (source.name.as_str(), source.tip)).collect();
    let ChainHealth { state, heads, errors, .. } = health;
    format!("{state:?}, {heads:?}, {errors:?}, {tips:?}")
}

fn change(chain: &DevChain, most: u64, act: &Act) {
    let room = chain.head().number < MAX_HEAD;
    let _head = match *act {
        Act::Mine(count) if room => chain.mine(count),
        Act::Odd(seed) if room => chain.mine_with(vec![odd::block(seed)]),
        Act::Reorg { depth, len } if most > 0 => chain.reorg(depth.min(most), len),
        Act::Remine { depth, later } if most > 0 => chain.reorg_same(depth.min(most), later),
        Act::Truncate(depth) => chain.truncate(depth.min(most)),
        _ => chain.head(),
    };
}

fn config(world: &World, server: &Server, sources: Sources, more: &str) -> String {
    let confirmations = match world.confirmations {
        Confirmations::Blocks(depth) => depth.to_string(),
        Confirmations::Safe => "\"safe\"".to_owned(),
    };
    let (window, range, flight) = (world.window, world.initial_range, world.ranges_in_flight);
    let ws = if world.ws || more.contains("ws =") { "" } else { "ws = none\n" };
    let history =
        format!("history = {{ initial_range = {range}, max_range = 20, ranges_in_flight = {flight} }}\n");
    let history = if more.contains("history =") { "" } else { &history };
    let publish = if world.pending { "publish = \"pending_and_confirmed\"\n" } else { "" };
    let keys = format!(
        "{publish}confirmations = {confirmations}\nreorg_window = {window}\npoll_interval = \"50ms\"\nblock_time = \"50ms\"\n\
         ws_silence = \"150ms\"\nrequest_timeout = \"500ms\"\n{ws}{history}{more}\n"
    );
    let users = format!("[users]\ncreate_missing = {}\n", world.create_missing);
    flume::config(server, &keys, &(sources.toml(&world.starts) + &users))
}
