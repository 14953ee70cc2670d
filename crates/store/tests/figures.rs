//! What the store costs: memory of what is taken back, time of a block. `make figures-store`; not part of the test run.

use std::time::{Duration, Instant};

use alloy_primitives::keccak256;
use chainflume_core::domain::{
    Address, AddressSet, Aggregate, B256, BlockId, Column, Event, EventKey, EventKind, Fact, FollowedEvent,
    KindIndex, Place, Projection, StartBlock, TopicFilter, U256, ViewColumn,
};
use chainflume_db::Settings;
use chainflume_store::{
    Advance, ChainRecord, ChainStore, Checkpoint, PublishFrom, Rewind, SourceRecord, Store,
};
use chainflume_testkit::postgres as testing;

const SIGNATURE: &str = "Transfer(address,address,uint256)";

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

async fn store() -> Store {
    let settings = Settings {
        url: testing::database().await,
        max_connections: 4,
        acquire_timeout: Duration::from_secs(30),
    };
    Store::connect(&settings).await.expect("the database is there")
}

fn name(source: u64) -> String {
    format!("token_{source}")
}

/// A chain of so many ERC-20 sources.
async fn open(store: &Store, sources: u64) -> ChainStore {
    let topic0 = Some(keccak256(SIGNATURE.as_bytes()));
    let key = EventKey {
        topic0,
        topics: 3,
        declaration: SIGNATURE.to_owned(),
        signature: SIGNATURE.to_owned(),
        filter: TopicFilter::default(),
    };
    let follows = |source| -> FollowedEvent { (key.clone(), AddressSet::Only([contract(source)].into())) };
    let source = |source| SourceRecord {
        name: name(source),
        family: "erc20".to_owned(),
        start_block: StartBlock::Number(1),
        end_block: None,
        decimals: None,
        publish_from: PublishFrom::Start,
        follows: vec![follows(source)],
    };
    let record = ChainRecord {
        chain_id: 1,
        name: "mainnet".to_owned(),
        genesis_hash: None,
        create_missing_users: false,
        sources: (0..sources).map(source).collect(),
    };
    let column = |name: &str, column| ViewColumn { name: name.to_owned(), argument: name.to_owned(), column };
    let kind = |source| EventKind {
        source: name(source),
        event_type: "erc20.transfer".to_owned(),
        view: format!("view_{source}"),
        other_view: format!("other_{source}"),
        event: "Transfer".to_owned(),
        signature: SIGNATURE.to_owned(),
        projection: Projection::Balance,
        columns: vec![
            column("from", Column::Account),
            column("to", Column::Counterparty),
            column("value", Column::Amount),
        ],
        aggregate: Aggregate::Token,
    };
    let kinds: Vec<EventKind> = (0..sources).map(kind).collect();
    store.open_chain(&record, &kinds).await.expect("the chain opens")
}

fn contract(source: u64) -> Address {
    Address::left_padding_from(&(source + 1).to_be_bytes())
}

fn block(number: u64) -> BlockId {
    BlockId { number, hash: B256::left_padding_from(&(number + 1).to_be_bytes()) }
}

/// An event of this source.
fn transfer_of(source: u64, at: BlockId) -> Event {
    let mut event = transfer(at, u32::try_from(source).expect("few sources"));
    event.address = contract(source);
    event.fact.kind = KindIndex(usize::try_from(source).expect("few sources"));
    event
}

fn transfer(at: BlockId, index: u32) -> Event {
    let wallet = |n: u64| Some(Address::left_padding_from(&(1_000_000 + n).to_be_bytes()));
    let fact = Fact {
        kind: KindIndex(0),
        account: wallet(at.number),
        counterparty: wallet(at.number * 1_000 + u64::from(index)),
        amount: Some(U256::from(index + 1)),
        token_id: None,
        args: None,
    };
    Event {
        place: Place { block_number: at.number, tx_index: index, log_index: index },
        block_hash: at.hash,
        block_time: 1_700_000_000 + at.number,
        tx_hash: B256::left_padding_from(&u64::from(index).to_be_bytes()),
        address: contract(0),
        fact,
    }
}

fn checkpoints(sources: u64, at: Option<BlockId>) -> Vec<Checkpoint> {
    (0..sources).map(|source| Checkpoint { source: name(source), at }).collect()
}

fn step(sources: u64, from: Option<BlockId>, to: BlockId, events: Vec<Event>) -> Advance {
    Advance {
        expected: checkpoints(sources, from),
        to,
        refs: vec![],
        final_number: 0,
        events,
        dead_letters: vec![],
        head: to.number,
        seen_at: None,
        durable: false,
    }
}

/// Resident memory of this process in MiB: now, and at most since [`forget_peak`].
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let found = status.lines().find_map(|found| found.strip_prefix(line)).expect("the line is there");
    let kib: u64 = found.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024
}

fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux lets a process forget its peak");
}

/// How long the head of the outbox is locked while `work` runs.
async fn with_head_watched<T>(store: &Store, work: impl Future<Output = T>) -> (T, Duration) {
    let pool = store.pool().clone();
    let watch = tokio::spawn(async move {
        let mut locked = Duration::ZERO;
        loop {
            let look = "select seq from outbox_head for update nowait";
            if sqlx::query(look).execute(&pool).await.is_err() {
                locked += Duration::from_millis(20);
            }
            WATCHED
                .store(u64::try_from(locked.as_millis()).unwrap_or(0), std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let done = work.await;
    watch.abort();
    (done, Duration::from_millis(WATCHED.load(std::sync::atomic::Ordering::Relaxed)))
}

static WATCHED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures: make figures-store"]
async fn a_rewind_of_many_published_events() {
    let events = number_from("FIGURES_EVENTS", 200_000);
    let (store, per_block) = (store().await, 500);
    let chain = open(&store, 1).await;
    let mut at = None;
    for first in (1..=events / per_block).step_by(20) {
        let blocks = (first..first + 20).map(block);
        let stored: Vec<Event> =
            blocks.clone().flat_map(|at| (0..500).map(move |index| transfer(at, index))).collect();
        let to = block(first + 19);
        chain.advance(&step(1, at, to, stored)).await.expect("advances");
        at = Some(to);
    }
    let before = memory("VmRSS:");
    forget_peak();
    let started = Instant::now();
    let rewind = Rewind { expected: checkpoints(1, at), to: block(1), by_operator: true };
    let (rewound, locked) = with_head_watched(&store, chain.rewind(&rewind)).await;
    let rewound = rewound.expect("rewinds");
    println!(
        "rewind of {} events: {:.1} s, memory {before} MiB before and {} MiB at most, outbox head locked {:.1} s",
        rewound.events,
        started.elapsed().as_secs_f64(),
        memory("VmHWM:"),
        locked.as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures: make figures-store"]
async fn a_block_of_many_sources() {
    let sources = number_from("FIGURES_SOURCES", 4_000);
    let store = store().await;
    let started = Instant::now();
    let chain = open(&store, sources).await;
    let opened = started.elapsed();
    chain.follow().await.expect("follows");
    let followed = started.elapsed() - opened;
    chain.advance(&step(sources, None, block(1), vec![])).await.expect("advances");
    let started = Instant::now();
    let blocks = 20;
    for number in 1..=blocks {
        let step =
            step(sources, Some(block(number)), block(number + 1), vec![transfer(block(number + 1), 0)]);
        chain.advance(&step).await.expect("advances");
    }
    println!(
        "{sources} sources: opened in {:.1} s, what they follow written in {:.1} s, a block in {:.1} ms",
        opened.as_secs_f64(),
        followed.as_secs_f64(),
        started.elapsed().as_secs_f64() * 1000.0 / f64::from(u32::try_from(blocks).expect("few"))
    );
    chain.follow().await.expect("follows");
    let to = block(blocks + 2);
    let of_each = (0..sources).map(|source| transfer_of(source, to)).collect();
    chain.advance(&step(sources, Some(block(blocks + 1)), to, of_each)).await.expect("advances");
    let started = Instant::now();
    let chain = open(&store, sources).await;
    let opened = started.elapsed();
    chain.follow().await.expect("follows");
    println!(
        "with an event of each: opened again in {:.1} s, and what they follow written in {:.1} s",
        opened.as_secs_f64(),
        (started.elapsed() - opened).as_secs_f64()
    );
}
