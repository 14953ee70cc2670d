use std::fmt;

use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisError, TlsCertificates,
};

use super::{NAME, Settings};
use crate::sink::SinkError;
use chainflume_ops::tls;

/// Address of a server, and the credentials for it.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) info: ConnectionInfo,
    pub(super) config: AsyncConnectionConfig,
    host: String,
}

impl Credentials {
    /// Reads the URL of the configuration key `key`.
    pub(super) fn new(url: &str, key: &str, settings: &Settings) -> Result<Self, SinkError> {
        tls::install();
        let unreadable = |remedy| {
            move |error: RedisError| SinkError::Refused {
                sink: NAME,
                host: key.to_owned(),
                answer: error.category().to_owned(),
                remedy,
            }
        };
        let info = url
            .into_connection_info()
            .map_err(unreadable("write redis://user:password@host:port/db, or rediss:// for TLS"))?;
        // Sending the library's name would need the right to `CLIENT`, and the name has no use.
        let redis = info.redis_settings().clone().set_skip_set_lib_name();
        let mut info = info.set_redis_settings(redis);
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            let client_tls = settings.client.as_ref().map(|client| ClientTlsConfig {
                client_cert: client.certificate().to_vec(),
                client_key: client.key().to_vec(),
            });
            let certificates = TlsCertificates { client_tls, root_cert: settings.ca.clone() };
            let client = Client::build_with_tls(info, certificates)
                .map_err(unreadable("name a certificate authority in PEM as redis.ca_file"))?;
            info = client.get_connection_info().clone();
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.timeout))
            .set_response_timeout(Some(settings.timeout));
        Ok(Self { host: info.addr().to_string(), info, config })
    }

    /// The same credentials at another server.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        let mut addr = self.info.addr().clone();
        if let ConnectionAddr::Tcp(its, at) | ConnectionAddr::TcpTls { host: its, port: at, .. } = &mut addr {
            (*its, *at) = (host.to_owned(), port);
        }
        let info = self.info.clone().set_addr(addr);
        Self { host: info.addr().to_string(), info, config: self.config.clone() }
    }

    /// Host and port: the only parts of the URL that may be logged.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The host without the port.
    pub(super) fn name(&self) -> &str {
        self.host.rsplit_once(':').map_or(&self.host, |(name, _)| name)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("host", &self.host).finish_non_exhaustive()
    }
}
