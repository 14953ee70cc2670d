//! Finds a server, and finds its successor after a failover.

use ::redis::{Cmd, RedisError};

use super::answer::Answers;
use super::cluster::Cluster;
use super::connection::RedisConnection;
use super::credentials::Credentials;
use super::sentinel::Sentinel;
use super::{NAME, Servers, Settings, answer};
use crate::sink::SinkError;

/// The route to one server.
///
/// The `redis` crate has Sentinel and Cluster clients too. Its Cluster client repeats requests that may have been
/// executed, keeps a map of all slots, and connects to every node. For the keys of a few streams it is enough to ask any node and
/// to follow its redirection. The relay decides what a failure means for the messages.
#[derive(Debug)]
pub(super) enum Route {
    Single(RedisConnection),
    Sentinel(Box<Sentinel>),
    Cluster(Cluster),
}

impl Route {
    pub(super) fn new(settings: &Settings) -> Result<Self, SinkError> {
        let credentials = |url: &String, key| Credentials::new(url, key, settings);
        let all = |urls: &[String], key| {
            urls.iter().map(|url| credentials(url, key)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match &settings.servers {
            Servers::Single(url) => Self::Single(RedisConnection::new(credentials(url, "redis.url")?)),
            Servers::Sentinel { sentinels, master } => {
                let sentinels = all(sentinels, "redis.sentinels")?;
                Self::Sentinel(Box::new(Sentinel::new(sentinels, credentials(master, "redis.master")?)))
            }
            Servers::Cluster(nodes) => Self::Cluster(Cluster::new(all(nodes, "redis.cluster")?)),
        })
    }

    /// Answers to commands. Their streams must be on one server.
    pub(super) async fn ask(&mut self, commands: &[Cmd]) -> Answers {
        match self {
            Self::Single(connection) => {
                let (values, error) = connection.ask(commands).await;
                (values, error.map(|error| answer::explain(NAME, connection.host(), &error)))
            }
            Self::Sentinel(sentinel) => sentinel.ask(commands).await,
            Self::Cluster(cluster) => cluster.ask(commands).await,
        }
    }

    /// Host and port of the last server.
    pub(super) fn host(&self) -> Option<String> {
        let connection = match self {
            Self::Single(connection) => Some(connection),
            Self::Sentinel(sentinel) => sentinel.connection(),
            Self::Cluster(cluster) => cluster.connection(),
        };
        connection.map(|connection| connection.host().to_owned())
    }

    /// Converts an unreadable answer to an error.
    pub(super) fn explain(&self, error: &RedisError) -> SinkError {
        answer::explain(NAME, self.host().as_deref().unwrap_or("its server"), error)
    }
}
