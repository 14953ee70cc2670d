//! Which package and which room may know which, and why. A change here is a change of the house: its commit says why.

/// A package of the workspace.
pub struct Package {
    /// Its folder in `crates/`; `""` is the program itself.
    pub name: &'static str,
    /// The packages of the workspace that its `Cargo.toml` may list, those for tests apart.
    pub knows: &'static [&'static str],
    /// Why no more.
    pub reason: &'static str,
}

/// A module at the top of a package that has several.
pub struct Room {
    /// Its package.
    pub package: &'static str,
    /// As in `lib.rs`.
    pub name: &'static str,
    /// The rooms of the same package that it may use besides itself.
    pub knows: &'static [&'static str],
    /// Why no more.
    pub reason: &'static str,
}

/// An outside crate that has a home.
pub struct Home {
    /// As Rust code names it.
    pub name: &'static str,
    /// The packages that may list it, those for tests apart.
    pub packages: &'static [&'static str],
    /// The rooms of these packages that may use it; empty where all may.
    pub rooms: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

const fn package(name: &'static str, knows: &'static [&'static str], reason: &'static str) -> Package {
    Package { name, knows, reason }
}

const fn room(
    package: &'static str,
    name: &'static str,
    knows: &'static [&'static str],
    reason: &'static str,
) -> Room {
    Room { package, name, knows, reason }
}

const fn home(
    name: &'static str,
    packages: &'static [&'static str],
    rooms: &'static [&'static str],
    reason: &'static str,
) -> Home {
    Home { name, packages, rooms, reason }
}

/// No I/O, no runtime, no logs: what it does is a function of what it is given.
pub const PURE: &str = "core";

/// Every package. Cargo refuses what a package does not list; this is why the lists are as short as they are.
pub const PACKAGES: &[Package] = &[
    package("core", &[], "its words are everybody's, and it knows nobody"),
    package("ops", &[], "logs, metrics and health know nothing of chains"),
    package("access", &[], "who may see what is decided from a credential and a name, without HTTP or tables"),
    package("node", &["core", "ops"], "it asks nodes and does not know what the answers are for"),
    package("store", &["core"], "tables know neither a node nor a sink"),
    package(
        "index",
        &["core", "ops", "node", "store"],
        "it moves logs from a chain to the store, and nowhere else",
    ),
    package("deliver", &["core", "ops", "store"], "what is downstream knows neither `node` nor `index`"),
    package("devchain", &["core"], "a chain knows nothing of its readers"),
    package("testkit", &[], "servers for tests know nothing of what is tested"),
    package(
        "",
        &["core", "ops", "node", "store", "index", "deliver", "devchain"],
        "the program builds the parts and joins them",
    ),
];

/// The rooms of the packages that have several.
pub const ROOMS: &[Room] = &[
    room("core", "domain", &[], "the words that all others use"),
    room("core", "canon", &["domain"], "what to believe is decided from facts alone"),
    room("core", "decode", &["domain"], "bytes mean the same wherever they come from"),
    room("core", "mapping", &["domain", "decode"], "meaning knows no tables"),
    room("ops", "metrics", &[], "every room may count"),
    room("ops", "health", &[], "the loops write it and everybody reads it"),
    room("ops", "tls", &[], "every client may name it"),
    room("ops", "post", &["tls"], "it sends a request and does not know what is in it"),
    room("ops", "telemetry", &["metrics"], "every room may log, and lost lines are counted"),
    room("ops", "shutdown", &["telemetry"], "the last lines of a process are written before it ends"),
    room("ops", "supervise", &["health", "metrics"], "it runs any loop and knows none"),
    room("ops", "alert", &["health", "metrics", "post"], "it reads health and posts what is wrong"),
    room("deliver", "sink", &[], "it takes messages and does not know where they are stored"),
    room("deliver", "relay", &["sink"], "it moves messages from the outbox to sinks"),
    room("", "lease", &[], "which instance leads is independent of what it does then"),
    room("", "postgres", &[], "to the store, a server is a URL"),
    room("", "api", &[], "it reads and does not write"),
    room(
        "",
        "config",
        &["postgres", "api"],
        "it fills in the settings of the parts, and only the joiners know it",
    ),
    room(
        "",
        "app",
        &["lease", "postgres", "api", "config"],
        "it builds the parts; the command line builds it",
    ),
    room("", "cli", &["app", "api", "config"], "no room knows the command line"),
];

/// Outside crates with a home.
pub const HOMES: &[Home] = &[
    home("ring", &["access"], &[], "one package checks signatures of tokens"),
    home("sqlx", &["store", "testkit"], &[], "one package opens transactions"),
    home("axum", &["", "devchain"], &["api"], "these two serve HTTP"),
    home(
        "reqwest",
        &["", "node", "ops"],
        &["api", "post"],
        "nodes, a running daemon and strangers are asked, each in one place",
    ),
    home("tokio_tungstenite", &["node", "devchain"], &[], "nodes are followed in one package"),
    home("redis", &["deliver"], &["sink"], "one room speaks to Redis"),
    home("clap", &[""], &["cli"], "one room knows the command line"),
    home("clap_complete", &[""], &["cli"], "one room knows the command line"),
    home("clap_mangen", &[""], &["cli"], "one room knows the command line"),
    home("indicatif", &[""], &["cli", "app"], "one room knows the terminal, and the demo is a show"),
    home("anyhow", &[""], &["app", "cli"], "elsewhere an error is a decision: one enum per room"),
];
