//! How a server is found, and found again after another took over.

use ::redis::{Cmd, RedisError, Value};

use super::cluster::Cluster;
use super::link::Link;
use super::login::Login;
use super::sentinel::Sentinel;
use super::{NAME, Servers, Settings, answer};
use crate::sink::SinkError;

/// The way to one server.
///
/// The `redis` crate has Sentinel and Cluster clients too. Its Cluster client retries by itself, also what may have
/// been done already, keeps a map of all slots, and connects to every node; for four keys it is enough to ask any node
/// and go where it says, and what a failure means for the messages is for the relay to decide.
#[derive(Debug)]
pub(super) enum Way {
    Single(Link),
    Sentinel(Box<Sentinel>),
    Cluster(Cluster),
}

/// Answers to the first commands, in order, and why there is none to the next.
pub(super) type Answers = (Vec<Value>, Option<SinkError>);

impl Way {
    pub(super) fn new(settings: &Settings) -> Result<Self, SinkError> {
        let login = |url: &String, key| Login::new(url, key, settings);
        let all =
            |urls: &[String], key| urls.iter().map(|url| login(url, key)).collect::<Result<Vec<_>, _>>();
        Ok(match &settings.servers {
            Servers::Single(url) => Self::Single(Link::new(login(url, "redis.url")?)),
            Servers::Sentinel { sentinels, master } => {
                let sentinels = all(sentinels, "redis.sentinels")?;
                Self::Sentinel(Box::new(Sentinel::new(sentinels, login(master, "redis.master")?)))
            }
            Servers::Cluster(nodes) => Self::Cluster(Cluster::new(all(nodes, "redis.cluster")?)),
        })
    }

    /// Answers to commands, which must be about streams that live together.
    pub(super) async fn ask(&mut self, commands: &[Cmd]) -> Answers {
        match self {
            Self::Single(link) => {
                let (values, error) = link.ask(commands).await;
                (values, error.map(|error| answer::explain(NAME, link.host(), &error)))
            }
            Self::Sentinel(sentinel) => sentinel.ask(commands).await,
            Self::Cluster(cluster) => cluster.ask(commands).await,
        }
    }

    /// Host and port of the server that was found last.
    pub(super) fn host(&self) -> Option<String> {
        let link = match self {
            Self::Single(link) => Some(link),
            Self::Sentinel(sentinel) => sentinel.link(),
            Self::Cluster(cluster) => cluster.link(),
        };
        link.map(|link| link.host().to_owned())
    }

    /// What an answer that cannot be read means.
    pub(super) fn explain(&self, error: &RedisError) -> SinkError {
        answer::explain(NAME, self.host().as_deref().unwrap_or("its server"), error)
    }
}
