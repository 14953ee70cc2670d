//! The whole flume against real parts: a PostgreSQL server of this process's own, nodes over real sockets.

#[path = "../support/anvil.rs"]
mod anvil;
#[path = "../support/flume.rs"]
mod flume;
#[path = "../support/journal.rs"]
mod journal;
#[path = "../../src/store/testing.rs"]
mod postgres;
#[path = "../support/redis.rs"]
mod redis_server;

mod dead_letters;
mod first;
mod messages;
mod relay;
mod replay;
