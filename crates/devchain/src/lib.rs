//! The built-in development chain: a simulated EVM chain in memory, served as JSON-RPC over HTTP and WebSocket on one
//! port. `chainflume demo` uses it. Tests use it for what a real node does not do on command: reorgs of a chosen depth
//! and, with the feature `faults`, wrong answers, limits and disconnects. The program is built without that feature.
//!
//! There is no EVM. A transaction is a list of [`Action`]s on three contracts with fixed addresses ([`STAKE_VAULT`],
//! [`DEMO_TOKEN`], [`DEMO_NFT`]). Each action changes the [`Ledger`] and emits one log. The ledger never reads those
//! logs, so it is an independent reference for an indexer. Block hashes are not Ethereum header hashes, unless
//! [`Settings::header_hashes`] is set: they are a digest of parent, height, time, transactions and branch. State and
//! transaction roots are plausible and prove nothing; logs blooms are right.
//!
//! One seed and one sequence of calls give one chain, byte for byte.

mod action;
mod block;
mod call;
mod connection;
mod contracts;
mod error;
#[cfg(feature = "faults")]
mod faults;
#[cfg(not(feature = "faults"))]
#[path = "faultless.rs"]
mod faults;
mod handle;
mod header;
mod ledger;
mod miner;
mod rng;
mod rpc;
mod server;
mod state;
mod traffic;

#[cfg(test)]
mod tests;

pub use action::{Action, Call, RawLog, SignedTx};
pub use call::{Request, RpcError, Transport};
pub use contracts::{
    APPROVAL, APPROVAL_FOR_ALL, CONSECUTIVE_TRANSFER, DEMO_NFT, DEMO_TOKEN, STAKE_VAULT, STAKED, TRANSFER,
    WALLETS, wallet,
};
pub use error::DevChainError;
#[cfg(feature = "faults")]
pub use faults::{ActiveFault, Behaviour, BeyondHead, Cap, Edit, Effect, Faults, Lie, Rule, Wire};
pub use handle::{Branch, DevChain};
pub use ledger::{Ledger, Stake};
pub use miner::{Miner, MinerSettings};
pub use server::Server;
pub use state::Settings;
