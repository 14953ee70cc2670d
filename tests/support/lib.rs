//! What the tests in `tests/` share: daemons, nodes and servers to start, ways to disturb them, and ways to compare what
//! is left. Only tests and benchmarks depend on it.
#![expect(missing_docs, reason = "it is read beside the tests, where a name is seen in use")]

/// A real EVM node.
pub mod anvil;
/// A load balancer before several nodes.
pub mod balancer;
/// A connection to a database that loses an answer on command.
pub mod cable;
/// Certificates of an authority that belongs to one test.
pub mod certificates;
/// A PostgreSQL server of one test, with replicas.
pub mod cluster;
/// What a consumer makes of the messages in Redis.
pub mod consumer;
/// The real binary, its configuration, its output and its admin address.
pub mod daemon;
/// The loops of a daemon inside the test.
pub mod flume;
/// The messages about pending and confirmed events, one after the other.
pub mod fold;
/// Triggers that record everything that is committed.
pub mod journal;
/// The metrics in the code.
pub mod metrics;
/// The metrics that a query uses.
pub mod promql;
/// A proxy that cuts and delays connections.
pub mod proxy;
/// Random numbers that a seed repeats.
pub mod random;
/// A receiver of webhooks.
pub mod receiver;
/// A Redis server.
pub mod redis_server;
/// Redis as a single server, with Sentinel and as a Cluster.
pub mod redis_sets;
/// How servers of Redis are reached.
pub mod redis_wiring;
/// The tasks that deliver messages inside the test.
pub mod relays;
/// A chain, a daemon and the story of what was committed. It makes the development chain fail on command.
#[cfg(feature = "faults")]
pub mod scene;
/// The schema of messages.
pub mod schema;
/// The story in a journal, checked against the chain.
pub mod story;
/// What the daemon reports to systemd.
pub mod systemd;
/// All rows of all tables.
pub mod tables;
/// Waits for a condition.
pub mod wait;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use chainflume_testkit::postgres;

/// Known at build time, so that a test binary also runs without cargo.
const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// The folder of the repository.
pub fn root() -> PathBuf {
    Path::new(FOLDER).ancestors().nth(2).expect("this package is in `tests/support`").to_owned()
}

/// The binary `chainflume` of the same build: cargo builds it for every integration test and benchmark.
pub fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let this = std::env::current_exe().expect("a process knows its file");
        // A test is in `deps`, beside the program.
        let program = this.ancestors().nth(2).expect("it is in a folder of the build").join("chainflume");
        assert!(program.exists(), "{} is missing: cargo builds it for tests", program.display());
        program
    });
    &PROGRAM
}
