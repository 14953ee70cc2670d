use ::redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};

use super::answer::Answers;
use super::connection::RedisConnection;
use super::credentials::Credentials;
use super::{NAME, answer};
use crate::sink::SinkError;

/// The route to the Cluster node that holds one key. Any node is asked; its answer names the owner of the key
/// (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>, "Redirection and resharding"). No map
/// of slots is stored, so none can be out of date, and the user needs no right to read one.
#[derive(Debug)]
pub(super) struct Cluster {
    /// The configured nodes, the next one to ask first. Never empty.
    nodes: Vec<Credentials>,
    /// The node that last held the key.
    connection: Option<RedisConnection>,
}

/// Maximum redirections of one request. While a slot moves, a request goes from an old node to the owner, and from the
/// owner to the next one.
const REDIRECTS: u32 = 5;

/// The target of a redirection.
enum Redirect {
    /// To the owner of the slot.
    Moved(Credentials),
    /// For this request only: to the node that the slot is moving to.
    Ask(Credentials),
}

impl Cluster {
    pub(super) fn new(nodes: Vec<Credentials>) -> Self {
        Self { nodes, connection: None }
    }

    pub(super) fn connection(&self) -> Option<&RedisConnection> {
        self.connection.as_ref()
    }

    pub(super) async fn ask(&mut self, commands: &[Cmd]) -> Answers {
        let Some(entry) = self.nodes.first().cloned() else {
            return (
                Vec::new(),
                Some(rearranged("redis.cluster".to_owned(), "no node is configured".to_owned())),
            );
        };
        let mut values = Vec::with_capacity(commands.len());
        let mut connection = self.connection.take().unwrap_or_else(|| RedisConnection::new(entry));
        let mut asking = false;
        for _ in 0..=REDIRECTS {
            let rest = &commands[values.len()..];
            let (found, error) =
                if asking { connection.ask_asking(rest).await } else { connection.ask(rest).await };
            values.extend(found);
            let Some(error) = error else {
                // A node reached by `ASK` is not the owner yet.
                self.connection = (!asking).then_some(connection);
                return (values, None);
            };
            match self.redirect(&error, &connection) {
                Some(Redirect::Moved(credentials)) => {
                    (connection, asking) = (RedisConnection::new(credentials), false)
                }
                Some(Redirect::Ask(credentials)) => {
                    (connection, asking) = (RedisConnection::new(credentials), true)
                }
                None => {
                    // The node may be dead, and another node may know its successor. The request is not repeated at
                    // once: it may have been executed.
                    self.nodes.rotate_left(1);
                    return (values, Some(answer::explain(NAME, connection.host(), &error)));
                }
            }
        }
        self.nodes.rotate_left(1);
        let answer = format!("{REDIRECTS} nodes in a row redirected the request");
        (values, Some(rearranged(connection.host().to_owned(), answer)))
    }

    fn redirect(&self, error: &RedisError, from: &RedisConnection) -> Option<Redirect> {
        let (address, _slot) = error.redirect_node()?;
        let (host, port) = address.rsplit_once(':')?;
        // A node that does not know its own host name means the host of this connection.
        let host = if host.is_empty() || host == "?" { from.name() } else { host };
        let credentials = self.nodes.first()?.at(host, port.parse().ok()?);
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Ask) => Some(Redirect::Ask(credentials)),
            _ => Some(Redirect::Moved(credentials)),
        }
    }
}

fn rearranged(host: String, answer: String) -> SinkError {
    SinkError::Unready { sink: NAME, host, answer }
}
