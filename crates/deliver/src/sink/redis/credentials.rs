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
        Ok(Self { host: authority(info.addr()), info, config })
    }

    /// The same credentials at another server.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        let mut addr = self.info.addr().clone();
        if let ConnectionAddr::Tcp(its, at) | ConnectionAddr::TcpTls { host: its, port: at, .. } = &mut addr {
            (*its, *at) = (host.to_owned(), port);
        }
        let info = self.info.clone().set_addr(addr);
        Self { host: authority(info.addr()), info, config: self.config.clone() }
    }

    /// Host and port: the only parts of the URL that may be logged.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The host without the port.
    pub(super) fn name(&self) -> &str {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
            _ => &self.host,
        }
    }
}

/// Host and port as in a URL: an IPv6 address is in brackets (RFC 3986, section 3.2.2).
fn authority(addr: &ConnectionAddr) -> String {
    match addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } if host.contains(':') => {
            format!("[{host}]:{port}")
        }
        other => other.to_string(),
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("host", &self.host).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_shown_in_brackets_and_announced_without() {
        let settings = Settings::default();
        for (url, host, name) in [
            ("redis://:secret@[::1]:6379", "[::1]:6379", "::1"),
            ("rediss://[2001:db8::7]:6380/2", "[2001:db8::7]:6380", "2001:db8::7"),
            ("redis://cache.example", "cache.example:6379", "cache.example"),
        ] {
            let credentials = Credentials::new(url, "redis.url", &settings).expect("a url");
            assert_eq!((credentials.host(), credentials.name()), (host, name));
            let other = credentials.at("fd00::2", 7000);
            assert_eq!((other.host(), other.name()), ("[fd00::2]:7000", "fd00::2"));
        }
    }
}
