//! Redis and webhooks.

use super::Desk;
use crate::flume::{all_sources, devchain};
use crate::postgres;
use crate::receiver::Receiver;
use crate::receiver::{FAST, webhook};
use crate::redis_server::RedisServer;

fn redis(url: &str) -> String {
    format!("{}[redis]\nurl = \"{url}\"\ntimeout = \"1s\"\n", all_sources())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away() {
    let (url, mut server) = (postgres::empty_database().await, RedisServer::start());
    let (chain, node) = devchain(111, 20).await;
    let desk = Desk::new(&node, &redis(&server.url()), Some(&url)).await;
    desk.daemon.until_tip(18).await;
    server.kill();
    chain.mine(3);
    desk.shows("Redis is away").await;
    server.restart();
    desk.daemon.until_tip(21).await;
    desk.daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_the_password() {
    let (url, server) =
        (postgres::empty_database().await, RedisServer::start_with(&["--requirepass", "right"]));
    let (chain, node) = devchain(112, 20).await;
    let wrong = server.url().replace("redis://", "redis://:canary-wrong@");
    let desk = Desk::new(&node, &redis(&wrong), Some(&url)).await;
    chain.mine(3);
    desk.shows("Redis refuses user and password").await;
    desk.daemon.stop_well().await;
    let without = postgres::empty_database().await;
    let desk = Desk::new(&node, &redis(&server.url()), Some(&without)).await;
    desk.shows("Redis wants a password, and none is configured").await;
    desk.daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_whose_key_is_no_stream() {
    let (url, server) = (postgres::empty_database().await, RedisServer::start());
    server.run::<String>("SET events:token another").await;
    let (chain, node) = devchain(113, 20).await;
    let desk = Desk::new(&node, &redis(&server.url()), Some(&url)).await;
    chain.mine(3);
    desk.shows("A key of Redis is not a stream").await;
    server.run::<i64>("DEL events:token").await;
    desk.daemon.until_tip(21).await;
    desk.daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_answers_404() {
    let (url, receiver) = (postgres::empty_database().await, Receiver::start().await);
    receiver.answers(404);
    let (chain, node) = devchain(114, 20).await;
    let rest = all_sources() + &webhook("crm", &receiver, "");
    let desk = Desk::new(&node, &rest, Some(&url)).await;
    desk.daemon.until_tip(18).await;
    chain.mine(5);
    desk.shows("A webhook answers 404").await;
    desk.daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_answers_500() {
    let (url, receiver) = (postgres::empty_database().await, Receiver::start().await);
    receiver.answers(500);
    let (chain, node) = devchain(115, 20).await;
    let rest = all_sources() + &webhook("crm", &receiver, &format!("max_held = 100\n{FAST}"));
    let desk = Desk::new(&node, &rest.replace("\"250ms\"", "\"1h\""), Some(&url)).await;
    desk.daemon.until_tip(18).await;
    chain.mine(60);
    desk.shows("A webhook answers 500").await;
    desk.daemon.stop_well().await;
}
