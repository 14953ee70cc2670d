use std::fmt;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, IntoConnectionInfo, RedisError, TlsCertificates,
};

use super::{Settings, answer};
use crate::sink::SinkError;
use crate::tls;

/// A connection that is opened when something is asked and thrown away after any error: what its server still does with
/// what was sent on it is not known, and the name may lead to another server by now.
pub(super) struct Link {
    client: Client,
    config: AsyncConnectionConfig,
    host: String,
    connection: Option<MultiplexedConnection>,
}

impl Link {
    pub(super) fn new(settings: &Settings) -> Result<Self, SinkError> {
        tls::install();
        let unreadable = |remedy| {
            move |error: RedisError| SinkError::Refused {
                sink: "redis",
                host: "redis.url".to_owned(),
                answer: error.category().to_owned(),
                remedy,
            }
        };
        let info = settings
            .url
            .as_str()
            .into_connection_info()
            .map_err(unreadable("write redis://user:password@host:port/db, or rediss:// for TLS"))?;
        // It would need the right to `CLIENT`, for a name nobody looks at.
        let redis = info.redis_settings().clone().set_skip_set_lib_name();
        let info = info.set_redis_settings(redis);
        let host = info.addr().to_string();
        let client = match &settings.ca {
            Some(ca) => Client::build_with_tls(
                info,
                TlsCertificates { client_tls: None, root_cert: Some(ca.clone()) },
            ),
            None => Client::open(info),
        };
        let client = client.map_err(unreadable("name a certificate authority in PEM as redis.ca_file"))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.timeout))
            .set_response_timeout(Some(settings.timeout));
        Ok(Self { client, config, host, connection: None })
    }

    /// Host and port: all of the URL that may be shown.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The answer to one command.
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.client.get_multiplexed_async_connection_with_config(&self.config).await?,
        };
        let answer = command.query_async(&mut connection).await;
        if answer.as_ref().is_ok() || answer.as_ref().is_err_and(answer::is_no_such_key) {
            self.connection = Some(connection);
        }
        answer
    }

    /// What an error means for the messages.
    pub(super) fn explain(&self, error: &RedisError) -> SinkError {
        answer::explain(&self.host, error)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("host", &self.host).finish_non_exhaustive()
    }
}
