//! Who may know whom, and why. A change here is a change of the house: say so in its commit.

/// A room of `src/`.
pub struct Room {
    /// As in `lib.rs`.
    pub name: &'static str,
    /// The rooms it may use besides itself.
    pub knows: &'static [&'static str],
    /// Why no more.
    pub reason: &'static str,
}

const fn room(name: &'static str, knows: &'static [&'static str], reason: &'static str) -> Room {
    Room { name, knows, reason }
}

/// What a room with I/O may use for its logs, figures and end.
pub const UTILITIES: &[&str] = &["health", "metrics", "shutdown", "telemetry", "tls"];

/// They build and join the others, so they may know all (only `cli` knows `cli`).
pub const JOINERS: &[&str] = &["app", "cli"];

/// No I/O, no runtime, no logs: what they do is a function of what they are given.
pub const PURE: &[&str] = &["domain", "canon", "decode", "mapping"];

/// The floor plan.
pub const ROOMS: &[Room] = &[
    room("domain", &[], "its words are everybody's"),
    room("canon", &["domain"], "what to believe is decided from facts alone"),
    room("chain", &["domain", "metrics", "telemetry", "tls"], "it asks nodes and knows not what for"),
    room("decode", &["domain"], "bytes mean the same wherever they come from"),
    room("mapping", &["domain", "decode"], "meaning knows no tables"),
    room("store", &["domain", "metrics"], "tables know no meaning and no node"),
    room(
        "indexer",
        &["domain", "chain", "canon", "decode", "mapping", "store", "health", "metrics", "telemetry"],
        "the spine carries from chain to store and nowhere else",
    ),
    room("sink", &["domain", "post", "tls"], "it takes messages and knows not where they are kept"),
    room(
        "relay",
        &["domain", "store", "sink", "health", "metrics", "telemetry"],
        "it carries from outbox to sink and nowhere else",
    ),
    room(
        "lease",
        &["domain", "store", "health", "metrics"],
        "who leads is not what it does: whoever leads is handed its turn by `app`",
    ),
    room("post", &["tls"], "it carries a request and knows not what it says"),
    room("alert", &["domain", "health", "metrics", "post"], "it reads the board and tells of it"),
    room("postgres", &["metrics"], "a server to the store is a URL"),
    room("devchain", &["domain"], "a chain knows nothing of who reads it"),
    room("api", &["domain", "health", "metrics", "tls"], "it reads and does not write"),
    room(
        "config",
        &[
            "domain",
            "canon",
            "chain",
            "decode",
            "mapping",
            "store",
            "sink",
            "indexer",
            "postgres",
            "devchain",
            "api",
            "metrics",
            "shutdown",
            "telemetry",
        ],
        "it fills in the settings each room owns; no room but the joiners knows it",
    ),
    room("health", &[], "the spine writes on it and everybody reads"),
    room("metrics", &["domain"], "every room may count"),
    room("tls", &[], "whoever connects may name it"),
    room("shutdown", &["telemetry"], "every room may end, and its last words are written"),
    room("supervise", &["health", "metrics"], "it runs any loop and knows none"),
    room("telemetry", &["metrics"], "every room may log, and what the log loses is counted"),
    room("app", &[], "it builds the parts; the command line builds it"),
    room("cli", &[], "nobody knows the command line"),
];

/// Crates with a home, the rooms they may be named in, and why.
pub const CRATES: &[(&str, &[&str], &str)] = &[
    ("sqlx", &["store"], "one room opens transactions"),
    ("axum", &["api", "devchain"], "these two serve HTTP"),
    (
        "reqwest",
        &["chain", "api", "post"],
        "one room asks nodes, one asks a running daemon, one calls strangers",
    ),
    ("tokio_tungstenite", &["chain"], "one room asks nodes"),
    ("redis", &["sink", "config", "app"], "one file speaks to it; these two know what it is called"),
    ("clap", &["cli"], "one room knows the command line"),
    ("clap_complete", &["cli"], "one room knows the command line"),
    ("clap_mangen", &["cli"], "one room knows the command line"),
    ("indicatif", &["cli", "app"], "one room knows the terminal, and the demo is a show"),
    ("anyhow", &["app", "cli"], "elsewhere an error is a decision: one enum per room"),
];
