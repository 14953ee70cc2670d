use alloy_primitives::Bytes;

use super::*;
use chainflume_core::domain::{Place, TopicValues, Topics};

const A: Address = Address::repeat_byte(0xa);
const B: Address = Address::repeat_byte(0xb);
const STRANGER: Address = Address::repeat_byte(0xc);
const TRANSFER: B256 = B256::repeat_byte(1);
const APPROVAL: B256 = B256::repeat_byte(2);
/// An indexed argument.
const WHO: B256 = B256::repeat_byte(3);

type Emitted = (Address, B256);

fn filter(addresses: &[Address], topics: &[B256]) -> LogFilter {
    let addresses = Some(addresses.iter().copied().collect()).filter(|_| !addresses.is_empty());
    let topic0 = Some(topics.iter().copied().collect()).filter(|_| !topics.is_empty());
    LogFilter { addresses, topic0, values: TopicValues::default() }
}

fn bloom(block: &[Emitted]) -> Bloom {
    let mut bloom = Bloom::ZERO;
    block.iter().for_each(|(address, topic)| bloom.accrue_raw_log(*address, &[*topic, WHO]));
    bloom
}

fn answer(logs: &[Emitted]) -> AnsweredItems {
    let log = |(index, (address, topic)): (u32, &Emitted)| Log {
        place: Place { block_number: 1, tx_index: 0, log_index: index },
        block_hash: B256::ZERO,
        tx_hash: B256::ZERO,
        block_timestamp: None,
        address: *address,
        topics: Topics::new(&[*topic, WHO]).expect("two"),
        data: Bytes::new(),
    };
    AnsweredItems::of(&(0..).zip(logs).map(log).collect())
}

/// Whether the answer `logs` to this filter does not account for the bloom of `block`.
fn has_mismatch(filter: &LogFilter, block: &[Emitted], logs: &[Emitted]) -> bool {
    !mismatches(&bloom(block), filter, &answer(logs)).is_empty()
}

/// A bloom with so many of its bits set, spread out.
fn filled(ones: usize) -> Bloom {
    let mut bloom = Bloom::ZERO;
    // An odd step passes each bit of 2048 once.
    (0..ones).map(|bit| bit * 1_001 % 2048).for_each(|bit| bloom[bit / 8] |= 1 << (bit % 8));
    bloom
}

#[test]
fn an_empty_answer_is_a_mismatch_where_the_bloom_holds_its_pair() {
    let both = filter(&[A, B], &[TRANSFER, APPROVAL]);
    assert!(has_mismatch(&both, &[(A, TRANSFER)], &[]));
    assert!(!has_mismatch(&both, &[], &[]));
    assert!(!has_mismatch(&filter(&[B], &[TRANSFER]), &[(A, TRANSFER)], &[]));
    assert!(!has_mismatch(&filter(&[A], &[APPROVAL]), &[(A, TRANSFER)], &[]));
}

#[test]
fn one_of_two_contracts_that_is_left_out_is_a_mismatch() {
    let both = filter(&[A, B], &[TRANSFER]);
    let block = [(A, TRANSFER), (B, TRANSFER)];
    assert!(!has_mismatch(&both, &block, &block));
    assert!(has_mismatch(&both, &block, &block[..1]));
    assert!(has_mismatch(&both, &block, &block[1..]));
}

#[test]
fn one_of_two_events_that_is_left_out_is_a_mismatch() {
    let both = filter(&[A], &[TRANSFER, APPROVAL]);
    let block = [(A, TRANSFER), (A, APPROVAL)];
    assert!(!has_mismatch(&both, &block, &block));
    assert!(has_mismatch(&both, &block, &block[..1]));
    // And of two contracts that both have other logs, in a block of few.
    let both = filter(&[A, B], &[TRANSFER, APPROVAL]);
    let block = [(A, TRANSFER), (B, APPROVAL), (A, APPROVAL), (STRANGER, WHO)];
    assert!(has_mismatch(&both, &block, &block[..2]));
}

#[test]
fn for_any_contract_the_topics_alone_are_evidence() {
    let any = filter(&[], &[TRANSFER, APPROVAL]);
    let block = [(A, TRANSFER), (B, APPROVAL)];
    assert!(!has_mismatch(&any, &block, &block));
    assert!(has_mismatch(&any, &block, &block[..1]));
    assert!(has_mismatch(&any, &block, &[]));
    // All logs there are: whatever the bloom holds beyond them is left out.
    let all = filter(&[], &[]);
    assert!(!has_mismatch(&all, &block, &block));
    assert!(has_mismatch(&all, &block, &block[..1]));
}

#[test]
fn one_bloom_hit_in_ten_thousand_addresses_is_chance() {
    let address = |n: u64| Address::left_padding_from(&n.to_be_bytes());
    let many: Vec<Address> = (0..10_000).map(address).collect();
    let ours = filter(&many, &[TRANSFER]);
    // Every tenth bit: ten of ten thousand addresses are held by chance.
    let mut crowded = filled(205);
    crowded.accrue_raw_log(STRANGER, &[TRANSFER]);
    let hits = many.iter().filter(|address| holds(&crowded, address.as_slice())).count();
    assert!((1..30).contains(&hits), "{hits}");
    let chance = |bloom: &Bloom| {
        let found = mismatches(bloom, &ours, &answer(&[(many[0], TRANSFER)]));
        let of_address = |mismatch: &&Mismatch| match mismatch {
            Mismatch::Pair(pair) => pair.topic0 == Some(TRANSFER) && pair.address != Some(many[0]),
            _ => false,
        };
        found.iter().filter(of_address).count()
    };
    let mut sparse = bloom(&[(many[0], TRANSFER), (many[77], TRANSFER)]);
    assert_eq!(chance(&sparse), 1);
    assert_eq!(chance(&crowded), 0);
    let mut of_ours = crowded;
    (1..60).for_each(|n| of_ours.accrue_raw_log(many[n * 100], &[TRANSFER]));
    assert!(chance(&of_ours) >= 50);
    sparse.accrue_bloom(&filled(1100));
    assert_eq!(chance(&sparse), 0);
}

#[test]
fn an_answer_under_a_full_bloom_is_checked_at_random() {
    let (full, blind) = (Bloom::repeat_byte(0xff), [Mismatch::Blind].into());
    for ours in [filter(&[A], &[TRANSFER]), filter(&[], &[TRANSFER]), filter(&[A, B], &[])] {
        assert_eq!(mismatches(&full, &ours, &answer(&[])), blind);
        assert_eq!(mismatches(&full, &ours, &answer(&[(A, TRANSFER)])), blind);
    }
    assert!(!Mismatch::Blind.has_evidence() && Mismatch::Chance.has_evidence());
}

#[test]
fn the_probability_of_so_many_by_chance_is_poissons() {
    for (count, mean, expected) in
        [(0, 3.0, 1.0), (1, 0.0, 0.0), (1, 0.166, 0.153), (2, 0.5, 0.0902), (5, 5.0, 0.5595)]
    {
        let found = at_least(count, mean);
        assert!((found - expected).abs() < 0.001, "{count} of {mean}: {found}");
    }
    assert!(at_least(1, 5_000.0) > 0.99);
}

const OTHER: B256 = B256::repeat_byte(4);

/// A filter for transfers of one contract to these.
fn to(values: &[B256]) -> LogFilter {
    let values = [None, Some(values.iter().copied().collect()), None];
    LogFilter { values, ..filter(&[A], &[TRANSFER]) }
}

/// A bloom of transfers of that contract to these.
fn transfers(to: &[B256]) -> Bloom {
    let mut bloom = Bloom::ZERO;
    to.iter().for_each(|to| bloom.accrue_raw_log(A, &[TRANSFER, WHO, *to]));
    bloom
}

fn transfers_answered(to: &[B256]) -> AnsweredItems {
    let log = |(index, to): (u32, &B256)| Log {
        place: Place { block_number: 1, tx_index: 0, log_index: index },
        block_hash: B256::ZERO,
        tx_hash: B256::ZERO,
        block_timestamp: None,
        address: A,
        topics: Topics::new(&[TRANSFER, WHO, *to]).expect("three"),
        data: Bytes::new(),
    };
    AnsweredItems::of(&(0..).zip(to).map(log).collect())
}

#[test]
fn logs_that_values_leave_out_are_not_missing() {
    let mine = B256::repeat_byte(5);
    let found = |block: &[B256], logs: &[B256]| {
        mismatches(&transfers(block), &to(&[mine]), &transfers_answered(logs))
    };
    assert_eq!(found(&[OTHER], &[]), BTreeSet::new(), "the bloom excludes the value");
    let missing = Mismatch::Pair(AddressTopic { address: None, topic0: Some(mine) });
    assert_eq!(found(&[OTHER, mine], &[]), BTreeSet::from([missing]), "it holds the value");
    let more = found(&[OTHER, mine], &[mine]);
    assert!(!more.iter().any(Mismatch::has_evidence), "{more:?}");
    assert_eq!(found(&[mine], &[mine]), BTreeSet::new());
    // What is without a log of the contract is not there, whatever the value.
    let mut elsewhere = Bloom::ZERO;
    elsewhere.accrue_raw_log(STRANGER, &[TRANSFER, WHO, mine]);
    assert_eq!(mismatches(&elsewhere, &to(&[mine]), &transfers_answered(&[])), BTreeSet::new());
}

#[test]
fn a_value_is_a_mismatch_where_chance_seldom_explains_it() {
    let many: Vec<B256> = (1..=200u8).map(B256::with_last_byte).collect();
    let mut sparse = filled(200);
    sparse.accrue_raw_log(A, &[TRANSFER, WHO, many[7]]);
    let found = mismatches(&sparse, &to(&many), &transfers_answered(&[]));
    assert!(found.iter().any(Mismatch::has_evidence), "{found:?}");
    let crowded = filled(1_800);
    let found = mismatches(&crowded, &to(&many), &transfers_answered(&[]));
    assert!(found.iter().all(|subject| *subject == Mismatch::Blind), "{found:?}");
}
