//! The whole flume against real parts: a PostgreSQL server of this process's own, nodes over real sockets.

#[path = "../support/anvil.rs"]
mod anvil;
#[path = "../support/balancer.rs"]
mod balancer;
#[path = "../support/cable.rs"]
mod cable;
#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/flume.rs"]
mod flume;
#[path = "../support/journal.rs"]
mod journal;
#[path = "../support/metrics.rs"]
mod metrics;
#[path = "../support/promql.rs"]
mod promql;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/random.rs"]
mod random;
#[path = "../support/receiver.rs"]
mod receiver;
#[path = "../support/redis.rs"]
mod redis_server;
#[path = "../support/redis_sets.rs"]
mod redis_sets;
#[path = "../support/redis_wiring.rs"]
mod redis_wiring;
#[path = "../support/scene.rs"]
mod scene;
#[path = "../support/story.rs"]
mod story;
#[path = "../support/tables.rs"]
mod tables;

use chainflume_testkit::postgres;

mod balanced;
mod bounds;
mod branches;
mod changed;
mod daemons_database;
mod dead_letters;
mod doubts;
mod evidence;
mod examples;
mod failover;
mod faults;
mod first;
mod follow;
mod inbound;
mod lag;
mod limits;
mod messages;
mod names;
mod operator;
mod pending;
mod process;
mod property;
mod providers;
mod push;
mod real_data;
mod real_node;
mod relay;
mod repair;
mod replay;
mod silent;
mod soak;
mod standby;
mod supply;
mod trigger;
mod trouble;
mod verify;
mod webhook;
