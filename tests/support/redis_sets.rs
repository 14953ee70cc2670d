//! All deployments of Redis: one server, TLS with a restricted user, Sentinel, and a Cluster.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chainflume_deliver::sink::{RedisServers, RedisSettings, RedisSink};

use crate::redis_server::{RedisServer, free_port};

/// Streams by name: number and message of every entry.
pub type Streams = BTreeMap<String, Vec<(u64, String)>>;

/// Servers of one deployment, and the settings of a sink for them.
pub struct RedisSet {
    pub settings: RedisSettings,
    /// All servers that may hold streams.
    pub servers: Vec<RedisServer>,
    pub sentinels: Vec<RedisServer>,
}

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
        prefix: String::new(),
        stream_length: 100_000,
        timeout: Duration::from_secs(2),
    }
}

/// Waits until `is` holds, with a limit.
pub async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is().await {
        assert!(Instant::now() < deadline, "it never came true that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn rights(more: &'static str) -> Vec<&'static str> {
    let given = RIGHTS.iter().flat_map(|words| words.split(' '));
    given.chain(more.split_ascii_whitespace()).collect()
}

impl RedisSet {
    pub fn single() -> Self {
        let server = RedisServer::start();
        let settings = settings(RedisServers::Single(server.url()));
        Self { settings, servers: vec![server], sentinels: Vec::new() }
    }

    /// One server with TLS, and a user without further rights. The test itself uses another port.
    pub fn tls() -> Self {
        let folder = tempfile::tempdir().expect("a folder").keep();
        certificates(&folder);
        let ca = std::fs::read(folder.join("ca.crt")).expect("made");
        let tls_port = free_port();
        let port = tls_port.to_string();
        let mut options = vec!["--tls-port", port.as_str()];
        options.extend(TLS);
        options.extend(rights(""));
        let server = RedisServer::start_in(folder, &options);
        let url = format!("rediss://flume:pass~word@localhost:{tls_port}/");
        let settings = RedisSettings { ca: Some(ca), ..settings(RedisServers::Single(url)) };
        Self { settings, servers: vec![server], sentinels: Vec::new() }
    }

    /// A master, a replica and three sentinels, all with passwords.
    pub async fn sentinel() -> Self {
        let rights = rights("+role");
        let master = RedisServer::start_with(&rights);
        let port = master.port.to_string();
        let mut options = rights.clone();
        options.extend(["--replicaof", "127.0.0.1", port.as_str(), "--repl-diskless-sync-delay", "0"]);
        let replica = RedisServer::start_with(&options);
        // A pause of a busy machine must not count as a failure.
        let lines = format!(
            "sentinel monitor mymaster 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds mymaster 2000\n\
             sentinel failover-timeout mymaster 6000\n\
             user watcher on >other-word -@all +sentinel|get-master-addr-by-name\n"
        );
        let sentinels: Vec<_> = (0..3).map(|_| RedisServer::start_sentinel(&lines)).collect();
        let urls = sentinels.iter().map(|one| one.url().replace("://", "://watcher:other-word@"));
        let settings = settings(RedisServers::Sentinel {
            sentinels: urls.collect(),
            master: "redis://flume:pass~word@mymaster/".to_owned(),
        });
        let set = Self { settings, servers: vec![master, replica], sentinels };
        until("the sentinels know all others", async || set.sentinels_agree().await).await;
        set
    }

    async fn sentinels_agree(&self) -> bool {
        for sentinel in &self.sentinels {
            let about: BTreeMap<String, String> = sentinel.run("SENTINEL MASTER mymaster").await;
            if about["num-other-sentinels"] != "2" || about["num-slaves"] != "1" {
                return false;
            }
        }
        let replica: String = self.servers[1].run("INFO replication").await;
        replica.contains("master_link_status:up")
    }

    /// Masters with equal shares of the slots, and as many replicas, or none.
    pub async fn cluster(masters: usize, with_replicas: bool) -> Self {
        let count = if with_replicas { masters * 2 } else { masters };
        let start = |_| {
            let bus = free_port().to_string();
            let mut options = rights("+asking");
            options.extend(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]);
            // One silent node stops the whole cluster, and a node that answers late is forgotten. The server's default
            // tolerates the pauses of a busy machine.
            options.extend(["--cluster-node-timeout", "15000", "--cluster-replica-validity-factor", "0"]);
            options.extend(["--repl-diskless-sync-delay", "0", "--cluster-port", bus.as_str()]);
            (RedisServer::start_with(&options), bus)
        };
        let (servers, buses): (Vec<_>, Vec<_>) = (0..count).map(start).unzip();
        let urls = servers.iter().map(|one| one.url().replace("://", "://flume:pass~word@"));
        let settings = settings(RedisServers::Cluster(urls.collect()));
        let set = Self { settings, servers, sentinels: Vec::new() };
        for (server, bus) in set.servers.iter().zip(&buses).skip(1) {
            let meet = format!("CLUSTER MEET 127.0.0.1 {} {bus}", server.port);
            set.servers[0].run::<()>(&meet).await;
        }
        for (index, server) in set.servers.iter().take(masters).enumerate() {
            let (from, to) = (index * 16_384 / masters, (index + 1) * 16_384 / masters - 1);
            server.run::<()>(&format!("CLUSTER ADDSLOTSRANGE {from} {to}")).await;
        }
        until("all nodes know each other", async || set.knows_all().await).await;
        for (index, replica) in set.servers.iter().enumerate().skip(masters) {
            let master: String = set.servers[index - masters].run("CLUSTER MYID").await;
            replica.run::<()>(&format!("CLUSTER REPLICATE {master}")).await;
        }
        until("the cluster is whole", async || set.is_whole(masters).await).await;
        if with_replicas {
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

const TLS: [&str; 8] = [
    "--tls-auth-clients",
    "no",
    "--tls-ca-cert-file",
    "DIR/ca.crt",
    "--tls-cert-file",
    "DIR/server.crt",
    "--tls-key-file",
    "DIR/server.key",
];

/// A certificate authority, and a certificate that it has signed for `localhost`.
fn certificates(folder: &Path) {
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca \
             -keyout ca.key -out ca.crt &&
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
             -keyout server.key -out server.csr &&
         printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' >extensions &&
         openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt \
             -extfile extensions";
    let made =
        Command::new("sh").args(["-c", script]).current_dir(folder).output().expect("sh is everywhere");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}
