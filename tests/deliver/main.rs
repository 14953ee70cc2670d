//! Messages leave for Redis and webhooks: once, in order, whatever fails.

mod dead_letters;
mod examples;
mod messages;
mod relay;
mod replay;
mod webhook;

use chainflume_support::{
    certificates, consumer, daemon, flume, proxy, random, receiver, redis_server, redis_sets, relays, schema,
    wait,
};
use chainflume_testkit::postgres;
