use thiserror::Error;

/// Maximum size of an ABI file in bytes: enough for an artifact with bytecode and syntax tree.
pub const MAX_ABI_BYTES: usize = 16 * 1024 * 1024;

/// Why a text gives no events.
#[derive(Debug, Error)]
pub enum AbiError {
    /// See [`MAX_ABI_BYTES`].
    #[error("{bytes} bytes are too many for an ABI (at most {MAX_ABI_BYTES}); is this the right file?")]
    TooLarge {
        /// Size of the text.
        bytes: usize,
    },
    /// Not JSON; the cause names line and column.
    #[error("not JSON: {0}")]
    NotJson(serde_json::Error),
    /// JSON, but not an ABI.
    #[error(
        "not an ABI but {found}; give the ABI array, a compiler's artifact or output, or a block explorer's answer"
    )]
    NotAbi {
        /// What the JSON holds instead.
        found: &'static str,
    },
    /// Several contracts, and none is named.
    #[error("{what}{}", if .contracts.is_empty() { String::new() } else { format!(": {}", .contracts.join(", ")) })]
    Contracts {
        /// What is wrong: no contract of this name, or no name given.
        what: String,
        /// Names of the contracts in the file.
        contracts: Vec<String>,
    },
    /// An ABI without events.
    #[error("the ABI declares no events")]
    NoEvents,
    /// All events that cannot be read.
    #[error("{}; correct or remove these events in the file", join(.0))]
    Events(Vec<EventProblem>),
    /// A name that the ABI does not declare.
    #[error("no event `{wanted}` in the ABI; it has {}", .known.join(", "))]
    UnknownEvent {
        /// The name that was requested.
        wanted: String,
        /// Signatures that the ABI declares.
        known: Vec<String>,
    },
}

/// An event of an ABI that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventProblem {
    /// Its name, or its position in the ABI where it has none.
    pub event: String,
    /// Why it cannot be read.
    pub reason: String,
}

fn join(problems: &[EventProblem]) -> String {
    let texts: Vec<String> = problems.iter().map(|p| format!("event {}: {}", p.event, p.reason)).collect();
    texts.join("; ")
}
