use chainflume_core::domain::{Address, AddressSet, BlockId, BlockRange, Event, Place, U256};

use super::fixture::*;
use crate::{Backfill, ChainStore, Checkpoint, Compared, ProvenBlocks, Rewind, Store};
use chainflume_db::StoreError;

pub(super) fn read(source: &str, reorgs: u64, events: Vec<Event>) -> Backfill {
    let range = BlockRange::new(1, 3).expect("in order");
    Backfill { source: source.to_owned(), range, reorgs, events, dead_letters: vec![] }
}

/// Everything that is disputed is proven to be wrong.
pub(super) async fn proven(chain: &ChainStore, reread: &Backfill) -> ProvenBlocks {
    let disputed = chain.disputed(reread).await.unwrap_or_default();
    ProvenBlocks {
        places: disputed.into_iter().map(|event| event.place).collect(),
        blocks: (1..=3).collect(),
    }
}

async fn repair(chain: &ChainStore, reread: &Backfill) -> Result<Compared, StoreError> {
    chain.repair(reread, &proven(chain, reread).await).await
}

fn at(block_number: u64, log_index: u32) -> Place {
    Place { block_number, tx_index: log_index / 3, log_index }
}

pub(super) fn blocks() -> [BlockId; 3] {
    [block(1, 0), block(2, 0), block(3, 0)]
}

/// What is on the chain: by source, token and vault.
pub(super) fn truth() -> (Vec<Event>, Vec<Event>) {
    let [one, two, three] = blocks();
    let token = vec![
        event(one, 0, transfer(0, 1, U256::from(9))),
        event(one, 1, approval(1, 2, U256::from(5))),
        event(two, 0, transfer(1, 2, U256::from(4))),
        event(three, 1, approval(1, 2, U256::from(7))),
    ];
    let vault = vec![event(two, 4, staked(1, 10)), event(three, 4, staked(1, 20))];
    (token, vault)
}

/// A chain with wrong events: what is missing, what differs and what never was.
pub(super) async fn deceived(store: &Store) -> ChainStore {
    let chain = open(store).await;
    let [one, two, three] = blocks();
    let events = vec![
        event(one, 0, transfer(0, 1, U256::from(9))),
        event(one, 1, approval(1, 2, U256::from(6))),
        event(two, 0, transfer(1, 3, U256::from(4))),
        event(two, 7, transfer(0, 4, U256::from(1))),
        event(three, 1, approval(1, 2, U256::from(7))),
        event(three, 8, approval(1, 2, U256::from(1_000))),
        event(one, 5, staked(2, 1)),
        event(three, 4, staked(1, 20)),
    ];
    let mut step = step(None, three, events);
    step.refs = vec![one, two];
    chain.advance(&step).await.expect("advances");
    chain
}

async fn types(store: &Store, above: u64) -> Vec<String> {
    let sql = format!("select state || ' ' || type from outbox where seq > {above} order by seq");
    texts(store, &sql).await
}

#[tokio::test]
async fn a_comparison_names_every_place_and_changes_nothing() {
    let store = store().await;
    let chain = deceived(&store).await;
    let before = dump(&store).await;
    let (token, vault) = truth();
    assert_eq!(
        chain.compare(&read("token", 0, token)).await.expect("compares"),
        Compared {
            present: 2,
            missing: vec![],
            differing: vec![at(1, 1), at(2, 0)],
            surplus: vec![at(2, 7), at(3, 8)],
            not_followed: 0
        }
    );
    let found = chain.compare(&read("vault", 0, vault)).await.expect("compares");
    assert_eq!(
        found,
        Compared {
            present: 1,
            missing: vec![at(2, 4)],
            differing: vec![],
            surplus: vec![at(1, 5)],
            not_followed: 0
        }
    );
    assert!(!found.agrees());
    assert_eq!(dump(&store).await, before);
}

#[tokio::test]
async fn every_table_after_a_repair_is_that_of_an_honest_chain() {
    let store = store().await;
    let chain = deceived(&store).await;
    let last: u64 = texts(&store, "select max(seq)::text from outbox").await[0].parse().expect("a number");
    let (token, vault) = truth();
    repair(&chain, &read("token", 0, token.clone())).await.expect("repairs");
    assert_eq!(
        types(&store, last).await,
        [
            "retracted erc20.approval",
            "retracted erc20.mint",
            "retracted erc20.transfer",
            "retracted erc20.approval",
            "confirmed erc20.approval",
            "confirmed erc20.transfer",
        ]
    );
    // No writer may go on with what it read before.
    let stale = repair(&chain, &read("vault", 0, vault.clone())).await;
    assert!(stale.expect_err("refused").is_conflict());
    repair(&chain, &read("vault", 1, vault.clone())).await.expect("repairs");
    for (source, events) in [("token", &token), ("vault", &vault)] {
        let found = chain.compare(&read(source, 2, events.clone())).await.expect("compares");
        assert_eq!((found.agrees(), found.present), (true, events.len() as u64));
        repair(&chain, &read(source, 2, events.clone())).await.expect("nothing to do");
    }
    assert_eq!(
        texts(&store, "select reason || events from reorgs order by id").await,
        ["repair4", "repair1"]
    );

    let fresh_store = super::fixture::store().await;
    let fresh = open(&fresh_store).await;
    let [one, two, three] = blocks();
    let mut step = step(None, three, token.into_iter().chain(vault).collect());
    step.refs = vec![one, two];
    fresh.advance(&step).await.expect("advances");
    assert_eq!(dump(&store).await, dump(&fresh_store).await);
}

#[tokio::test]
async fn what_is_not_proven_stays_and_what_is_missing_is_added() {
    let store = store().await;
    let chain = deceived(&store).await;
    let (token, vault) = truth();
    let some = ProvenBlocks { places: [at(2, 7), at(1, 1)].into(), blocks: [].into() };
    let done = chain.repair(&read("token", 0, token.clone()), &some).await.expect("repairs");
    assert_eq!((done.missing, done.differing, done.surplus), (vec![], vec![at(1, 1)], vec![at(2, 7)]));
    let left = chain.compare(&read("token", 1, token)).await.expect("compares");
    assert_eq!((left.differing, left.surplus), (vec![at(2, 0)], vec![at(3, 8)]));
    let done =
        chain.repair(&read("vault", 1, vault.clone()), &ProvenBlocks::default()).await.expect("repairs");
    assert_eq!((done.missing, done.surplus), (vec![at(2, 4)], vec![]));
    let left = chain.compare(&read("vault", 1, vault)).await.expect("compares");
    assert_eq!((left.missing, left.surplus), (vec![], vec![at(1, 5)]));
}

#[tokio::test]
async fn what_a_source_does_not_follow_any_more_is_no_difference() {
    let store = store().await;
    let chain = deceived(&store).await;
    let stranger = AddressSet::Only([Address::repeat_byte(0x99)].into());
    let chain = chain.following([("token".to_owned(), stranger)].into());
    let nothing = read("token", 0, vec![]);
    let found = chain.compare(&nothing).await.expect("compares");
    assert!(found.agrees());
    assert_eq!(found.not_followed, 6);
    assert_eq!(chain.disputed(&nothing).await.expect("reads"), []);
    let before = dump(&store).await;
    let all = ProvenBlocks { places: [at(1, 0), at(2, 7)].into(), blocks: [1].into() };
    chain.repair(&nothing, &all).await.expect("has nothing to do");
    assert_eq!(dump(&store).await, before);
}

#[tokio::test]
async fn blocks_of_another_chain_are_no_repair() {
    let store = store().await;
    let chain = deceived(&store).await;
    let before = dump(&store).await;
    let other = vec![event(block(3, 1), 1, approval(1, 2, U256::from(7)))];
    assert!(repair(&chain, &read("token", 0, other)).await.expect_err("refused").is_conflict());
    assert_eq!(dump(&store).await, before);
}

#[tokio::test]
async fn an_operators_rewind_below_final_takes_verification_along() {
    let store = store().await;
    let chain = deceived(&store).await;
    execute(&store, "update chains set final_number = 3").await;
    chain.set_verified("token", 3, 0).await.expect("verified");
    assert_eq!(chain.verified().await.expect("reads"), [None, Some(3), None, None]);
    let expected: Vec<Checkpoint> = chain.snapshot().await.expect("reads").checkpoints;
    let rewind = |by_operator| Rewind { expected: expected.clone(), to: block(1, 0), by_operator };
    assert!(matches!(chain.rewind(&rewind(false)).await, Err(StoreError::BelowFinal { .. })));
    let done = chain.rewind(&rewind(true)).await.expect("rewinds");
    assert_eq!((done.depth, done.events), (2, 5));
    assert_eq!(chain.verified().await.expect("reads"), [None, Some(1), None, None]);
    let held = chain.snapshot().await.expect("reads");
    assert_eq!((held.final_number, held.reorgs), (Some(1), 1));
    assert_eq!(texts(&store, "select reason from reorgs").await, ["rewind"]);
    assert!(chain.set_verified("token", 3, 0).await.expect_err("stale").is_conflict());
    assert_eq!(chain.known_at_or_below(9).await.expect("reads"), Some(block(1, 0)));
    assert_eq!(chain.hash_at(2).await.expect("reads"), None);
}

#[tokio::test]
async fn a_comparison_reads_no_more_than_a_page_of_stored_events() {
    let store = store().await;
    let chain = open(&store).await;
    let [one, two, three] = blocks();
    let of = |at: BlockId, count: u32| {
        (0..count).map(move |index| event(at, index, transfer(0, 1, U256::from(1))))
    };
    let events = of(one, 3).chain(of(two, 3)).chain(of(three, 9)).collect();
    advance(&chain, None, block(9, 0), events).await.expect("advances");
    let page = async |from, to| {
        let range = BlockRange::new(from, to).expect("in order");
        let page = chain.first_page("token", range).await.expect("reads");
        (page.from(), page.to())
    };
    // Four events are a page in tests; a block is never divided.
    assert_eq!(page(1, 9).await, (1, 1));
    assert_eq!(page(2, 9).await, (2, 2));
    assert_eq!(page(3, 9).await, (3, 3));
    assert_eq!(page(4, 9).await, (4, 9));
    assert_eq!(page(1, 1).await, (1, 1));
}

#[tokio::test]
async fn a_few_enormous_events_are_a_page_of_a_comparison() {
    let store = store().await;
    let chain = open(&store).await;
    let five_mebibytes = format!(r#"{{"text":"{}"}}"#, "a".repeat(5 << 20));
    let events = blocks().map(|at| event(at, 0, note(&five_mebibytes))).to_vec();
    advance(&chain, None, block(9, 0), events).await.expect("advances");
    let range = BlockRange::new(1, 9).expect("in order");
    let page = chain.first_page("misc", range).await.expect("reads");
    assert_eq!((page.from(), page.to()), (1, 2), "two of three: with them eight mebibytes are full");
}
