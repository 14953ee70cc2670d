//! All deployments of Redis: one server, TLS with a restricted user, Sentinel, and a Cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use chainflume_deliver::sink::{RedisServers, RedisSettings, RedisSink};

use crate::certificates::Certificates;
use crate::redis_server::RedisServer;
use crate::redis_wiring::{ClusterNode, Wiring, tls_options};
use crate::wait::until_async;

/// Streams by name: number and message of every entry.
pub type Streams = BTreeMap<String, Vec<(u64, String)>>;

/// Servers of one deployment, and the settings of a sink for them.
pub struct RedisSet {
    pub settings: RedisSettings,
    /// All servers that may hold streams.
    pub servers: Vec<RedisServer>,
    pub sentinels: Vec<RedisServer>,
    /// What all of them prove themselves with, where they speak TLS.
    pub certificates: Option<Certificates>,
}

/// What the certificates are for, as the servers announce themselves.
pub const NAMES: &str = "DNS:localhost,IP:127.0.0.1";

/// The rights that the manual lists, and no others.
const RIGHTS: [&str; 11] = [
    "--user",
    "flume",
    "on",
    ">pass~word",
    "~events:*",
    "&events:*",
    "&user:*",
    "-@all",
    "+eval",
    "+xinfo|stream",
    "+xadd +xrange +publish",
];

pub fn settings(servers: RedisServers) -> RedisSettings {
    RedisSettings {
        servers,
        ca: None,
        client: None,
        prefix: String::new(),
        stream_length: 100_000,
        timeout: Duration::from_secs(2),
    }
}

/// Whether the server has all that its master has.
async fn follows(replica: &RedisServer) -> bool {
    replica.run::<String>("INFO replication").await.contains("master_link_status:up")
}

/// The options for a user with the manual's rights and these.
pub fn rights(more: &'static str) -> Vec<&'static str> {
    let given = RIGHTS.iter().flat_map(|words| words.split(' '));
    given.chain(more.split_ascii_whitespace()).collect()
}

/// Replicas of the masters of a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replicas {
    None,
    /// One of each.
    OneEach,
}

impl RedisSet {
    pub fn single() -> Self {
        let server = RedisServer::start();
        let settings = settings(RedisServers::Single(server.url()));
        Self { settings, servers: vec![server], sentinels: Vec::new(), certificates: None }
    }

    /// One server with TLS, and a user without further rights. The test itself uses another port.
    pub fn tls() -> Self {
        Self::single_of(Wiring::by_tls(Certificates::new(NAMES)))
    }

    /// The same, and the server wants a certificate of its clients.
    pub fn asking_clients() -> Self {
        Self::single_of(Wiring::asking_clients(Certificates::new(NAMES)))
    }

    fn single_of(wire: Wiring) -> Self {
        let (server, port) = wire.server(&rights(""));
        let url = wire.url("flume:pass~word", port);
        let (ca, client) = (wire.ca(), wire.client());
        let settings = RedisSettings { ca, client, ..settings(RedisServers::Single(url)) };
        let certificates = wire.certificates;
        Self { settings, servers: vec![server], sentinels: Vec::new(), certificates }
    }

    /// A master, a replica and three sentinels, all with passwords.
    pub async fn sentinel() -> Self {
        Self::behind_sentinels(Wiring::plain()).await
    }

    /// The same, where all of them speak TLS.
    pub async fn sentinel_by_tls(certificates: Certificates) -> Self {
        Self::behind_sentinels(Wiring::by_tls(certificates)).await
    }

    /// A master, a replica and three sentinels that want a certificate of their clients.
    pub async fn sentinel_asking_clients() -> Self {
        Self::behind_sentinels(Wiring::asking_clients(Certificates::new(NAMES))).await
    }

    /// Three masters that want a certificate of their clients.
    pub async fn cluster_asking_clients() -> Self {
        Self::cluster_of(3, Replicas::None, Wiring::asking_clients(Certificates::new(NAMES))).await
    }

    async fn behind_sentinels(wire: Wiring) -> Self {
        let mut options = rights("+role");
        let (master, port) = wire.server(&options);
        let master_port = port.to_string();
        options.extend(["--replicaof", "127.0.0.1", master_port.as_str(), "--repl-diskless-sync-delay", "0"]);
        let (replica, _) = wire.server(&options);
        // A sentinel asks the master for its replicas at once, and again after ten seconds.
        until_async("the replica follows", async || follows(&replica).await).await;
        // A pause of a busy machine must not count as a failure.
        let lines = format!(
            "sentinel monitor mymaster 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds mymaster 2000\n\
             sentinel failover-timeout mymaster 6000\n\
             user watcher on >other-word -@all +sentinel|get-master-addr-by-name\n"
        );
        let started: Vec<_> = (0..3).map(|_| wire.sentinel(&lines)).collect();
        let urls = started.iter().map(|(_, port)| wire.url("watcher:other-word", *port)).collect();
        let master_url = format!("{}://flume:pass~word@mymaster/", wire.scheme());
        let servers_of = RedisServers::Sentinel { sentinels: urls, master: master_url };
        let settings = RedisSettings { ca: wire.ca(), client: wire.client(), ..settings(servers_of) };
        let sentinels = started.into_iter().map(|(sentinel, _)| sentinel).collect();
        let servers = vec![master, replica];
        let set = Self { settings, servers, sentinels, certificates: wire.certificates };
        until_async("the sentinels know all others", async || set.sentinels_agree().await).await;
        set
    }

    async fn sentinels_agree(&self) -> bool {
        for sentinel in &self.sentinels {
            let about: BTreeMap<String, String> = sentinel.run("SENTINEL MASTER mymaster").await;
            let replicas: Vec<BTreeMap<String, String>> = sentinel.run("SENTINEL REPLICAS mymaster").await;
            // One that a sentinel has heard of and not reached yet cannot be promoted (`NOGOODSLAVE`).
            let is_reached = |replica: &BTreeMap<String, String>| {
                replica["flags"] == "slave" && replica["master-link-status"] == "ok"
            };
            if about["num-other-sentinels"] != "2" || replicas.len() != 1 || !replicas.iter().all(is_reached)
            {
                return false;
            }
        }
        follows(&self.servers[1]).await
    }

    /// Masters with equal shares of the slots.
    pub async fn cluster(masters: usize) -> Self {
        Self::cluster_of(masters, Replicas::None, Wiring::plain()).await
    }

    /// Masters with equal shares of the slots, and as many replicas.
    pub async fn cluster_with_replicas(masters: usize) -> Self {
        Self::cluster_of(masters, Replicas::OneEach, Wiring::plain()).await
    }

    /// Three masters that speak TLS.
    pub async fn cluster_by_tls(certificates: Certificates) -> Self {
        Self::cluster_of(3, Replicas::None, Wiring::by_tls(certificates)).await
    }

    async fn cluster_of(masters: usize, replicas: Replicas, wire: Wiring) -> Self {
        let count = match replicas {
            Replicas::None => masters,
            Replicas::OneEach => masters * 2,
        };
        let started: Vec<ClusterNode> = (0..count).map(|_| wire.cluster_node()).collect();
        let urls = started.iter().map(|node| wire.url("flume:pass~word", node.port)).collect();
        let (ca, client) = (wire.ca(), wire.client());
        let settings = RedisSettings { ca, client, ..settings(RedisServers::Cluster(urls)) };
        let places: Vec<String> =
            started.iter().map(|node| format!("127.0.0.1 {} {}", node.port, node.bus)).collect();
        let servers = started.into_iter().map(|node| node.server).collect();
        let set = Self { settings, servers, sentinels: Vec::new(), certificates: wire.certificates };
        for place in &places[1..] {
            set.servers[0].run::<()>(&format!("CLUSTER MEET {place}")).await;
        }
        for (index, server) in set.servers.iter().take(masters).enumerate() {
            let (from, to) = (index * 16_384 / masters, (index + 1) * 16_384 / masters - 1);
            server.run::<()>(&format!("CLUSTER ADDSLOTSRANGE {from} {to}")).await;
        }
        until_async("all nodes know each other", async || set.knows_all().await).await;
        for (index, replica) in set.servers.iter().enumerate().skip(masters) {
            let master: String = set.servers[index - masters].run("CLUSTER MYID").await;
            replica.run::<()>(&format!("CLUSTER REPLICATE {master}")).await;
        }
        until_async("the cluster is whole", async || set.is_whole(masters).await).await;
        if replicas == Replicas::OneEach {
            // From here on, a replica takes over soon.
            for server in &set.servers {
                server.run::<()>("CONFIG SET cluster-node-timeout 2000").await;
            }
        }
        set
    }

    async fn knows_all(&self) -> bool {
        let known = format!("cluster_known_nodes:{}\r", self.servers.len());
        for server in &self.servers {
            if !server.run::<String>("CLUSTER INFO").await.contains(&known) {
                return false;
            }
        }
        true
    }

    /// Whether all slots are served and every replica is connected.
    pub async fn is_whole(&self, masters: usize) -> bool {
        for server in self.servers.iter().filter(|server| server.is_up()) {
            let info: String = server.run("CLUSTER INFO").await;
            let size = format!("cluster_size:{masters}\r");
            if !info.contains("cluster_state:ok") || !info.contains(&size) {
                return false;
            }
            let replication: String = server.run("INFO replication").await;
            if replication.contains("role:slave") && !replication.contains("master_link_status:up") {
                return false;
            }
        }
        true
    }

    pub fn sink(&self) -> RedisSink {
        RedisSink::new(self.settings.clone()).expect("right")
    }

    /// Lets each server read its certificate again. Connections that are open stay.
    pub async fn read_certificates_again(&self) {
        let words = tls_options(self.certificates.as_ref().expect("they speak TLS"));
        let pairs = words.iter().map(|word| word.trim_start_matches("--"));
        let command = format!("CONFIG SET {}", pairs.collect::<Vec<_>>().join(" "));
        for server in &self.servers {
            server.run::<()>(&command).await;
        }
    }

    /// The table `[redis]` of a configuration.
    pub fn config(&self) -> String {
        match &self.settings.servers {
            RedisServers::Single(url) => format!("url = {url:?}\n"),
            RedisServers::Sentinel { sentinels, master } => {
                format!("sentinels = {sentinels:?}\nmaster = {master:?}\n")
            }
            RedisServers::Cluster(nodes) => format!("cluster = {nodes:?}\n"),
        }
    }

    /// The servers that accept messages at present.
    pub async fn masters(&self) -> Vec<&RedisServer> {
        let mut masters = Vec::new();
        for server in self.servers.iter().filter(|server| server.is_up()) {
            if server.run::<String>("INFO replication").await.contains("role:master") {
                masters.push(server);
            }
        }
        masters
    }

    /// Runs a command on every master.
    pub async fn run(&self, words: &str) {
        for master in self.masters().await {
            master.run::<()>(words).await;
        }
    }

    /// The entries for consumers.
    pub async fn streams(&self) -> Streams {
        let mut all = Streams::new();
        for master in self.masters().await {
            all.extend(master.streams().await);
        }
        all
    }

    /// Whether this many messages are stored.
    pub async fn holds(&self, messages: u64) -> bool {
        self.streams().await.values().map(Vec::len).sum::<usize>() as u64 == messages
    }

    /// The master of a key in a Cluster: the only node that does not redirect.
    pub async fn owner(&self, key: &str) -> usize {
        for (index, server) in self.servers.iter().enumerate().filter(|(_, server)| server.is_up()) {
            let mut asked = redis::cmd("EXISTS");
            if asked.arg(key).query_async::<u64>(&mut server.connection().await).await.is_ok() {
                return index;
            }
        }
        panic!("no server has {key}")
    }
}
