//! The sources a case may configure, and what each of them is to hold of a log: by address, first topic
//! and number of topics alone, so that it can witness against decode.

use alloy_primitives::{Address, B256, address, b256};
use chainflume_core::domain::Log;
use chainflume_devchain::{
    APPROVAL, APPROVAL_FOR_ALL, CONSECUTIVE_TRANSFER, DEMO_NFT, DEMO_TOKEN, STAKE_VAULT, STAKED, TRANSFER,
};

/// An ERC-20 whose logs are whatever a case likes.
pub const COIN: Address = address!("0xc014000000000000000000000000000000000020");
/// An ERC-721 that indexes nothing, like CryptoKitties.
pub const KITTIES: Address = address!("0xca75000000000000000000000000000000000721");
/// Strings and arrays.
pub const NOTES: Address = address!("0x0e05000000000000000000000000000000000001");
/// First topic of `Note(address,string,bytes32[])`.
pub const NOTE: B256 = b256!("0xb214472bb6393047b637020326f2aacf1c86a244a19d701106b2ff1b410a33bd");

/// How many there are.
pub const COUNT: usize = 6;

struct Kind {
    name: &'static str,
    family: &'static str,
    address: Address,
    more: &'static str,
    /// First topics of the events that it follows.
    events: &'static [B256],
}

const KINDS: [Kind; COUNT] = [
    Kind { name: "vault", family: "stake", address: STAKE_VAULT, more: "", events: &[STAKED] },
    Kind { name: "token", family: "erc20", address: DEMO_TOKEN, more: "", events: &[TRANSFER, APPROVAL] },
    Kind {
        name: "nft",
        family: "erc721",
        address: DEMO_NFT,
        more: "",
        events: &[TRANSFER, APPROVAL, APPROVAL_FOR_ALL, CONSECUTIVE_TRANSFER],
    },
    Kind { name: "coin", family: "erc20", address: COIN, more: "", events: &[TRANSFER, APPROVAL] },
    Kind {
        name: "kitties",
        family: "erc721",
        address: KITTIES,
        more: "abi = \"abi/CryptoKitties.json\"\nevents = [\"Transfer\"]\n",
        events: &[TRANSFER],
    },
    Kind {
        name: "notes",
        family: "generic",
        address: NOTES,
        more: "abi = \"tests/store/property/Notes.json\"\nuser = \"author\"\n",
        events: &[NOTE],
    },
];

/// Some of the sources.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sources(pub u8);

impl Sources {
    pub const ALL: Self = Self((1 << COUNT) - 1);

    pub fn indices(self) -> impl Iterator<Item = usize> {
        (0..COUNT).filter(move |index| self.0 & (1 << index) != 0)
    }

    pub fn names(self) -> Vec<&'static str> {
        self.indices().map(name).collect()
    }

    /// Their tables in a config, each beginning at its own block.
    pub fn toml(self, starts: &[u64; COUNT]) -> String {
        let table = |index: usize| {
            let kind = &KINDS[index];
            let table = crate::flume::source(kind.name, kind.family, kind.address, starts[index]);
            table + "publish_from = \"start\"\n" + kind.more
        };
        self.indices().map(table).collect()
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names().join("+"))
    }
}

pub fn name(index: usize) -> &'static str {
    KINDS[index].name
}

pub fn index_of(name: &str) -> Option<usize> {
    KINDS.iter().position(|kind| kind.name == name)
}

/// The source that has to keep `log`, as an event or as a dead letter.
pub fn keeper(log: &Log) -> Option<usize> {
    let topics = log.topics.as_slice();
    let first = *topics.first()?;
    // Another number of topics than in the ABI is a dead letter of the source.
    let named = |kind: &&Kind| kind.address == log.address && kind.events.contains(&first);
    KINDS.iter().position(|kind| named(&kind))
}
