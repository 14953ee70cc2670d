//! Real servers in every state in which they take no messages. None is taken for success.

use chainflume_deliver::sink::{Delivered, RedisSink, Sink, SinkError};

use super::contract::{envelopes, resume, settings};
use super::redis_sink::refusal;
use crate::redis_server::RedisServer;
use crate::wait::until_async;

fn sink(server: &RedisServer) -> RedisSink {
    RedisSink::new(settings(server.url())).expect("a url")
}

/// The refusal is of this kind, nothing is there, and once mended all is taken.
fn is(error: &SinkError, word: &str, transient: bool) {
    assert_eq!(error.is_transient(), transient, "{error}");
    assert!(error.to_string().contains(word), "{word}: {error}");
}

async fn takes_all(server: &RedisServer, sink: &mut RedisSink) {
    assert!(server.streams().await.is_empty(), "nothing is there");
    assert_eq!(sink.deliver(&envelopes(1..=10)).await.expect("takes them").upto, 10);
}

#[tokio::test]
async fn a_replica_takes_nothing() {
    let server = RedisServer::start();
    let mut sink = sink(&server);
    server.run::<()>("REPLICAOF 127.0.0.1 1").await;
    is(&refusal(&mut sink).await, "READONLY", true);
    server.run::<()>("CONFIG SET replica-serve-stale-data no").await;
    is(&refusal(&mut sink).await, "MASTERDOWN", true);
    assert!(resume(&mut sink, 0).await.is_err());
    server.run::<()>("REPLICAOF NO ONE").await;
    takes_all(&server, &mut sink).await;
}

#[tokio::test]
async fn a_full_server_takes_nothing() {
    let server = RedisServer::start();
    let mut sink = sink(&server);
    server.run::<()>("CONFIG SET maxmemory 1").await;
    is(&refusal(&mut sink).await, "OOM", true);
    server.run::<()>("CONFIG SET maxmemory 0").await;
    takes_all(&server, &mut sink).await;
}

#[tokio::test]
async fn a_key_of_another_type_takes_nothing() {
    let server = RedisServer::start();
    let mut sink = sink(&server);
    server.run::<()>("SET events:token x").await;
    is(&refusal(&mut sink).await, "WRONGTYPE", false);
    assert!(resume(&mut sink, 0).await.is_err());
    server.run::<()>("DEL events:token").await;
    takes_all(&server, &mut sink).await;
}

#[tokio::test]
async fn a_server_that_is_to_have_replicas_and_has_none_takes_nothing() {
    let server = RedisServer::start();
    let mut sink = sink(&server);
    server.run::<()>("CONFIG SET min-replicas-to-write 1").await;
    is(&refusal(&mut sink).await, "NOREPLICAS", true);
    server.run::<()>("CONFIG SET min-replicas-to-write 0").await;
    takes_all(&server, &mut sink).await;
}

#[tokio::test]
async fn a_server_that_cannot_save_takes_nothing() {
    let server = RedisServer::start_with(&["--save", "3600 1"]);
    let mut sink = sink(&server);
    std::fs::remove_dir_all(server.folder()).expect("ours");
    server.run::<()>("BGSAVE").await;
    until_async("it could not save", async || {
        server.run::<String>("INFO persistence").await.contains("rdb_last_bgsave_status:err")
    })
    .await;
    is(&refusal(&mut sink).await, "MISCONF", true);
    server.run::<()>("CONFIG SET stop-writes-on-bgsave-error no").await;
    takes_all(&server, &mut sink).await;
}

#[tokio::test]
async fn a_server_that_is_busy_with_a_script_takes_nothing() {
    let server = RedisServer::start_with(&["--busy-reply-threshold", "50"]);
    let mut sink = sink(&server);
    let mut other = server.connection().await;
    let mut forever = redis::cmd("EVAL");
    forever.arg("while true do end").arg(0);
    let running = tokio::spawn(async move { forever.query_async::<()>(&mut other).await.is_err() });
    until_async("it is busy", async || {
        let mut ping = redis::cmd("PING");
        ping.arg("x");
        ping.query_async::<()>(&mut server.connection().await).await.is_err()
    })
    .await;
    is(&refusal(&mut sink).await, "BUSY", true);
    assert!(resume(&mut sink, 0).await.is_err());
    server.run::<()>("SCRIPT KILL").await;
    running.await.expect("no panic");
    takes_all(&server, &mut sink).await;
}

#[tokio::test]
async fn a_server_that_loads_its_data_is_not_taken_for_empty() {
    // Five seconds of loading, with a look at its clients after every few keys.
    let slowly = ["--key-load-delay", "2500", "--loading-process-events-interval-bytes", "1024"];
    let mut server = RedisServer::start_with(&slowly);
    let mut sink = sink(&server);
    sink.deliver(&envelopes(1..=10)).await.expect("takes them");
    let fill = "for i = 1, 2000 do redis.call('SET', 'x:' .. i, string.rep('x', 20)) end";
    redis::cmd("EVAL").arg(fill).arg(0).exec_async(&mut server.connection().await).await.expect("fills");
    server.run::<()>("SAVE").await;
    server.kill();
    server.restart();
    sink.deliver(&envelopes(11..=20)).await.expect_err("its connection is that of the dead");
    is(&sink.deliver(&envelopes(11..=20)).await.expect_err("it loads"), "LOADING", true);
    assert!(resume(&mut sink, 10).await.is_err(), "what it holds is not known yet");
    until_async("it has loaded", async || resume(&mut sink, 10).await.is_ok_and(|from| from == 10)).await;
    let delivered = sink.deliver(&envelopes(11..=20)).await.expect("takes them");
    assert_eq!(delivered, Delivered { upto: 20, repeats: vec![] });
}

#[tokio::test]
async fn a_missing_right_is_an_error_that_names_the_list_of_rights() {
    let server = RedisServer::start();
    server.run::<()>("ACL SETUSER weak on >word ~* &* -@all +eval +xinfo|stream +xrange +publish").await;
    let mut sink = RedisSink::new(settings(server.url().replace("://", "://weak:word@"))).expect("a url");
    let error = refusal(&mut sink).await;
    is(&error, "can't run this command", false);
    assert!(error.to_string().contains("rights"), "{error}");
    assert!(server.streams().await.is_empty(), "nothing is there");
    server.run::<()>("ACL SETUSER weak -eval +xadd").await;
    is(&refusal(&mut sink).await, "NOPERM", false);
    server.run::<()>("ACL SETUSER weak +eval").await;
    takes_all(&server, &mut sink).await;
}
