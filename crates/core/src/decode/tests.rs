//! What decode promises, by topic. The helpers here make logs.

mod abi;
mod hostile;
mod keys;
mod overlap;
mod property;
mod real;
mod values;

use std::sync::Arc;

use alloy_primitives::U256;

use super::{AbiEvent, DecodeOutcome, Decoder, SourceAbi, SourceIndex, Value, parse_abi};
use crate::domain::{Address, AddressSet, B256, Bytes, Log, Place, Topics};

pub(crate) const ERC20: &str = include_str!("../../../../abi/ERC20.json");
pub(crate) const ERC721: &str = include_str!("../../../../abi/ERC721.json");
pub(crate) const KITTIES: &str = include_str!("../../../../abi/CryptoKitties.json");

/// The events of an ABI that is right.
pub(crate) fn events(json: &str) -> Vec<Arc<AbiEvent>> {
    parse_abi(json).expect("the ABI is right").into_iter().map(Arc::new).collect()
}

/// One event from short hand: `("E", false, &[("a", "uint256", true)])`.
pub(crate) fn declare(name: &str, anonymous: bool, params: &[(&str, &str, bool)]) -> Arc<AbiEvent> {
    let inputs: Vec<_> = params
        .iter()
        .map(|(name, ty, indexed)| serde_json::json!({ "name": name, "type": ty, "indexed": indexed }))
        .collect();
    let item =
        serde_json::json!([{ "type": "event", "name": name, "inputs": inputs, "anonymous": anonymous }]);
    events(&item.to_string()).remove(0)
}

pub(crate) fn only(bytes: &[u8]) -> AddressSet {
    AddressSet::Only(bytes.iter().map(|byte| Address::repeat_byte(*byte)).collect())
}

pub(crate) fn source(index: usize, addresses: AddressSet, events: Vec<Arc<AbiEvent>>) -> SourceAbi {
    SourceAbi { source: SourceIndex(index), addresses, events }
}

/// A log of the contract `0x<address><address>…`.
pub(crate) fn log(address: u8, topics: &[B256], data: impl Into<Bytes>) -> Log {
    Log {
        place: Place { block_number: 1, tx_index: 0, log_index: 0 },
        block_hash: B256::ZERO,
        tx_hash: B256::ZERO,
        block_timestamp: None,
        address: Address::repeat_byte(address),
        topics: Topics::new(topics).expect("at most four topics"),
        data: data.into(),
    }
}

/// Words one after the other.
pub(crate) fn data(words: &[B256]) -> Bytes {
    words.concat().into()
}

pub(crate) fn number(value: u64) -> B256 {
    U256::from(value).into()
}

pub(crate) fn account(byte: u8) -> B256 {
    Address::repeat_byte(byte).into_word()
}

/// Decodes a log of `event` with everything in its data.
fn decode_data(event: &Arc<AbiEvent>, data: Bytes) -> Result<Vec<Value>, String> {
    let decoder = Decoder::new(vec![source(0, AddressSet::Any, vec![Arc::clone(event)])]);
    match decoder.decode(&log(1, &[event.topic0], data)) {
        DecodeOutcome::Typed(log) => Ok(log.args),
        DecodeOutcome::Malformed { reason, .. } => Err(reason),
        DecodeOutcome::Foreign => panic!("the log is ours"),
    }
}
