use std::net::IpAddr;
use std::time::Duration;

/// Why a request got no answer. None of it shows more of the URL than its host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The URL leads nowhere.
    #[error("the url cannot be used: {0}; write https://host/path")]
    Url(String),
    /// The certificate authority cannot be read.
    #[error("the certificate authority is no PEM: {0}")]
    Authority(String),
    /// It leads to an address no stranger may have us call.
    #[error("{host} leads to {address}, {kind}; where that is meant, name the host in allow_hosts")]
    Forbidden {
        /// The host as it was written.
        host: String,
        /// What it resolved to.
        address: IpAddr,
        /// What kind of address that is.
        kind: &'static str,
    },
    /// No answer in time.
    #[error("{host} has not answered within {after:?}")]
    Timeout {
        /// Host and port.
        host: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// An answer that is no success, or too long.
    #[error("{host} {what}")]
    Answer {
        /// Host and port.
        host: String,
        /// What is wrong with it.
        what: String,
    },
    /// No connection, or it broke.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What the system says.
        reason: String,
    },
}
