use thiserror::Error;

/// Bytes an ABI file may have: room for an artifact with bytecode and syntax tree.
pub const MAX_ABI_BYTES: usize = 16 * 1024 * 1024;

/// Why a text gives no events to listen for.
#[derive(Debug, Error)]
pub enum AbiError {
    /// See [`MAX_ABI_BYTES`].
    #[error("{bytes} bytes are too many for an ABI (at most {MAX_ABI_BYTES}); is this the right file?")]
    TooLarge {
        /// How many there are.
        bytes: usize,
    },
    /// Not JSON; the cause names line and column.
    #[error("not JSON: {0}")]
    NotJson(serde_json::Error),
    /// JSON of another kind.
    #[error(
        "not an ABI but {found}; give the ABI array, a compiler's artifact or output, or a block explorer's answer"
    )]
    NotAbi {
        /// What is there instead.
        found: &'static str,
    },
    /// Several contracts, and none is named.
    #[error("{what}{}", if .contracts.is_empty() { String::new() } else { format!(": {}", .contracts.join(", ")) })]
    Contracts {
        /// What is wrong with the name, or that there is none.
        what: String,
        /// Names of the contracts in the file.
        contracts: Vec<String>,
    },
    /// An ABI of functions alone.
    #[error("the ABI declares no events")]
    NoEvents,
    /// Events that cannot be read, all of them.
    #[error("{}; correct or remove these events in the file", join(.0))]
    Events(Vec<EventProblem>),
    /// A name that the ABI does not have.
    #[error("no event `{wanted}` in the ABI; it has {}", .known.join(", "))]
    UnknownEvent {
        /// As asked for.
        wanted: String,
        /// Signatures that the ABI has.
        known: Vec<String>,
    },
}

/// An event of an ABI that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventProblem {
    /// Its name, or its position in the ABI.
    pub event: String,
    /// What is wrong with it.
    pub reason: String,
}

fn join(problems: &[EventProblem]) -> String {
    let texts: Vec<String> = problems.iter().map(|p| format!("event {}: {}", p.event, p.reason)).collect();
    texts.join("; ")
}
