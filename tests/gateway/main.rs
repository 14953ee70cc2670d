//! The public server of the real daemon: clients, back ends, and the webhooks and schedules that publish through it.

mod follow;
mod inbound;
mod push;
mod trigger;

use chainflume_support::{
    anvil, certificates, cluster, daemon, flume, random, receiver, redis_server, schema, systemd, wait,
};
use chainflume_testkit::postgres;
