//! What is wrong for a while: with the chain, with the node as a whole, with the database, with Redis and with the daemon.

use std::collections::BTreeMap;

use chainflume_devchain::{Behaviour, Branch, Cap};

use super::deck::{Deck, Tally};
use super::house::House;
use super::{Soak, calls};
use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Reorg,
    Remined,
    ThereAndBack,
    NodeAway,
    SocketSilent,
    SocketCut,
    SocketRefused,
    RangesCapped,
    ResultsCapped,
    BatchesRefused,
    PostgresStalled,
    PostgresCut,
    RedisStalled,
    RedisCut,
    Killed,
}

const TROUBLES: &[(Trouble, &str)] = &[
    (Trouble::Reorg, "reorg"),
    (Trouble::Remined, "reorg of the same transactions"),
    (Trouble::ThereAndBack, "reorg there and back"),
    (Trouble::NodeAway, "node away"),
    (Trouble::SocketSilent, "websocket silent"),
    (Trouble::SocketCut, "websocket cut"),
    (Trouble::SocketRefused, "websocket refused"),
    (Trouble::RangesCapped, "ranges capped"),
    (Trouble::ResultsCapped, "results capped"),
    (Trouble::BatchesRefused, "batches refused"),
    (Trouble::PostgresStalled, "postgres stalled"),
    (Trouble::PostgresCut, "postgres cut"),
    (Trouble::RedisStalled, "redis stalled"),
    (Trouble::RedisCut, "redis cut"),
    (Trouble::Killed, "killed"),
];

/// What proxies cut by themselves.
const CUTS: [&str; 2] = ["commit cut", "append cut"];

pub struct Troubles {
    soak: Soak,
    random: Random,
    deck: Deck<(Trouble, &'static str)>,
    /// When each that is under way is over.
    until: BTreeMap<Trouble, u64>,
    /// What the chain comes back to.
    branch: Option<Branch>,
    tally: Tally,
}

impl Troubles {
    /// From now on single calls, commits and appends go wrong.
    pub fn new(soak: Soak, house: &House) -> Self {
        let tally = Tally::default();
        calls::begin(&house.chain, soak, tally.clone());
        let one_in = 100 / soak.faults.max(1);
        house.postgres.cut_at_random(soak.seed, one_in);
        house.redis.cut_at_random(soak.seed + 1, one_in);
        let (random, deck) = (Random::new(soak.seed + 2), Deck::new(TROUBLES));
        Self { soak, random, deck, until: BTreeMap::new(), branch: None, tally }
    }

    /// Ends what is over, and begins something now and then.
    pub async fn turn(&mut self, house: &mut House, block: u64) {
        let over: Vec<_> =
            self.until.iter().filter(|(_, until)| **until <= block).map(|(it, _)| *it).collect();
        for trouble in over {
            self.until.remove(&trouble);
            self.undo(trouble, house).await;
            house.remark(&format!("{trouble:?} is over"));
        }
        if self.random.below(self.soak.longest()) > 0 {
            return;
        }
        // Two thirds of the time are one life: memory is measured in it.
        let kills = block < self.soak.blocks / 3 || !self.tally.counts().contains_key("killed");
        let free = |(trouble, _): (Trouble, _)| {
            (!self.until.contains_key(&trouble) && (kills || trouble != Trouble::Killed)).then_some(())
        };
        if let Some((trouble, name)) = self.deck.deal(&mut self.random, free) {
            self.tally.count(name);
            let lasts = self.random.between(1, self.soak.longest());
            // What the chain comes back to must not become final meanwhile.
            let lasts = if trouble == Trouble::ThereAndBack { lasts.min(10) } else { lasts };
            self.until.insert(trouble, block + lasts);
            house.remark(&format!("{trouble:?} for {lasts} blocks"));
            self.begin(trouble, house).await;
        }
    }

    /// Ends everything; from now on nothing goes wrong.
    pub async fn end(&mut self, house: &mut House) {
        for (trouble, _) in std::mem::take(&mut self.until) {
            self.undo(trouble, house).await;
        }
        house.chain.faults().clear();
        house.postgres.cut_at_random(0, 0);
        house.redis.cut_at_random(0, 0);
    }

    async fn begin(&mut self, trouble: Trouble, house: &mut House) {
        let depth = match self.random.percent(70) {
            true => self.random.between(1, 3),
            false => self.random.between(4, 12),
        };
        let depth = depth.min(house.loose());
        let set = |change: fn(&mut Behaviour)| house.chain.faults().set(change);
        match trouble {
            Trouble::Reorg => {
                house.chain.reorg(depth, self.random.between(depth.max(2) - 1, depth + 2));
            }
            Trouble::Remined => {
                house.chain.reorg_same(depth, self.random.below(2));
            }
            Trouble::ThereAndBack => {
                self.branch = Some(house.chain.branch());
                house.chain.reorg(depth, depth + 1);
            }
            Trouble::NodeAway => {
                if let Some(node) = house.node.take() {
                    node.stop().await;
                }
            }
            Trouble::SocketSilent => set(|node| node.ws_silent = true),
            Trouble::SocketCut => house.chain.faults().disconnect_ws(),
            Trouble::SocketRefused => {
                set(|node| node.ws_refuse = true);
                house.chain.faults().disconnect_ws();
            }
            Trouble::RangesCapped => set(|node| node.max_range = Some(Cap::range(7))),
            Trouble::ResultsCapped => set(|node| node.max_logs = Some(Cap::logs(2))),
            Trouble::BatchesRefused => set(|node| node.refuse_batches = true),
            Trouble::PostgresStalled => house.postgres.stall(),
            Trouble::PostgresCut => house.postgres.break_all(),
            Trouble::RedisStalled => house.redis.stall(),
            Trouble::RedisCut => house.redis.break_all(),
            Trouble::Killed => house.kill().await,
        }
    }

    async fn undo(&mut self, trouble: Trouble, house: &mut House) {
        let set = |change: fn(&mut Behaviour)| house.chain.faults().set(change);
        match trouble {
            Trouble::ThereAndBack => {
                if let Some(branch) = self.branch.take() {
                    house.chain.restore(&branch);
                }
            }
            Trouble::NodeAway => {
                let node = house.chain.serve(&house.node_address).await;
                house.node = Some(node.expect("the port was ours"));
            }
            Trouble::SocketSilent => set(|node| node.ws_silent = false),
            Trouble::SocketRefused => set(|node| node.ws_refuse = false),
            Trouble::RangesCapped => set(|node| node.max_range = None),
            Trouble::ResultsCapped => set(|node| node.max_logs = None),
            Trouble::BatchesRefused => set(|node| node.refuse_batches = false),
            Trouble::PostgresStalled => house.postgres.go_on(),
            Trouble::RedisStalled => house.redis.go_on(),
            Trouble::Killed => house.start(),
            Trouble::Reorg | Trouble::Remined => {}
            Trouble::SocketCut | Trouble::PostgresCut | Trouble::RedisCut => {}
        }
    }

    /// How often each kind has happened so far.
    pub fn tally(&self, house: &House) -> BTreeMap<&'static str, u64> {
        let mut counts = self.tally.counts();
        for (name, made) in CUTS.into_iter().zip([house.postgres.made(), house.redis.made()]) {
            if !made.is_empty() {
                counts.insert(name, made.len() as u64);
            }
        }
        counts
    }

    /// What has not happened yet.
    pub fn lacking(&self, house: &House) -> Vec<&'static str> {
        let known = self.tally(house);
        let all = calls::names().chain(TROUBLES.iter().map(|(_, name)| *name)).chain(CUTS);
        all.filter(|name| !known.contains_key(name)).collect()
    }
}
