//! How a server is found, and found again after another took over.

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
/// The `redis` crate has Sentinel and Cluster clients too. Its Cluster client retries by itself, also what may have
/// been done already, keeps a map of all slots, and connects to every node; for four keys it is enough to ask any node
/// and go where it says, and what a failure means for the messages is for the relay to decide.
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

    /// Answers to commands, which must be about streams that live together.
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

    /// Host and port of the server that was found last.
    pub(super) fn host(&self) -> Option<String> {
        let connection = match self {
            Self::Single(connection) => Some(connection),
            Self::Sentinel(sentinel) => sentinel.connection(),
            Self::Cluster(cluster) => cluster.connection(),
        };
        connection.map(|connection| connection.host().to_owned())
    }

    /// What an answer that cannot be read means.
    pub(super) fn explain(&self, error: &RedisError) -> SinkError {
        answer::explain(NAME, self.host().as_deref().unwrap_or("its server"), error)
    }
}
