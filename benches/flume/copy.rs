//! Rows of `events` in PostgreSQL's binary `COPY` format. The bench has its own encoder: the floor must not depend on
//! the code that it is compared with.

use chainflume_core::domain::U256;

use super::source::CHAIN_ID;
use super::workload::{Workload, block_hash, block_time, tx_hash};

/// The columns that [`row`] writes.
pub const COLUMNS: &str = "chain_id, block_number, tx_index, log_index, block_time, kind_id, projection, block_hash, \
                           tx_hash, address, account, counterparty, amount, token_id, args";
/// Signature, flags, length of the header extension.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// No more rows.
pub const TRAILER: &[u8] = &[0xff, 0xff];
/// Seconds between the epochs of Unix and PostgreSQL.
const POSTGRES_EPOCH: u64 = 946_684_800;

/// Appends the row of one log.
pub fn row(out: &mut Vec<u8>, workload: Workload, number: u64, index: u64) {
    let entry = workload.entry(number, index);
    let (projection, kind) = match workload {
        Workload::Events => (b'n', 1_i32),
        Workload::Erc20 if index < 8 => (b'b', 1),
        Workload::Erc20 => (b'a', 2),
        Workload::Erc721 if index < 8 => (b'o', 1),
        Workload::Erc721 => (b'n', 2),
        Workload::Staked => (b's', 1),
    };
    out.extend(15_i16.to_be_bytes());
    for value in [CHAIN_ID, number, index, index] {
        field(out, Some(&value.to_be_bytes()));
    }
    field(out, Some(&((block_time(number) - POSTGRES_EPOCH) * 1_000_000).to_be_bytes()));
    field(out, Some(&kind.to_be_bytes()));
    field(out, Some(&[projection]));
    field(out, Some(block_hash(number).as_slice()));
    field(out, Some(tx_hash(number, index).as_slice()));
    field(out, Some(workload.address().as_slice()));
    field(out, Some(entry.account.as_slice()));
    field(out, entry.counterparty.as_ref().map(|address| address.as_slice()));
    let value = numeric(entry.number);
    let (amount, token) = if workload.number_is_topic() { (None, Some(value)) } else { (Some(value), None) };
    field(out, amount.as_deref());
    field(out, token.as_deref());
    field(out, None);
}

fn field(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let length = bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).expect("no field here has 2 GiB"));
    out.extend(length.to_be_bytes());
    out.extend(bytes.unwrap_or_default());
}

/// Number of digits, weight of the first, sign, decimals shown, digits of base 10000.
fn numeric(mut value: U256) -> Vec<u8> {
    let mut digits: Vec<u16> = Vec::new();
    while !value.is_zero() {
        let (rest, digit) = value.div_rem(U256::from(10_000));
        digits.push(digit.to());
        value = rest;
    }
    let weight = u16::try_from(digits.len().saturating_sub(1)).expect("20 digits at most");
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
    let count = u16::try_from(digits.len()).expect("20 digits at most");
    let words = [count, weight, 0, 0].into_iter().chain(digits.into_iter().rev());
    words.flat_map(u16::to_be_bytes).collect()
}
