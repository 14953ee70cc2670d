use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

/// Why a request got no answer. The text never contains more of the URL than its host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The URL cannot be parsed or used.
    #[error("the url cannot be used: {0}; write https://host/path")]
    Url(String),
    /// The certificate authority cannot be read.
    #[error("the certificate authority is not PEM: {0}")]
    Authority(String),
    /// The host resolves to an address that other parties must not make the daemon call.
    #[error("{host} resolves to {address}, {kind}; where that is meant, name the host in allow_hosts")]
    Forbidden {
        /// The host in the URL.
        host: String,
        /// The address that it resolved to.
        address: IpAddr,
        /// The kind of that address.
        kind: &'static str,
    },
    /// No answer in time.
    #[error("{host} has not answered within {after:?}")]
    Timeout {
        /// Host and port.
        host: String,
        /// The timeout.
        after: Duration,
    },
    /// An answer with an error status, or too long.
    #[error("{host} {what}")]
    Answer {
        /// Host and port.
        host: String,
        /// The problem.
        what: String,
    },
    /// TLS failed: the server, or the client, cannot prove who it is.
    #[error("{host} cannot be reached: {reason}; {remedy}")]
    Untrusted {
        /// Host and port.
        host: String,
        /// The cause, from the TLS library.
        reason: String,
        /// What helps.
        remedy: Cow<'static, str>,
    },
    /// No connection, or it broke.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// The cause, from the operating system.
        reason: String,
    },
}
