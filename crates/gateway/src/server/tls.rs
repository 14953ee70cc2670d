use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at: two questions to the system.
const LOOK: Duration = Duration::from_secs(2);

/// Where the certificate of the public address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those that lead to its issuer, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not there, not readable, or not PEM.
    #[error("{}: {source}; name a file in PEM that the daemon may read", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The key is not that of the certificate, or of a kind that is not supported.
    #[error("{} and {}: {source}; name a certificate and its own key", .files.certificate.display(), .files.key.display())]
    Pair {
        /// Both.
        files: TlsFiles,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

/// The certificate in use. It is replaced while the server runs when its files change, so that a renewal needs no restart.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let current = RwLock::new(read(&files)?);
        Ok(Self { files, current })
    }

    /// Takes connections with the certificate in use now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }

    /// Follows the files until `stop`. A pair that cannot be used is logged once, and the one before stays in use.
    pub(super) async fn keep(&self, stop: &CancellationToken) {
        let mut seen = changed_at(&self.files);
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let now = changed_at(&self.files);
            if now == seen {
                continue;
            }
            seen = now;
            match read(&self.files) {
                Ok(new) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
                    tracing::info!(file = %self.files.certificate.display(), "certificate replaced");
                }
                // The two files are written one after the other, so a pair that does not fit may fit at the next look.
                Err(error) => {
                    tracing::warn!(%error, "certificate not replaced; the one before stays in use");
                }
            }
        }
    }
}

/// When each file was last written; a file that is away was written never.
fn changed_at(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    let at = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    [at(&files.certificate), at(&files.key)]
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let of = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    let chain =
        CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(of(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(of(&files.key))?;
    let pair = |source| TlsError::Pair { files: files.clone(), source };
    chainflume_ops::tls::install();
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
