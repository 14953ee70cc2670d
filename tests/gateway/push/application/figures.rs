//! `make figures-application`: what the application's side costs, of a release build.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chainflume_devchain::MinerSettings;

use super::*;

const CLIENTS: usize = 64;
/// How long each part publishes.
const SPAN: Duration = Duration::from_secs(10);
/// Changes of activities, and deliveries of a provider.
const COUNT: usize = 500;

/// The value below which so many per mille are.
fn quantile(times: &mut [Duration], per_mille: usize) -> Duration {
    times.sort();
    times.get(times.len() * per_mille / 1_000).copied().unwrap_or_default()
}

/// Publishes from all clients, each waiting for its answer; how long each answer took.
async fn publish(gate: &Gate, (bearer, round): (&str, usize), span: Duration) -> Vec<Duration> {
    chainflume_ops::tls::install();
    let client = reqwest::Client::builder().no_proxy().timeout(WAIT_LIMIT).build().expect("a client");
    let (address, is_over) =
        (format!("http://127.0.0.1:{}/v1/domain-events", gate.port), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (client, address, bearer, is_over) =
                (client.clone(), address.clone(), bearer.to_owned(), is_over.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let event = event(
                        (round * CLIENTS + number) * 1_000_000 + times.len(),
                        &number.to_string(),
                        "u7",
                    );
                    let (request, began) = (
                        client.post(&address).header("authorization", &bearer).body(event.to_string()),
                        Instant::now(),
                    );
                    let answer = request.send().await.expect("an answer");
                    assert_eq!(answer.status().as_u16(), 201);
                    let _body = answer.bytes().await.expect("a body");
                    times.push(began.elapsed());
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(span).await;
    is_over.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.expect("it goes on"));
    }
    times
}

/// From the daemon's look at a block to a client of a WebSocket that has its messages, while `work` runs: the 99th of a hundred.
async fn live<T>(gate: &Gate, bearer: &str, work: impl Future<Output = T>) -> (T, Duration) {
    let mut socket = Socket::open(gate.port, &[("authorization", bearer)]).await.expect("it opens");
    socket.join(&[ROOM]).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let ends = is_over.clone();
    let follower = tokio::spawn(async move {
        let mut got = Vec::new();
        while !ends.load(Ordering::Relaxed) {
            let Frame::Text(frame) = socket.next().await else { panic!("the socket ended") };
            let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time of today");
            let (_, seq) = frame["position"].as_str().and_then(|at| at.split_once('.')).expect("a position");
            got.push((seq.parse::<i64>().expect("a number"), at));
        }
        got
    });
    let done = work.await;
    is_over.store(true, Ordering::Relaxed);
    let got = follower.await.expect("it follows");
    let sql = "select seq, (extract(epoch from seen_at) * 1000000)::bigint from outbox where seq = any($1) and seen_at is not null";
    let seqs: Vec<i64> = got.iter().map(|(seq, _)| *seq).collect();
    let seen: Vec<(i64, i64)> = sqlx::query_as(sql).bind(seqs).fetch_all(&gate.pool).await.expect("reads");
    let seen: BTreeMap<i64, i64> = seen.into_iter().collect();
    let took = |(seq, at): &(i64, Duration)| {
        let seen = Duration::from_micros(u64::try_from(*seen.get(seq)?).ok()?);
        Some(at.saturating_sub(seen))
    };
    let mut took: Vec<Duration> = got.iter().filter_map(took).collect();
    assert!(took.len() > 50, "{} messages are too few for a figure", took.len());
    (done, quantile(&mut took, 990))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a figure, of a release build"]
async fn figures_of_publishers_with_and_without_chain_traffic() {
    let (mut gate, bearer) = gate(81, "", "\"publish\", \"read\"").await;
    // All clients share one key, which could ask a hundred times a second otherwise.
    gate.tables = format!("requests_per_second = 1000000\n{}", gate.tables);
    gate.write(&gate.home, gate.port);
    let daemon = gate.start().await;
    let _warm = publish(&gate, (&bearer, 0), Duration::from_secs(2)).await;
    let show = |what: &str, times: &mut [Duration]| {
        let rate = times.len() as f64 / SPAN.as_secs_f64();
        let (half, most) = (quantile(times, 500), quantile(times, 990));
        eprintln!("{what}: {rate:.0} events/s from {CLIENTS} clients, p50 {half:.1?}, p99 {most:.1?}");
    };
    let mut times = publish(&gate, (&bearer, 1), SPAN).await;
    show("without chain traffic", &mut times);
    let block_time = Duration::from_millis(250);
    let settings = MinerSettings { block_time, reorg_every: Some(20), max_reorg_depth: 3 };
    let miner = gate.chain.run(settings);
    let ((), alone) = live(&gate, &bearer, tokio::time::sleep(SPAN)).await;
    let (mut times, beside) = live(&gate, &bearer, publish(&gate, (&bearer, 2), SPAN)).await;
    show("with four blocks a second", &mut times);
    drop(miner);
    eprintln!(
        "live messages of the chain at a client, p99: {alone:.1?} alone, {beside:.1?} beside the publishers"
    );
    eprintln!("memory of the daemon: {} MiB", daemon.memory("VmRSS:").unwrap_or(0) / 1_024);
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a figure, of a release build"]
async fn figures_of_activities_at_a_socket_io_client() {
    let (gate, bearer) = gate(82, "", "\"publish\", \"read\"").await;
    let daemon = gate.start().await;
    let backend = BackEnd { gate: &gate, bearer: bearer.clone() };
    let begun = json!({ "userId": "u7", "type": "send", "title": "Send" });
    let id = backend.post("/v1/activities", &begun).await["eventId"].as_str().expect("an id").to_owned();
    let mut command = node("client.mjs");
    let url = format!("http://127.0.0.1:{}", gate.port);
    command.args(["socket.io", &*url, "user-u7", &user("u7")["Bearer ".len()..]]);
    let mut client = Client::start(&mut command);
    while client.next().await["status"] != "connected" {}
    let (mut times, line) = (Vec::new(), format!("PATCH /v1/activities/{id}"));
    for n in 0..COUNT {
        let began = Instant::now();
        let body = json!({ "data": { "n": n } }).to_string();
        let sent = backend.ask(&line, &body);
        let seen = async {
            loop {
                let frame = client.next().await;
                if frame["event"] == "activity" && frame["data"]["data"]["n"] == n {
                    return began.elapsed();
                }
            }
        };
        let (answered, seen) = tokio::join!(sent, seen);
        assert_eq!(answered.status, 200);
        times.push(seen);
    }
    let (half, most) = (quantile(&mut times, 500), quantile(&mut times, 990));
    eprintln!(
        "activity change to Socket.IO client: p50 {half:.1?}, p99 {most:.1?}, of {COUNT} requests one after the other"
    );
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a figure, of a release build"]
async fn figures_of_inbound_webhooks() {
    let secret = "a secret of the tests that is long enough";
    let more = format!(
        "[[inbound]]\nname = \"alchemy\"\nprovider = \"alchemy\"\nsecret = \"{secret}\"\nchain = \"dev\"\n"
    );
    let (gate, _) = gate(83, &more, "\"read\"").await;
    let daemon = gate.start().await;
    chainflume_ops::tls::install();
    let client = reqwest::Client::builder().no_proxy().timeout(WAIT_LIMIT).build().expect("a client");
    let mut times = Vec::new();
    for n in 0..COUNT {
        let hash = format!("0x{n:064x}");
        let body = json!({ "id": format!("whevt_{n}"), "event": { "activity": [{ "hash": hash, "blockNum": "0x5" }] } }).to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        mac.update(body.as_bytes());
        let signature: String =
            mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let request = client.post(format!("http://127.0.0.1:{}/webhooks/alchemy", gate.port));
        let began = Instant::now();
        let answer =
            request.header("x-alchemy-signature", signature).body(body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        times.push(began.elapsed());
    }
    let (half, most) = (quantile(&mut times, 500), quantile(&mut times, 990));
    eprintln!("inbound webhook: p50 {half:.1?}, p99 {most:.1?}, of {COUNT} one after the other");
    eprintln!("memory of the daemon: {} MiB", daemon.memory("VmRSS:").unwrap_or(0) / 1_024);
    daemon.stop_well().await;
}
