use ::redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};

use super::link::Link;
use super::login::Login;
use super::way::Answers;
use super::{NAME, answer};
use crate::sink::SinkError;

/// The way to the node of a Cluster that holds one key: any node is asked, and says where the key lives
/// (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>, "Redirection and resharding"). No map of
/// slots is kept, so none can be out of date, and the user needs no right to ask for one.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Nodes to begin with, the next to ask first. Never empty.
    nodes: Vec<Login>,
    /// Where the key was last found.
    link: Option<Link>,
}

/// Times one question is sent on: while a slot moves, from an old node to the owner and from there to the next.
const REDIRECTS: u32 = 5;

/// Where a node sends us.
enum Redirect {
    /// To the owner.
    Moved(Login),
    /// For this question alone, to whom the slot is moving.
    Ask(Login),
}

impl Cluster {
    pub(super) fn new(nodes: Vec<Login>) -> Self {
        Self { nodes, link: None }
    }

    pub(super) fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    pub(super) async fn ask(&mut self, commands: &[Cmd]) -> Answers {
        let Some(entry) = self.nodes.first().cloned() else {
            return (Vec::new(), Some(rearranged("redis.cluster".to_owned(), "it names no node".to_owned())));
        };
        let mut values = Vec::with_capacity(commands.len());
        let mut link = self.link.take().unwrap_or_else(|| Link::new(entry));
        let mut asking = false;
        for _ in 0..=REDIRECTS {
            let rest = &commands[values.len()..];
            let (found, error) = if asking { link.ask_asking(rest).await } else { link.ask(rest).await };
            values.extend(found);
            let Some(error) = error else {
                // Who was asked by the way is not the owner yet.
                self.link = (!asking).then_some(link);
                return (values, None);
            };
            match self.redirect(&error, &link) {
                Some(Redirect::Moved(login)) => (link, asking) = (Link::new(login), false),
                Some(Redirect::Ask(login)) => (link, asking) = (Link::new(login), true),
                None => {
                    // It may be dead, and another know who took over. Not asked at once: what was sent may have been done.
                    self.nodes.rotate_left(1);
                    return (values, Some(answer::explain(NAME, link.host(), &error)));
                }
            }
        }
        self.nodes.rotate_left(1);
        let answer = format!("{REDIRECTS} nodes in a row sent us on");
        (values, Some(rearranged(link.host().to_owned(), answer)))
    }

    fn redirect(&self, error: &RedisError, from: &Link) -> Option<Redirect> {
        let (address, _slot) = error.redirect_node()?;
        let (host, port) = address.rsplit_once(':')?;
        // Where nodes do not know their own names, they mean the one we used.
        let host = if host.is_empty() || host == "?" { from.name() } else { host };
        let login = self.nodes.first()?.at(host, port.parse().ok()?);
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Ask) => Some(Redirect::Ask(login)),
            _ => Some(Redirect::Moved(login)),
        }
    }
}

fn rearranged(host: String, answer: String) -> SinkError {
    SinkError::Unready { sink: NAME, host, answer }
}
