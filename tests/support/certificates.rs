//! Certificates of an authority that belongs to one test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use chainflume_ops::tls::ClientCertificate;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// Makes an authority, where there is none, and a certificate that it signs.
const SCRIPT: &str = r#"set -e
new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
[ -e ca.crt ] || openssl req -x509 $new -days 2 -subj "/CN=authority $$" -keyout ca.key -out ca.crt
openssl req $new -subj /CN=server -keyout new.key -out new.csr
printf 'subjectAltName=%s' "$1" >extensions
openssl x509 -req -in new.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out new.crt -extfile extensions
mv new.key server.key
mv new.crt server.crt
"#;

/// An authority in `ca.crt`, and a certificate of a server in `server.crt` and `server.key`.
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// For these names, as in `DNS:localhost,IP:127.0.0.1`.
    pub fn new(names: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        make(folder.path(), names);
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The certificate of the authority.
    pub fn ca(&self) -> Vec<u8> {
        self.read("ca.crt")
    }

    /// The certificate of the server as a client's.
    pub fn client(&self) -> ClientCertificate {
        ClientCertificate::new(self.read("server.crt"), self.read("server.key")).expect("a pair")
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("it was made")
    }

    /// Accepts connections with the certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        chainflume_ops::tls::install();
        let chain = vec![CertificateDer::from_pem_slice(&self.read("server.crt")).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(&self.read("server.key")).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        TlsAcceptor::from(Arc::new(config.expect("a pair")))
    }

    /// Another certificate of the same authority, for these names.
    pub fn renew(&self, names: &str) {
        make(self.folder.path(), names);
    }

    /// Another authority and another certificate, in the same files.
    pub fn replace(&self, names: &str) {
        std::fs::remove_file(self.path("ca.crt")).expect("it was made");
        self.renew(names);
    }
}

fn make(folder: &Path, names: &str) {
    let mut command = Command::new("sh");
    let made = command.args(["-c", SCRIPT, "certificates", names]).current_dir(folder).output();
    let made = made.expect("sh is everywhere");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}
