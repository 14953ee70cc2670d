use alloy_primitives::{B256, U256, keccak256};

use super::trie::{list, string};

/// A field of a block's header, in the order of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderField {
    /// A hash, an address, a bloom filter or other bytes.
    Bytes(Vec<u8>),
    /// A number: big-endian without leading zeros.
    Number(U256),
}

/// The hash of a block whose header has these fields (Yellow Paper, 4.4.3; EIP-1559, 4895, 4844, 4788 and 7685 add fields).
pub fn header_hash(fields: &[HeaderField]) -> B256 {
    let encode = |field: &HeaderField| match field {
        HeaderField::Bytes(bytes) => string(bytes),
        HeaderField::Number(number) => string(&number.to_be_bytes_trimmed_vec()),
    };
    keccak256(list(&fields.iter().map(encode).collect::<Vec<_>>()))
}
