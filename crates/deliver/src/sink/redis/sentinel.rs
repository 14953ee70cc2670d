use ::redis::{Cmd, FromRedisValue, Value, from_redis_value};

use super::answer::{Answers, SENTINEL};
use super::connection::RedisConnection;
use super::credentials::Credentials;
use super::{NAME, answer};
use crate::sink::SinkError;

/// The route to the present master, found as <https://redis.io/docs/latest/develop/reference/sentinel-clients/>
/// describes: the first sentinel that answers names the master, and the server must confirm its role. The route is
/// found again after any error. Sentinels close the connections of a deposed master.
#[derive(Debug)]
pub(super) struct Sentinel {
    /// The sentinel that answered last is first.
    sentinels: Vec<Credentials>,
    /// Credentials of the servers; the host is the name of the master in the sentinels.
    master: Credentials,
    connection: Option<RedisConnection>,
}

impl Sentinel {
    pub(super) fn new(sentinels: Vec<Credentials>, master: Credentials) -> Self {
        Self { sentinels, master, connection: None }
    }

    pub(super) fn connection(&self) -> Option<&RedisConnection> {
        self.connection.as_ref()
    }

    pub(super) async fn ask(&mut self, commands: &[Cmd]) -> Answers {
        let found = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.find().await,
        };
        let mut connection = match found {
            Ok(connection) => connection,
            Err(error) => return (Vec::new(), Some(error)),
        };
        match connection.ask(commands).await {
            (values, None) => {
                self.connection = Some(connection);
                (values, None)
            }
            (values, Some(error)) => (values, Some(answer::explain(NAME, connection.host(), &error))),
        }
    }

    /// Finds the master. Every sentinel is asked before an error is returned: one may not know the new master yet.
    async fn find(&mut self) -> Result<RedisConnection, SinkError> {
        let mut named: Vec<(String, u16)> = Vec::new();
        let (mut of_masters, mut of_sentinels) = (None, None);
        let mut unknown = false;
        for index in 0..self.sentinels.len() {
            match self.named_by(&self.sentinels[index]).await {
                Ok(Some(address)) if named.contains(&address) => {}
                Ok(Some((host, port))) => {
                    match master_at(self.master.at(&host, port)).await {
                        Ok(connection) => {
                            self.sentinels.swap(0, index);
                            return Ok(connection);
                        }
                        Err(error) => of_masters = Some(error),
                    }
                    named.push((host, port));
                }
                Ok(None) => unknown = true,
                // A refusal needs an operator, an unreachable sentinel does not.
                Err(error) if of_sentinels.as_ref().is_none_or(SinkError::is_transient) => {
                    of_sentinels = Some(error);
                }
                Err(_) => {}
            }
        }
        if unknown && of_masters.is_none() {
            return Err(self.unknown());
        }
        Err(of_masters.or(of_sentinels).unwrap_or_else(|| self.unknown()))
    }

    fn unknown(&self) -> SinkError {
        SinkError::Refused {
            sink: SENTINEL,
            host: self.sentinels.iter().map(Credentials::host).collect::<Vec<_>>().join(", "),
            answer: format!("no master is called \"{}\"", self.master.name()),
            remedy: "set redis.master to the name that the sentinels watch",
        }
    }

    /// The master that one sentinel knows; `None` if it does not know the name.
    async fn named_by(&self, sentinel: &Credentials) -> Result<Option<(String, u16)>, SinkError> {
        let mut command = Cmd::new();
        command.arg("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(self.master.name());
        ask_once(&mut RedisConnection::new(sentinel.clone()), SENTINEL, command).await
    }
}

/// Connects to a server that reports the role of master. A replica would answer reads with entries that are not
/// complete yet, and refuse only writes.
async fn master_at(credentials: Credentials) -> Result<RedisConnection, SinkError> {
    let mut connection = RedisConnection::new(credentials);
    let role: Vec<Value> = ask_once(&mut connection, NAME, ::redis::cmd("ROLE")).await?;
    let role: Option<String> = role.into_iter().next().and_then(|word| from_redis_value(word).ok());
    if role.as_deref() == Some("master") {
        return Ok(connection);
    }
    let answer = format!("it is {} and not the master yet", role.as_deref().unwrap_or("unknown"));
    Err(SinkError::Unready { sink: NAME, host: connection.host().to_owned(), answer })
}

async fn ask_once<T: FromRedisValue>(
    connection: &mut RedisConnection,
    who: &'static str,
    command: Cmd,
) -> Result<T, SinkError> {
    let (mut values, error) = connection.ask(&[command]).await;
    if let Some(error) = error {
        return Err(answer::explain(who, connection.host(), &error));
    }
    let value = values.pop().unwrap_or(Value::Nil);
    from_redis_value(value).map_err(|error| answer::explain(who, connection.host(), &error.into()))
}
