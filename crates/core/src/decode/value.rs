use std::sync::Arc;

use alloy_primitives::I256;

use super::event::{AbiEvent, SourceIndex};
use crate::domain::{Address, B256, Bytes, U256};

/// A log with names and types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedLog {
    /// The source that the log belongs to.
    pub source: SourceIndex,
    /// The event that the log encodes.
    pub event: Arc<AbiEvent>,
    /// The arguments, one for each of `event.params`.
    pub args: Vec<Value>,
}

/// The value of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `address`.
    Address(Address),
    /// `uint<bits>`.
    Uint(U256),
    /// `int<bits>`.
    Int(I256),
    /// `bool`.
    Bool(bool),
    /// `bytes<len>`: its bytes are the first `len` of the word, the others are zero.
    FixedBytes {
        /// Left-aligned.
        word: B256,
        /// 1 to 32.
        len: usize,
    },
    /// `bytes`; shares the memory of the log's data.
    Bytes(Bytes),
    /// `string` as the log has it: not always UTF-8, and it may hold NUL.
    Text(Bytes),
    /// Keccak-256 of an indexed argument that does not fit a topic; the argument itself is not in the log.
    Hash(B256),
    /// `T[]` or `T[n]`.
    Array(Vec<Value>),
    /// A struct's members in order; their names are in the type.
    Tuple(Vec<Value>),
}
