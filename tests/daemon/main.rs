//! The program as an operator meets it: arguments, signals, exit codes, faults and where they are seen.

mod daemons_database;
mod lies;
mod operator;
mod process;
mod silent;
mod soak;
mod standby;
mod trouble;

use chainflume_support::{
    certificates, cluster, consumer, daemon, flume, fold, journal, metrics, promql, proxy, random, receiver,
    redis_server, relays, systemd, tables, wait,
};
use chainflume_testkit::postgres;
