//! How servers of Redis are reached: in plain text, or by TLS on a second port.

use chainflume_ops::tls::ClientCertificate;

use crate::certificates::Certificates;
use crate::redis_server::{RedisServer, free_port};
use crate::redis_sets::rights;

/// The way to the servers of one deployment.
pub struct Wiring {
    pub certificates: Option<Certificates>,
    /// Whether the servers want a certificate of their clients.
    pub asks_clients: bool,
}

/// A server that is started for a Cluster.
pub struct ClusterNode {
    pub server: RedisServer,
    /// The port for clients.
    pub port: u16,
    /// The port for other nodes.
    pub bus: u16,
}

/// Names of the options and the files, for all kinds of servers.
pub fn tls_options(certificates: &Certificates) -> Vec<String> {
    let files = [
        ("--tls-ca-cert-file", "ca.crt"),
        ("--tls-cert-file", "server.crt"),
        ("--tls-key-file", "server.key"),
    ];
    let file = |name| certificates.path(name).display().to_string();
    files.into_iter().flat_map(|(option, name)| [option.to_owned(), file(name)]).collect()
}

impl Wiring {
    pub fn plain() -> Self {
        Self { certificates: None, asks_clients: false }
    }

    /// The servers speak TLS among each other too.
    pub fn by_tls(certificates: Certificates) -> Self {
        Self { certificates: Some(certificates), asks_clients: false }
    }

    /// As servers do where nothing else is configured: a client needs a certificate too.
    pub fn asking_clients(certificates: Certificates) -> Self {
        Self { asks_clients: true, ..Self::by_tls(certificates) }
    }

    /// For a client that is asked.
    pub fn client(&self) -> Option<ClientCertificate> {
        self.certificates.as_ref().filter(|_| self.asks_clients).map(Certificates::client)
    }

    fn auth_clients(&self) -> &'static str {
        if self.asks_clients { "yes" } else { "no" }
    }

    pub fn scheme(&self) -> &'static str {
        if self.certificates.is_some() { "rediss" } else { "redis" }
    }

    /// Of the port for clients. By TLS the name is in the certificate.
    pub fn url(&self, user: &str, port: u16) -> String {
        let host = if self.certificates.is_some() { "localhost" } else { "127.0.0.1" };
        format!("{}://{user}@{host}:{port}/", self.scheme())
    }

    pub fn ca(&self) -> Option<Vec<u8>> {
        self.certificates.as_ref().map(Certificates::ca)
    }

    /// A server with these options, and the port for its clients. The test itself uses the plain port.
    pub fn server(&self, options: &[&str]) -> (RedisServer, u16) {
        let Some(certificates) = &self.certificates else {
            let server = RedisServer::start_with(options);
            let port = server.port;
            return (server, port);
        };
        let (tls_port, tls) = (free_port(), tls_options(certificates));
        let port = tls_port.to_string();
        let mut all = vec!["--tls-port", port.as_str(), "--tls-auth-clients", self.auth_clients()];
        all.extend(["--tls-replication", "yes"]);
        all.extend(tls.iter().map(String::as_str));
        all.extend(options);
        (RedisServer::start_with(&all), tls_port)
    }

    pub fn sentinel(&self, lines: &str) -> (RedisServer, u16) {
        let Some(certificates) = &self.certificates else {
            let sentinel = RedisServer::start_sentinel(lines);
            let port = sentinel.port;
            return (sentinel, port);
        };
        let tls_port = free_port();
        let asks = self.auth_clients();
        let mut all = format!("tls-port {tls_port}\ntls-auth-clients {asks}\ntls-replication yes\n");
        for pair in tls_options(certificates).chunks(2) {
            all += &format!("{} {}\n", pair[0].trim_start_matches("--"), pair[1]);
        }
        (RedisServer::start_sentinel(&(all + lines)), tls_port)
    }

    pub fn cluster_node(&self) -> ClusterNode {
        let bus = free_port();
        let bus_port = bus.to_string();
        let mut options = rights("+asking");
        options.extend(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]);
        // One silent node stops the whole cluster, and a node that answers late is forgotten. The server's default
        // tolerates the pauses of a busy machine.
        options.extend(["--cluster-node-timeout", "15000", "--cluster-replica-validity-factor", "0"]);
        options.extend(["--repl-diskless-sync-delay", "0", "--cluster-port", bus_port.as_str()]);
        if self.certificates.is_some() {
            options.extend(["--tls-cluster", "yes"]);
        }
        let (server, port) = self.server(&options);
        ClusterNode { server, port, bus }
    }
}
