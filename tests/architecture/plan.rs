//! Which package and which room may know which, and why. A change here is a change of the house: its commit gives the reason.

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
    /// The rooms that may use it, of those packages that have one of them; elsewhere all may.
    pub rooms: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

/// Modules of one folder that use each other.
pub struct Circle {
    /// Their package.
    pub package: &'static str,
    /// Below its `src/`; empty for the top.
    pub folder: &'static str,
    /// In alphabetical order.
    pub modules: &'static [&'static str],
    /// Why they stay together.
    pub reason: &'static str,
}

/// Tables and the package that writes them.
pub struct Tables {
    /// The only packages with a statement that writes to these tables: one, unless the reason says why not.
    pub writers: &'static [&'static str],
    /// As the migrations name them.
    pub names: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

const fn tables(
    writers: &'static [&'static str],
    names: &'static [&'static str],
    reason: &'static str,
) -> Tables {
    Tables { writers, names, reason }
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

/// No I/O, no runtime, no logs: what they do is a function of what they are given; new keys and tickets are random.
pub const PURE: &[&str] = &["core", "api"];

/// Every package. Each has a heavy dependency of its own or a wall that the compiler keeps; what has neither is a room.
/// Cargo refuses what a package does not list; this is why the lists are as short as they are.
pub const PACKAGES: &[Package] = &[
    package("core", &[], "all packages share its words, and it knows none of theirs"),
    package("ops", &[], "logs, metrics and health know nothing of chains"),
    package(
        "api",
        &[],
        "who may see what is decided from a credential and a name, and routes are described, without HTTP or tables",
    ),
    package("node", &["core", "ops"], "it asks nodes and does not know what the answers are for"),
    package("db", &["core"], "it reaches the database and knows no table of a chain"),
    package("outbox", &["core", "db"], "it has messages and does not know what they are about"),
    package("store", &["core", "db", "outbox"], "tables know neither a node nor a sink"),
    package(
        "index",
        &["core", "ops", "node", "db", "store"],
        "it moves logs from a chain to the store, and nowhere else",
    ),
    package(
        "deliver",
        &["core", "ops", "db", "outbox", "store"],
        "what is downstream knows neither `node` nor `index`",
    ),
    package(
        "gateway",
        &["api", "core", "ops", "db", "outbox"],
        "it pushes what is stored and answers for other crates, and knows neither sinks nor chains nor those crates",
    ),
    package(
        "publish",
        &["api", "core", "ops", "db", "outbox"],
        "it writes the application's facts, also by the clock and by stored balances, and knows neither chains, sinks nor the listener",
    ),
    package(
        "follow",
        &["core", "db", "ops"],
        "it follows transactions for packages that do not know each other, and knows neither them nor how a node is asked",
    ),
    package(
        "inbound",
        &["api", "core", "db", "follow", "ops", "outbox"],
        "it keeps what providers say, and reads what the chain says from stored events and followed transactions",
    ),
    package("devchain", &["core"], "a chain knows nothing of its readers"),
    package("testkit", &[], "servers for tests know nothing of what is tested"),
    package(
        "",
        &[
            "api", "core", "ops", "node", "db", "outbox", "store", "index", "deliver", "gateway", "publish",
            "follow", "inbound", "devchain",
        ],
        "the program builds the parts and joins them",
    ),
];

/// The rooms of the packages that have several.
pub const ROOMS: &[Room] = &[
    room("core", "settings", &[], "every room of every package reads its own settings with it"),
    room("core", "domain", &["settings"], "the words that all others use"),
    room("core", "canon", &["domain", "settings"], "what the chain is, is decided from facts alone"),
    room("core", "decode", &["domain"], "bytes mean the same wherever they come from"),
    room("core", "mapping", &["domain", "decode"], "meaning knows no tables"),
    room("core", "messages", &["domain"], "a message is composed from facts, wherever these are stored"),
    room("api", "access", &[], "a right is decided without knowing what is asked for"),
    room("api", "routes", &["access"], "a request names its caller; no route is known"),
    room("ops", "metrics", &[], "every room may count"),
    room("ops", "backoff", &[], "every loop that retries waits by it"),
    room(
        "ops",
        "health",
        &["metrics"],
        "the loops write it and everybody reads it; an error has one word in both",
    ),
    room("ops", "tls", &[], "every client may name it"),
    room("ops", "http", &["text", "tls"], "it sends a request and does not know what is in it"),
    room("ops", "text", &[], "it looks at one character"),
    room("ops", "telemetry", &["metrics"], "every room may log, and lost lines are counted"),
    room("ops", "shutdown", &["telemetry"], "the last lines of a process are written before it ends"),
    room("ops", "supervise", &["health", "metrics"], "it runs any loop and knows none"),
    room(
        "ops",
        "alert",
        &["health", "metrics", "http", "supervise"],
        "it reads health and posts what is wrong; its sender is a task beside its loop",
    ),
    room("deliver", "sink", &[], "it takes messages and does not know where they are stored"),
    room("deliver", "relay", &["sink"], "it moves messages from the outbox to sinks"),
    room("gateway", "push", &[], "from a message to events is decided without knowing who listens"),
    room("gateway", "feed", &["push"], "it hands out messages and does not know what clients speak"),
    room(
        "gateway",
        "grants",
        &[],
        "it keeps what callers were given, and knows neither clients nor messages",
    ),
    room(
        "gateway",
        "socketio",
        &["tcp", "websocket"],
        "it moves packets of a protocol, also over WebSockets, and does not know what is in them",
    ),
    room(
        "gateway",
        "websocket",
        &["tcp"],
        "it moves messages of a protocol and does not know what is in them",
    ),
    room("gateway", "tcp", &[], "it moves bytes and knows no protocol"),
    room("gateway", "dashboard", &[], "pages are files, and do not know who asks"),
    room(
        "gateway",
        "server",
        &["feed", "push", "grants", "socketio", "tcp", "websocket", "dashboard"],
        "it speaks to clients and decides nothing",
    ),
    room(
        "publish",
        "trigger",
        &[],
        "it publishes by the clock, by stored balances and by answers, as the rest of the package does, which does not know it",
    ),
    room("", "lease", &[], "which instance leads is independent of what it does then"),
    room("", "postgres", &[], "to the store, a server is a URL"),
    room("", "admin", &[], "it reads and does not write"),
    room(
        "",
        "config",
        &["lease", "postgres", "admin"],
        "it fills in the settings of the parts, and only the joiners know it",
    ),
    room(
        "",
        "roles",
        &["lease", "postgres", "admin", "config"],
        "it builds the loops of a daemon and joins them; commands use the same parts",
    ),
    room("", "app", &["roles", "postgres", "admin", "config"], "a command joins what the roles build"),
    room("", "cli", &["app", "admin", "config"], "no room knows the command line"),
];

/// Outside crates with a home.
pub const HOMES: &[Home] = &[
    home("croner", &["publish"], &["trigger"], "one room knows the times of cron expressions"),
    home("jiff", &["publish"], &[], "zones are where cron expressions and people are"),
    home("jsonschema", &["publish"], &[], "one package checks payloads of strangers"),
    home("ring", &["api"], &["access"], "one package checks signatures of tokens"),
    home(
        "sqlx",
        &["db", "outbox", "store", "testkit", "gateway", "publish", "follow", "inbound"],
        &["grants", "feed"],
        "SQL is in the packages that write tables; the feed looks up balances beside messages",
    ),
    home("axum", &["", "devchain", "gateway"], &["admin", "server", "dashboard"], "these serve HTTP"),
    home(
        "hyper",
        &["gateway"],
        &["server", "socketio", "tcp", "websocket"],
        "one room sets the limits of connections, three take them over",
    ),
    home(
        "reqwest",
        &["", "node", "ops"],
        &["admin", "http"],
        "nodes, a running daemon and strangers are asked, each in one place",
    ),
    home("tokio_tungstenite", &["node", "devchain"], &[], "nodes are followed in one package"),
    home("redis", &["deliver"], &["sink"], "one room speaks to Redis"),
    home("clap", &[""], &["cli"], "one room knows the command line"),
    home("clap_complete", &[""], &["cli"], "one room knows the command line"),
    home("clap_mangen", &[""], &["cli"], "one room knows the command line"),
    home("indicatif", &[""], &["cli", "app"], "one room knows the terminal, and the demo is a show"),
    home("anyhow", &[""], &["roles", "app", "cli"], "elsewhere an error is a decision: one enum per room"),
];

/// Type names with more than one definition, and why. The list only gets shorter.
pub const SHARED_TYPE_NAMES: &[(&str, &str)] = &[(
    "Settings",
    "each crate has one, which other crates write with its path: `gateway::server::Settings`",
)];

/// Modules of one folder that use each other in a circle, and why. The list only gets shorter.
pub const CIRCLES: &[Circle] = &[Circle {
    package: "devchain",
    folder: "",
    modules: &["faults", "handle"],
    reason: "a chain has faults, and a hook of a test gets the chain",
}];

/// Files that are compiled in place of another of their package, by a feature: their types have the names of the other's.
pub const ALTERNATIVES: &[(&str, &str)] = &[("devchain", "faultless.rs")];

/// Every table of the migrations.
pub const TABLES: &[Tables] = &[
    tables(&["db"], &["instances", "leases", "write_probe"], "they are about instances and the server"),
    tables(
        &["store"],
        &[
            "blocks",
            "deferred_indexes",
            "endpoints",
            "event_kinds",
            "events",
            "followed",
            "nft_owners",
            "orphaned_events",
            "pending_events",
            "reorgs",
            "source_groups",
            "sources",
            "stakes",
            "token_allowances",
            "token_balances",
            "users",
        ],
        "advance and rewind write them in one transaction",
    ),
    tables(
        &["db", "store"],
        &["chains"],
        "the transaction that takes a lease raises the epoch in the chain's row, which fences the holder before",
    ),
    tables(
        &["outbox", "store"],
        &["dead_letters"],
        "a letter is of a delivery or of a log, which a constraint keeps apart, and no letter changes sides",
    ),
    tables(&["follow"], &["watched_transactions"], "transactions that a reorg may still change"),
    tables(
        &["inbound"],
        &["inbound_deliveries", "inbound_hints"],
        "webhooks of providers, and whether the chain confirms them",
    ),
    tables(&[], &["user_ids"], "a trigger keeps the id of a user that is deleted"),
    tables(&["gateway"], &["request_answers", "tickets"], "they are about callers of the public server"),
    tables(
        &["gateway", "publish"],
        &["revocations"],
        "tokens of users: the transaction that makes one person of two revokes of each what is revoked of the other",
    ),
    tables(
        &["publish"],
        &[
            "activities",
            "activity_changes",
            "application_users",
            "balance_watch",
            "domain_events",
            "limit_crossings",
            "schedules",
            "thresholds",
            "user_alerts",
            "user_aliases",
            "user_devices",
            "user_wallets",
        ],
        "they are the application's, with how far the daemon is in what it publishes by itself",
    ),
    tables(
        &["outbox"],
        &[
            "adopted_streams",
            "deliveries",
            "outbox",
            "outbox_epochs",
            "outbox_head",
            "outbox_room_index",
            "outbox_rooms",
            "sink_cursors",
            "sink_states",
        ],
        "messages and how far each sink has them",
    ),
];
