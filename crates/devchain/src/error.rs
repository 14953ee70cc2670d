use std::io;

use thiserror::Error;

/// Errors of the development chain: only those of the operating system.
#[derive(Debug, Error)]
pub enum DevChainError {
    /// The port is in use, or the address does not belong to this machine.
    #[error("the development chain cannot listen on {address}; name a free port, or port 0 for any")]
    Listen {
        /// The requested address.
        address: String,
        /// The cause.
        source: io::Error,
    },
}
