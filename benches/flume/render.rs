//! Answers written directly as bytes: the source must cost little compared with the daemon.

use std::io::Write as _;

use alloy_primitives::hex;
use chainflume_core::domain::B256;

use super::workload::{LOGS_PER_BLOCK, Workload, block_hash, block_time, tx_hash};

/// Approximate size of one log, so that a buffer is allocated once.
const LOG_BYTES: usize = 800;

/// The logs of `blocks`, as a JSON array.
pub fn logs(workload: Workload, blocks: std::ops::RangeInclusive<u64>) -> Vec<u8> {
    let count =
        usize::try_from((blocks.end() + 1).saturating_sub(*blocks.start()) * LOGS_PER_BLOCK).unwrap_or(0);
    let mut out = Vec::with_capacity(count * LOG_BYTES + 2);
    let mut before = Vec::new();
    before.extend(b"{\"address\":");
    word(&mut before, workload.address().as_slice());
    before.extend(b",\"topics\":[");
    out.push(b'[');
    for number in blocks {
        let mut place = Vec::with_capacity(200);
        place.extend(b",\"blockHash\":");
        word(&mut place, block_hash(number).as_slice());
        put(
            &mut place,
            format_args!(",\"blockTimestamp\":\"{:#x}\",\"blockNumber\":\"{number:#x}\"", block_time(number)),
        );
        for index in 0..LOGS_PER_BLOCK {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend(&before);
            log(&mut out, workload, number, index);
            out.extend(&place);
            out.push(b'}');
        }
    }
    out.push(b']');
    out
}

fn log(out: &mut Vec<u8>, workload: Workload, number: u64, index: u64) {
    let entry = workload.entry(number, index);
    word(out, entry.topic0.as_slice());
    for address in [Some(entry.account), entry.counterparty].into_iter().flatten() {
        out.push(b',');
        word(out, address.into_word().as_slice());
    }
    let value = B256::from(entry.number.to_be_bytes());
    if workload.number_is_topic() {
        out.push(b',');
        word(out, value.as_slice());
        out.extend(b"],\"data\":\"0x\"");
    } else {
        out.extend(b"],\"data\":");
        word(out, value.as_slice());
    }
    out.extend(b",\"transactionHash\":");
    word(out, tx_hash(number, index).as_slice());
    put(
        out,
        format_args!(",\"transactionIndex\":\"{index:#x}\",\"logIndex\":\"{index:#x}\",\"removed\":false"),
    );
}

/// A block's header, with the fields nodes send.
pub fn header(number: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(1600);
    put(
        &mut out,
        format_args!("{{\"number\":\"{number:#x}\",\"timestamp\":\"{:#x}\",\"hash\":", block_time(number)),
    );
    word(&mut out, block_hash(number).as_slice());
    out.extend(b",\"parentHash\":");
    let parent = number.checked_sub(1).map_or(B256::ZERO, block_hash);
    word(&mut out, parent.as_slice());
    // Every bit is set: a reader that checks blooms reads every block, which the bench needs.
    out.extend(b",\"logsBloom\":");
    word(&mut out, &[0xff; 256]);
    for root in ["sha3Uncles", "stateRoot", "transactionsRoot", "receiptsRoot", "mixHash"] {
        put(&mut out, format_args!(",\"{root}\":"));
        word(&mut out, &[0x11; 32]);
    }
    out.extend(
        b",\"miner\":\"0x0000000000000000000000000000000000000000\",\"nonce\":\"0x0000000000000000\",\
          \"difficulty\":\"0x0\",\"gasLimit\":\"0x1c9c380\",\"gasUsed\":\"0x0\",\"extraData\":\"0x\",\
          \"baseFeePerGas\":\"0x7\",\"size\":\"0x220\",\"transactions\":[],\"uncles\":[]}",
    );
    out
}

fn word(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(b"\"0x");
    let at = out.len();
    out.resize(at + 2 * bytes.len(), 0);
    hex::encode_to_slice(bytes, &mut out[at..]).expect("the room for two digits a byte was just made");
    out.push(b'"');
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes any bytes");
}
