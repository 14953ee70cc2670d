//! Decodes raw logs into typed logs. The key is address, first topic and number of topics.
//!
//! The number of topics is part of the key because ERC-20 and ERC-721 share the first topic of `Transfer` and differ in
//! the number of indexed arguments. A log with another number of topics is malformed if the source names the contract.
//! Otherwise the log belongs to no source.
//!
//! The `reader` decodes the bytes, not alloy-dyn-abi. That decoder accepts dirty upper bits, replaces invalid UTF-8,
//! and copies bytes once for each offset that points to them. alloy-dyn-abi resolves type names and encodes here.

mod abi;
mod abi_error;
mod abi_type;
mod canonical;
mod decoder;
mod event;
mod fit;
mod forms;
mod names;
mod overlap;
mod reader;
mod value;

#[cfg(test)]
mod tests;

pub use abi::{Abi, RepeatedDeclaration, parse_abi, read_abi, read_abi_of, read_declarations, select};
pub use abi_error::{AbiError, EventProblem, MAX_ABI_BYTES};
pub use abi_type::AbiType;
pub use decoder::{DecodeOutcome, Decoder};
pub use event::{AbiEvent, Param, SourceAbi, SourceIndex, SupplyChange};
pub use fit::{AbiFit, abi_fit};
pub(crate) use names::unique_names;
pub use overlap::{Overlap, overlaps};
pub use value::{TypedLog, Value};
