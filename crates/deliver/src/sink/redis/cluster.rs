use ::redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};

use super::answer::Answers;
use super::connection::RedisConnection;
use super::credentials::Credentials;
use super::{NAME, answer};
use crate::sink::SinkError;

/// The route to the node of a Cluster that holds one key: any node is asked, and says where the key lives
/// (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>, "Redirection and resharding"). No map of
/// slots is kept, so none can be out of date, and the user needs no right to ask for one.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Nodes to begin with, the next to ask first. Never empty.
    nodes: Vec<Credentials>,
    /// Where the key was last found.
    connection: Option<RedisConnection>,
}

/// Times one question is sent on: while a slot moves, from an old node to the owner and from there to the next.
const REDIRECTS: u32 = 5;

/// Where a node sends us.
enum Redirect {
    /// To the owner.
    Moved(Credentials),
    /// For this question alone, to whom the slot is moving.
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
            return (Vec::new(), Some(rearranged("redis.cluster".to_owned(), "it names no node".to_owned())));
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
                // The node that was asked this way is not the owner yet.
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
                    // It may be dead, and another know who took over. Not asked at once: what was sent may have been done.
                    self.nodes.rotate_left(1);
                    return (values, Some(answer::explain(NAME, connection.host(), &error)));
                }
            }
        }
        self.nodes.rotate_left(1);
        let answer = format!("{REDIRECTS} nodes in a row sent us on");
        (values, Some(rearranged(connection.host().to_owned(), answer)))
    }

    fn redirect(&self, error: &RedisError, from: &RedisConnection) -> Option<Redirect> {
        let (address, _slot) = error.redirect_node()?;
        let (host, port) = address.rsplit_once(':')?;
        // Where nodes do not know their own names, they mean the one we used.
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
