use std::fmt;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Client, Cmd, Pipeline, RedisError, RedisResult, Value};

use super::credentials::Credentials;

/// A connection that opens on its first use and closes after any error. After an error, the server may still execute
/// earlier commands, and the name may lead to another server.
pub(super) struct RedisConnection {
    credentials: Credentials,
    multiplexed: Option<MultiplexedConnection>,
}

impl RedisConnection {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, multiplexed: None }
    }

    /// Host and port of its server.
    pub(super) fn host(&self) -> &str {
        self.credentials.host()
    }

    /// Host of its server.
    pub(super) fn name(&self) -> &str {
        self.credentials.name()
    }

    /// Answers to the first commands, in order, and the error in place of the next answer. All commands are sent before
    /// the first answer is read. Commands after the error may have been executed.
    pub(super) async fn ask(&mut self, commands: &[Cmd]) -> (Vec<Value>, Option<RedisError>) {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        pipeline.ignore_errors();
        for command in commands {
            pipeline.add_command(command.clone());
        }
        self.send(&pipeline, 1).await
    }

    /// As [`RedisConnection::ask`], for a Cluster node that is about to receive the key.
    pub(super) async fn ask_asking(&mut self, commands: &[Cmd]) -> (Vec<Value>, Option<RedisError>) {
        let mut pipeline = Pipeline::with_capacity(commands.len() * 2);
        pipeline.ignore_errors();
        for command in commands {
            pipeline.cmd("ASKING").add_command(command.clone());
        }
        self.send(&pipeline, 2).await
    }

    /// Every `step`-th answer, up to the first error of any command. The pipeline must ignore errors: otherwise one
    /// error hides all answers.
    async fn send(&mut self, pipeline: &Pipeline, step: usize) -> (Vec<Value>, Option<RedisError>) {
        let answers = match self.answers(pipeline).await {
            Ok(answers) => answers,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let mut values = Vec::with_capacity(answers.len());
        for (index, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(value) if (index + 1).is_multiple_of(step) => values.push(value),
                Ok(_) => {}
                Err(error) => {
                    self.multiplexed = None;
                    return (values, Some(error));
                }
            }
        }
        (values, None)
    }

    async fn answers(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        let mut connection = match self.multiplexed.take() {
            Some(connection) => connection,
            None => {
                let client = Client::open(self.credentials.info.clone())?;
                client.get_multiplexed_async_connection_with_config(&self.credentials.config).await?
            }
        };
        let answers = pipeline.query_async(&mut connection).await?;
        self.multiplexed = Some(connection);
        Ok(answers)
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("host", &self.host()).finish_non_exhaustive()
    }
}
