//! Conversions between the domain's types and PostgreSQL's, checked both ways.
//!
//! # Errors
//! [`StoreError::OutOfRange`] for a value that the other type does not have.

use chainflume_core::domain::{Address, B256, BlockId, U256};

use crate::StoreError;

/// Seconds from the Unix epoch to PostgreSQL's (2000-01-01).
pub const POSTGRES_EPOCH: i64 = 946_684_800;
/// Last second of the year 294275: PostgreSQL's timestamps end in the year after.
const LAST_SECOND: i64 = 9_224_286_307_199;

/// A number as `bigint`. `what` names it in an error.
pub fn int8(what: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::OutOfRange { what, value: value.to_string() })
}

/// A `bigint` that is never below zero. `what` names it in an error.
pub fn unsigned(what: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::OutOfRange { what, value: value.to_string() })
}

/// A count or an index that fits by construction: lengths in memory, `count(*)`.
pub fn count(value: i64) -> u64 {
    value.unsigned_abs()
}

/// Seconds since the Unix epoch, if PostgreSQL has a timestamp for it.
pub fn seconds(value: u64) -> Result<i64, StoreError> {
    match i64::try_from(value) {
        Ok(seconds) if seconds <= LAST_SECOND => Ok(seconds),
        _ => Err(StoreError::OutOfRange { what: "block time", value: value.to_string() }),
    }
}

/// A `bytea` of 32 bytes.
pub fn hash(bytes: &[u8]) -> Result<B256, StoreError> {
    B256::try_from(bytes).map_err(|_| wrong_length("hash", bytes))
}

/// A `bytea` of 20 bytes.
pub fn address(bytes: &[u8]) -> Result<Address, StoreError> {
    Address::try_from(bytes).map_err(|_| wrong_length("address", bytes))
}

/// A block's number and hash.
pub fn block_id(number: i64, bytes: &[u8]) -> Result<BlockId, StoreError> {
    Ok(BlockId { number: unsigned("block number", number)?, hash: hash(bytes)? })
}

/// A `numeric(78, 0)` read as text.
pub fn u256(text: &str) -> Result<U256, StoreError> {
    U256::from_str_radix(text, 10)
        .map_err(|_| StoreError::OutOfRange { what: "number", value: text.to_owned() })
}

fn wrong_length(what: &'static str, bytes: &[u8]) -> StoreError {
    StoreError::OutOfRange { what, value: format!("of {} bytes", bytes.len()) }
}
