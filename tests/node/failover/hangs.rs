//! A provider that cannot even be connected to is left as soon as any other, and one that hangs where it failed before keeps
//! no other provider from being probed.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use chainflume_devchain::{DevChain, Effect, RpcError, Rule, Settings, Wire};
use tokio::net::{TcpListener, TcpSocket};

use super::answers::{SOON_ENOUGH, begins, config, of_ranges};
use super::{Node, QUICK, in_use, provider};
use crate::flume::{Flume, connect};
use crate::{postgres, tables};

/// A port whose queue is full: who connects hears nothing, as of an address behind a firewall.
struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _queue: TcpStream,
}

impl BlackHole {
    fn at(address: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // The connections of a server that was here wait for their end.
        socket.set_reuseaddr(true).expect("a socket takes options");
        socket.bind(address.parse().expect("an address")).expect("the port is free");
        let listener = socket.listen(0).expect("a bound socket listens");
        let address = listener.local_addr().expect("bound");
        let queue = TcpStream::connect(address).expect("the queue takes one");
        let full = TcpStream::connect_timeout(&address, Duration::from_millis(300));
        assert!(full.is_err(), "the queue takes one alone");
        Self { address, _listener: listener, _queue: queue }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_first_provider_does_not_delay_the_start() {
    let hole = BlackHole::at("127.0.0.1:0");
    for scheme in ["http", "https"] {
        let took = begins(&hole.address.to_string(), scheme).await;
        eprintln!("begins, {scheme} into a black hole: {:.1} s", took.as_secs_f32());
        assert!(took < SOON_ENOUGH, "{scheme}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_connected_to_any_more_is_left() {
    let chain = DevChain::new(Settings { history: 60, ..Settings::default() });
    let (mut one, other) = (Node::of(&chain).await, Node::of(&chain.another_node()).await);
    let url = postgres::database().await;
    let providers = [one.provider("one", ""), other.provider("other", "")];
    let flume = Flume::start(&config(&providers, ""), &url).await;
    flume.until_tip("dev", 58).await;
    flume.until("dev", "knows both", |chain| provider(chain, "other").head == Some(60)).await;
    let address = one.server.address().to_string();
    one.server.stop().await;
    let _hole = BlackHole::at(&address);
    let began = Instant::now();
    chain.mine(5);
    flume.until_tip("dev", 63).await;
    let took = began.elapsed();
    eprintln!("live, a black hole: {:.1} s", took.as_secs_f32());
    assert!(took < SOON_ENOUGH, "{took:?}");
    one.server = other.chain.serve("127.0.0.1:0").await.expect("a free port");
    flume.stop().await;
    tables::assert_equals_chain(&connect(&url).await, &chain, 63).await;
}

/// The first hangs over old blocks for as long as the work would wait, and is asked for them again and again, since it is to
/// be taken back. Meanwhile the second one refuses everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_failed_provider_does_not_delay_other_checks() {
    let chain = DevChain::new(Settings { history: 120, ..Settings::default() });
    let mut nodes = Vec::new();
    let mut providers = Vec::new();
    for (name, role) in [("n0", "history"), ("n1", "any"), ("n2", "any")] {
        let node = Node::of(&if nodes.is_empty() { chain.clone() } else { chain.another_node() }).await;
        providers.push(node.provider(name, &format!("role = \"{role}\"")));
        nodes.push(node);
    }
    of_ranges(&nodes[0].chain, Effect::Wire(Wire::Hang));
    providers.push("[chain.history]\ninitial_range = 20\nmax_range = 20\n".to_owned());
    let keys = format!(
        "backend_lag = \"0s\"\nbackend_lag_blocks = 0\nrequest_timeout = \"40s\"\n{QUICK}probe_timeout = \"500ms\"\n"
    );
    let url = postgres::database().await;
    let flume = Flume::start(&config(&providers, &keys), &url).await;
    flume.until_tip("dev", 118).await;
    assert_eq!(in_use(&flume.chain("dev")), "n1");
    assert_eq!(provider(&flume.chain("dev"), "n0").state, "failing");
    let refusal = Effect::Error(RpcError::new(-32005, "daily request count exceeded"));
    nodes[1].chain.faults().add(Rule::any(refusal));
    let began = Instant::now();
    chain.mine(5);
    flume.until_tip("dev", 123).await;
    let took = began.elapsed();
    eprintln!("live, while another one hangs: {:.1} s", took.as_secs_f32());
    assert!(took < SOON_ENOUGH, "{took:?}");
    assert_eq!(in_use(&flume.chain("dev")), "n2");
    flume.stop().await;
    tables::assert_equals_chain(&connect(&url).await, &chain, 123).await;
}

/// Three providers, of which the second hangs from the moment at which the first one fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_provider_delays_no_switch_to_another() {
    let chain = DevChain::new(Settings { history: 60, ..Settings::default() });
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::of(&if nodes.is_empty() { chain.clone() } else { chain.another_node() }).await);
    }
    let named = ["one", "two", "three"].into_iter().zip(&nodes);
    let providers: Vec<String> = named.map(|(name, node)| node.provider(name, "")).collect();
    let keys =
        "request_timeout = \"12s\"\n[chain.failover]\nprobe_timeout = \"12s\"\nprobe_interval = \"100ms\"\n";
    let url = postgres::database().await;
    let flume = Flume::start(&config(&providers, keys), &url).await;
    flume.until_tip("dev", 58).await;
    flume.until("dev", "knows all", |chain| provider(chain, "three").head == Some(60)).await;
    nodes[1].chain.faults().add(Rule::any(Effect::Wire(Wire::Hang)));
    let refusal = Effect::Error(RpcError::new(-32005, "daily request count exceeded"));
    nodes[0].chain.faults().add(Rule::any(refusal));
    let began = Instant::now();
    chain.mine(5);
    flume.until_tip("dev", 63).await;
    let took = began.elapsed();
    eprintln!("live, while the next one hangs: {:.1} s", took.as_secs_f32());
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert_eq!(in_use(&flume.chain("dev")), "three");
    flume.stop().await;
    tables::assert_equals_chain(&connect(&url).await, &chain, 63).await;
}
