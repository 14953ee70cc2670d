use std::io;

use thiserror::Error;

/// What can go wrong with the development chain: only what it asks of the machine.
#[derive(Debug, Error)]
pub enum DevChainError {
    /// The port is taken, or the address is not this machine's.
    #[error("the development chain cannot listen on {address}; name a free port, or port 0 for any")]
    Listen {
        /// As it was asked for.
        address: String,
        /// Why.
        source: io::Error,
    },
}
