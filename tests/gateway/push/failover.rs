//! The database fails over to its standby while clients follow.

use tokio::sync::watch;

use super::client::{follow, until_status};
use super::scale::crowd;
use super::*;
use crate::cluster::{self, Cluster};
use crate::daemon::red;
use crate::wait::until_async;

/// Clients that follow by WebSocket, beside one of each protocol.
const CROWD: usize = 40;

/// The newest message of a server; 0 where it cannot be asked.
async fn newest(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select seq from outbox_head").fetch_one(pool).await.unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_lose_and_double_nothing_in_a_failover() {
    let mut primary = Cluster::start();
    let mut replica = primary.replica();
    let url = cluster::url(&[&replica, &primary]);
    let gate = Gate::on(url, connect(&replica.url()).await, 81, "[server.auth]\nmode = \"none\"\n").await;
    let daemon = gate.start().await;
    let written = connect(&primary.url()).await;
    let copied = async || {
        let last = newest(&written).await;
        until_async("the standby has all messages", async || newest(&gate.pool).await >= last).await;
    };
    gate.mine(&daemon, 3).await;
    copied().await;
    let mut followers = Vec::new();
    for transport in ["websocket", "sse", "socket.io"] {
        let mut client = follow(&gate, transport, None);
        until_status(&mut client, "connected").await;
        followers.push(client);
    }
    let before = gate.outbox().await.len();
    let (end, ending) = watch::channel(None);
    let crowd = crowd(gate.port, CROWD, &ending).await;
    gate.mine(&daemon, 4).await;
    copied().await;
    drop(written);

    primary.order("stop");
    gate.chain.mine(4);
    red(&daemon, |report| report["database"]["writable"] == false).await;
    replica.order("promote");
    daemon.until_tip(gate.chain.head().number - 2).await;
    gate.chain.reorg(4, 5);
    daemon.until_tip(gate.chain.head().number - 2).await;
    let expected: Vec<String> = gate.outbox().await.drain(before..).map(|(position, _)| position).collect();
    let epochs: std::collections::BTreeSet<_> =
        expected.iter().filter_map(|position| position.split_once('.')).map(|(epoch, _)| epoch).collect();
    assert_eq!(epochs.len(), 2, "the standby numbers in an epoch of its own: {epochs:?}");

    end.send_replace(expected.last().cloned());
    for client in crowd {
        let got =
            tokio::time::timeout(WAIT_LIMIT, client).await.expect("it gets everything").expect("no panic");
        assert_eq!(got, expected);
    }
    for client in &mut followers {
        let (mut got, last) = (Vec::new(), json!(expected.last()));
        while got.last() != Some(&last) {
            let next = client.next().await;
            assert!(next["gap"].is_null(), "{next}");
            if next["in"] == ROOM {
                got.push(next["at"].clone());
            }
        }
        assert_eq!(json!(got), json!(expected));
    }
    daemon.stop_well().await;
}
