use std::time::{Duration, Instant};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};

use super::fixture::*;
use chainflume_core::domain::U256;
use chainflume_testkit::postgres as testing;

/// What a `COPY` costs at least whose end waits for a delayed acknowledgement (Linux, `TCP_DELACK_MIN`).
const DELAYED_ACK: Duration = Duration::from_millis(40);

/// The test's database over TCP: the server listens on a Unix socket alone, so each connection is passed on to that.
async fn over_tcp(url: &str) -> String {
    let (database, query) = url.trim_start_matches("postgres:///").split_once('?').expect("a query");
    let folder = query.trim_start_matches("host=").split('&').next().expect("a folder").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            client.set_nodelay(true).expect("a socket");
            let mut server =
                UnixStream::connect(format!("{folder}/.s.PGSQL.5432")).await.expect("the server runs");
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable")
}

/// The fastest of several small blocks.
async fn fastest_commit(url: &str) -> Duration {
    let chain = open(&connect(url).await).await;
    let (mut before, mut fastest) = (None, Duration::MAX);
    for number in 2..30 {
        let at = block(number, 0);
        let events = (0..10).map(|index| event(at, index, transfer(0, 1, U256::from(index)))).collect();
        let started = Instant::now();
        advance(&chain, before, at, events).await.expect("advances");
        fastest = fastest.min(started.elapsed());
        before = Some(at);
    }
    fastest
}

/// Compared with the socket in the same run, so that a busy machine slows both.
#[tokio::test]
async fn a_small_block_needs_no_delayed_acknowledgement_over_tcp() {
    let (one, other) = (testing::database().await, testing::database().await);
    let socket = fastest_commit(&one).await;
    let tcp = fastest_commit(&over_tcp(&other).await).await;
    assert!(
        tcp < socket + DELAYED_ACK,
        "the fastest commit took {tcp:?} over TCP, {socket:?} over the socket"
    );
}
