//! Random histories against a fresh sync of what survived.

use std::collections::BTreeMap;
use std::time::SystemTime;

use chainflume_core::domain::{Address, BlockId, BlockRange, Event, TokenRange, U256};

use super::fixture::*;
use crate::{Advance, Backfill, ChainStore, Checkpoint};
use chainflume_testkit::postgres as testing;

/// Chains a run; `STORE_SEED` in the environment repeats one.
const CHAINS: u64 = 40;
const STEPS: u64 = 14;
/// Sources that travel together.
const GROUPS: [&[&str]; 2] = [&["vault", "token"], &["nft", "misc"]];

/// xorshift64*: enough to be unlucky with.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn small(&mut self, bound: u8) -> u8 {
        u8::try_from(self.below(bound.into())).expect("below a u8")
    }

    fn amount(&mut self) -> U256 {
        match self.below(6) {
            0 => U256::ZERO,
            1 => U256::MAX - U256::from(self.below(3)),
            _ => U256::from(self.below(1_000_000)),
        }
    }
}

/// The chain as it is now, and how far each group has read it.
struct Model {
    random: Random,
    fork: u8,
    blocks: Vec<(BlockId, Vec<Event>)>,
    at: [Option<BlockId>; 2],
}

impl Model {
    fn grow(&mut self) {
        let at = block(self.blocks.len() as u64 + 1, self.fork);
        let events =
            (0..self.random.small(7)).map(|log_index| event(at, log_index.into(), self.fact())).collect();
        self.blocks.push((at, events));
    }

    fn fact(&mut self) -> chainflume_core::domain::Fact {
        let random = &mut self.random;
        let (a, b) = (random.small(5), random.small(5));
        match random.below(9) {
            0..2 => staked(1 + a, random.below(1_000)),
            2..4 => transfer(a, b, random.amount()),
            4..6 => approval(1 + a, 1 + b, random.amount()),
            6..8 => match random.below(5) {
                0 | 1 => {
                    let first = U256::from(random.below(6));
                    nft_range(a, b, first, first + U256::from(random.below(6)))
                }
                2 => nft_range(a, b, U256::MAX - U256::from(random.below(3)), U256::MAX),
                3 => nft(a, b, U256::MAX),
                _ => nft(a, b, U256::from(random.below(8))),
            },
            _ => note(r#"{"number":"1"}"#),
        }
    }

    fn events_of(&self, sources: &[&str], from: u64, to: u64) -> Vec<Event> {
        let kinds = kinds();
        let blocks = self.blocks.iter().filter(|(at, _)| (from..=to).contains(&at.number));
        blocks
            .flat_map(|(_, events)| events.clone())
            .filter(|event| sources.contains(&kinds[event.fact.kind.0].source.as_str()))
            .collect()
    }

    /// The owners of all tokens, one event after the other.
    fn owners(&self) -> BTreeMap<(Address, U256), Address> {
        let mut owners = BTreeMap::new();
        for event in self.events_of(&["nft"], 1, self.blocks.len() as u64) {
            let first = event.fact.token_id.expect("a token");
            let last = TokenRange::of(&event.fact).map_or(first, |range| range.last);
            let mut token = first;
            loop {
                match event.fact.counterparty.expect("an address") {
                    Address::ZERO => drop(owners.remove(&(event.address, token))),
                    owner => drop(owners.insert((event.address, token), owner)),
                }
                if token == last {
                    break;
                }
                token += U256::from(1);
            }
        }
        owners
    }

    fn block(&self, number: u64) -> BlockId {
        match number {
            0 => block(0, 0),
            number => self.blocks[usize::try_from(number).expect("small") - 1].0,
        }
    }

    /// The step of a group by up to `width` blocks; `None` at the head.
    fn step(&self, group: usize, width: u64) -> Option<Advance> {
        let from = self.at[group].map_or(0, |at| at.number);
        let to = (from + width).min(self.blocks.len() as u64);
        (to > from).then(|| Advance {
            seen_at: None,
            expected: checkpoints(group, self.at[group]),
            to: self.block(to),
            refs: (from + 1..to).map(|number| self.block(number)).collect(),
            final_number: 0,
            events: self.events_of(GROUPS[group], from + 1, to),
            dead_letters: (from + 1..=to).filter(|n| n % 3 == 0).map(|n| letter(self.block(n), 99)).collect(),
            head: to,
            durable: to.is_multiple_of(2),
        })
    }
}

fn checkpoints(group: usize, at: Option<BlockId>) -> Vec<Checkpoint> {
    GROUPS[group].iter().map(|source| Checkpoint { source: (*source).to_owned(), at }).collect()
}

#[tokio::test]
async fn any_history_ends_in_the_tables_of_a_fresh_sync() {
    let seed = match std::env::var("STORE_SEED") {
        Ok(seed) => seed.parse().expect("STORE_SEED is a number"),
        Err(_) => SystemTime::UNIX_EPOCH.elapsed().map_or(1, |age| age.as_micros().try_into().unwrap_or(1)),
    };
    for seed in (0..CHAINS).map(|n| seed + n) {
        println!("repeat with STORE_SEED={seed}");
        history(seed).await;
        testing::sweep_up();
    }
}

async fn history(seed: u64) {
    let (lived, fresh) = (store().await, store().await);
    for store in [&lived, &fresh] {
        execute(
            store,
            "insert into users (wallet, status) values (decode(lpad('01', 40, '0'), 'hex'), 'invited')",
        )
        .await;
    }
    let chain = open(&lived).await;
    let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut model = Model { random, fork: 1, blocks: vec![], at: [None; 2] };
    for _ in 0..STEPS {
        match model.random.below(10) {
            0..2 => reorg(&lived, &chain, &mut model).await,
            2 => fill(&chain, &mut model).await,
            3 => there_and_back(&lived, &chain, &mut model).await,
            _ => forward(&chain, &mut model).await,
        }
    }
    for group in 0..2 {
        let rest = model.blocks.len() as u64;
        if let Some(step) = model.step(group, rest) {
            chain.advance(&step).await.expect("advances");
            model.at[group] = Some(step.to);
        }
    }
    fill(&chain, &mut model).await;
    let owners = model.owners();
    let owners =
        owners.iter().map(|((of, token), owner)| format!("{of:x} {token} {owner:x}").replace("0x", ""));
    let mut owners: Vec<String> = owners.collect();
    owners.sort();
    let stored =
        "select concat_ws(' ', encode(contract, 'hex'), token_id, encode(owner, 'hex')) from nft_owners";
    let mut stored = texts(&lived, stored).await;
    stored.sort();
    assert_eq!(stored, owners);

    let other = open(&fresh).await;
    let lived_at = model.at;
    model.at = [None; 2];
    for group in 0..2 {
        if let Some(step) = model.step(group, model.blocks.len() as u64) {
            other.advance(&step).await.expect("advances");
        }
    }
    assert_eq!(
        lived_at.map(|at| at.map(|at| at.number)),
        [Some(model.blocks.len() as u64).filter(|n| *n > 0); 2]
    );
    let alone = "select o.reorg_id::text from orphaned_events o left join reorgs r on r.id = o.reorg_id where r.id is null";
    assert_eq!(texts(&lived, alone).await, Vec::<String>::new());
    let (lived, fresh) = (dump(&lived).await, dump(&fresh).await);
    assert_eq!(lived, fresh);
}

/// One group goes a few blocks on, and now and then misses some of its logs.
async fn forward(chain: &ChainStore, model: &mut Model) {
    for _ in 0..model.random.below(4) {
        model.grow();
    }
    let group = usize::from(model.random.small(2));
    let width = 1 + model.random.below(4);
    let Some(mut step) = model.step(group, width) else { return };
    if model.random.below(3) == 0 {
        let keep: BTreeMap<_, _> =
            step.events.iter().map(|event| (event.place, model.random.below(2) == 0)).collect();
        step.events.retain(|event| keep[&event.place]);
    }
    chain.advance(&step).await.expect("advances");
    model.at[group] = Some(step.to);
}

/// The chain changes its mind above some block.
async fn reorg(store: &crate::Store, chain: &ChainStore, model: &mut Model) {
    let head = model.blocks.len() as u64;
    let to = head - model.random.below(head.min(6) + 1);
    if to == 0 {
        return;
    }
    let ancestor = model.block(to);
    rewind(chain, ancestor).await.expect("rewinds");
    model.fork += 1;
    model.blocks.truncate(usize::try_from(to).expect("small"));
    for at in &mut model.at {
        *at = at.map(|at| if at.number > to { ancestor } else { at });
    }
    let above = format!("select number::text from blocks where number > {to}");
    assert_eq!(texts(store, &above).await, Vec::<String>::new());
}

/// Every source reads again all it has.
async fn fill(chain: &ChainStore, model: &mut Model) {
    let reorgs = chain.snapshot().await.expect("reads").reorgs;
    for (group, sources) in GROUPS.iter().enumerate() {
        let Some(range) = model.at[group].and_then(|at| BlockRange::new(1, at.number)) else { continue };
        for source in *sources {
            let events = model.events_of(&[source], 1, range.to());
            let given = events.len() as u64;
            let backfill =
                Backfill { source: (*source).to_owned(), range, reorgs, events, dead_letters: vec![] };
            let filled = chain.backfill(&backfill).await.expect("backfills");
            assert_eq!((filled.missing.len() as u64 + filled.present, filled.differing), (given, vec![]));
        }
    }
}

/// An advance and its rewind leave no trace.
async fn there_and_back(store: &crate::Store, chain: &ChainStore, model: &mut Model) {
    let tip = model.at.iter().flatten().max().copied();
    let Some(tip) = tip else { return };
    for group in 0..2 {
        if let Some(step) = model.step(group, tip.number - model.at[group].map_or(0, |at| at.number)) {
            chain.advance(&step).await.expect("advances");
            model.at[group] = Some(step.to);
        }
    }
    let head = model.blocks.len();
    model.fork += 1;
    let before = dump(store).await;
    for _ in 0..3 {
        model.grow();
    }
    let at = model.at;
    for (group, width) in [(0, 3), (1, 2)] {
        let step = model.step(group, width).expect("the chain just grew");
        chain.advance(&step).await.expect("advances");
        model.at[group] = Some(step.to);
    }
    rewind(chain, tip).await.expect("rewinds");
    model.at = at;
    model.blocks.truncate(head);
    assert_eq!(dump(store).await, before);
}
