//! Bytes to typed logs: by (address, first topic, number of topics), and by nothing weaker.
//!
//! The number of topics is part of the key because ERC-20 and ERC-721 share the first topic of
//! `Transfer` and differ in how many arguments are indexed. A log whose count is not the ABI's is
//! never a guess: it is malformed where the source names the contract, and foreign elsewhere.
//!
//! The bytes are walked by code of our own (`reader`) and not by alloy-dyn-abi, whose decoder takes
//! dirty upper bits for clean ones, turns invalid UTF-8 into replacement characters and copies bytes
//! that many offsets point to once for each of them. It resolves type names and encodes for us.

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
pub use event::{AbiEvent, Param, SourceAbi, SourceIndex};
pub use fit::{AbiFit, abi_fit};
pub(crate) use names::unique_names;
pub use overlap::{Overlap, overlaps};
pub use value::{TypedLog, Value};
