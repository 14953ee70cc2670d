//! Logs no well-behaved contract emits, and those whose places matter: malformed data, too many or too few
//! topics, numbers at the edge, strings that are none, two owners of one token in one block.

use alloy_primitives::{Address, B256, U256};
use chainflume_devchain::{
    APPROVAL, Action, CONSECUTIVE_TRANSFER, Call, DEMO_NFT, DEMO_TOKEN, RawLog, STAKE_VAULT, STAKED,
    TRANSFER, wallet,
};

use super::sources::{COIN, KITTIES, NOTE, NOTES};
use crate::random::Random;

/// The transactions of one block.
pub fn block(seed: u64) -> Vec<Call> {
    let mut random = Random::new(seed);
    let calls = random.between(1, 5);
    (0..calls).map(|_| Call((0..=random.below(3)).map(|_| raw(&mut random)).collect())).collect()
}

fn raw(random: &mut Random) -> Action {
    Action::Raw(Box::new(log(random)))
}

fn log(random: &mut Random) -> RawLog {
    match random.below(20) {
        0..5 => coin(random),
        5..8 => kitty(random),
        8..11 => note(random),
        11 => owner(random),
        12 => owners(random),
        13 => {
            let amount = word(edge(random));
            staked(random, &amount)
        }
        _ => malformed(random),
    }
}

/// Few wallets, so that keys meet; sometimes the zero address.
fn who(random: &mut Random) -> Address {
    match random.below(5) {
        0 => Address::ZERO,
        n => wallet(n),
    }
}

fn edge(random: &mut Random) -> U256 {
    match random.below(5) {
        0 => U256::ZERO,
        1 => U256::MAX,
        2 => U256::MAX - U256::from(random.below(3)),
        _ => U256::from(random.below(1_000_000)),
    }
}

fn word(value: U256) -> Vec<u8> {
    value.to_be_bytes::<32>().to_vec()
}

fn topic(address: Address) -> B256 {
    address.into_word()
}

fn staked(random: &mut Random, data: &[u8]) -> RawLog {
    RawLog::new(STAKE_VAULT, &[STAKED, topic(who(random))], data)
}

fn coin(random: &mut Random) -> RawLog {
    let event = if random.percent(30) { APPROVAL } else { TRANSFER };
    RawLog::new(COIN, &[event, topic(who(random)), topic(who(random))], &word(edge(random)))
}

fn kitty(random: &mut Random) -> RawLog {
    let mut data = [topic(who(random)), topic(who(random))].concat();
    data.extend(word(U256::from(random.below(3))));
    if random.percent(15) {
        data.truncate(usize::try_from(random.below(96)).expect("short"));
    }
    RawLog::new(KITTIES, &[TRANSFER], &data)
}

/// An owner out of nowhere: the contract's own rules do not hold for raw logs.
fn owner(random: &mut Random) -> RawLog {
    let token = B256::from(U256::from(1 + random.below(3)));
    RawLog::new(DEMO_NFT, &[TRANSFER, topic(who(random)), topic(who(random)), token], &[])
}

/// Owners of several tokens at once. Some ranges are too long, or end before they begin.
fn owners(random: &mut Random) -> RawLog {
    let first = U256::from(random.below(4));
    let last = match random.below(6) {
        0 => edge(random),
        _ => first + U256::from(random.below(4)),
    };
    let topics = [CONSECUTIVE_TRANSFER, B256::from(first), topic(who(random)), topic(who(random))];
    RawLog::new(DEMO_NFT, &topics, &word(last))
}

/// A string with NUL, one that is not UTF-8, an ordinary one, or an offset into nowhere.
fn note(random: &mut Random) -> RawLog {
    let text: &[u8] = random.pick(&[b"nul \0 inside".as_slice(), b"\xff\xfe", b"plain", b"", b"\\u0000"]);
    let mut padded = text.to_vec();
    padded.resize(text.len().div_ceil(32) * 32, 0);
    let tags = random.below(3);
    let offset = if random.percent(10) { U256::MAX } else { U256::from(64) };
    let mut data = [word(offset), word(U256::from(96 + padded.len()))].concat();
    data.extend([word(U256::from(text.len())), padded, word(U256::from(tags))].concat());
    (0..tags).for_each(|tag| data.extend(word(U256::from(tag))));
    RawLog::new(NOTES, &[NOTE, topic(who(random))], &data)
}

fn malformed(random: &mut Random) -> RawLog {
    let (a, b) = (topic(who(random)), topic(who(random)));
    let dirty = B256::repeat_byte(0xff);
    let amount = word(edge(random));
    match random.below(10) {
        0 => RawLog::new(DEMO_TOKEN, &[TRANSFER, a, b], &amount[..31]),
        1 => RawLog::new(DEMO_TOKEN, &[TRANSFER, a, b], &[]),
        2 => RawLog::new(DEMO_TOKEN, &[TRANSFER, a, dirty], &amount),
        // An ERC-721's shape on the ERC-20, and the other way round: of no source.
        3 => RawLog::new(DEMO_TOKEN, &[TRANSFER, a, b, dirty], &[]),
        4 => RawLog::new(DEMO_NFT, &[TRANSFER, a, b], &amount),
        5 => RawLog::new(DEMO_TOKEN, &[TRANSFER], &[a.to_vec(), b.to_vec(), amount].concat()),
        6 => RawLog::new(DEMO_TOKEN, &[], &amount),
        7 => staked(random, &amount[..20]),
        8 => RawLog::new(COIN, &[TRANSFER, a, b], &[amount.clone(), amount].concat()),
        _ => RawLog::new(Address::repeat_byte(9), &[TRANSFER, a, b], &amount),
    }
}
