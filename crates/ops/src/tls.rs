//! The one TLS library of the process, and what its refusals mean.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::sync::Once;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// rustls needs one provider for the process; its HTTP and WebSocket clients cannot be built without. May be called any
/// number of times.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that a provider is installed already, which serves as well.
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Whether the text has a certificate in PEM: without one no server would be trusted.
pub fn has_certificate(pem: &[u8]) -> bool {
    CertificateDer::pem_slice_iter(pem).any(|certificate| certificate.is_ok())
}

/// What is wrong with the variables that name the authorities of this machine, and the remedy; `None` where both can be used.
/// The libraries read no other authorities once one of the variables is set, and do not report a path that they cannot read.
pub fn wrong_variable() -> Option<String> {
    wrong_among(|name| std::env::var_os(name))
}

fn wrong_among(value: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let file = value("SSL_CERT_FILE").and_then(|file| wrong_file(&file));
    let folders = || {
        let folders = value("SSL_CERT_DIR")?;
        let mut folders = std::env::split_paths(&folders).filter(|folder| !folder.as_os_str().is_empty());
        folders.find_map(|folder| wrong_folder(&folder))
    };
    file.or_else(folders)
}

fn wrong_file(file: &OsStr) -> Option<String> {
    let what = match std::fs::read(file) {
        Ok(text) if has_certificate(&text) => return None,
        Ok(_) => "has no certificate in PEM".to_owned(),
        Err(error) => format!("cannot be read ({error})"),
    };
    let file = Path::new(file).display();
    Some(format!(
        "the variable SSL_CERT_FILE names {file}, which {what}: name a file of certificate authorities, or remove the variable"
    ))
}

fn wrong_folder(folder: &Path) -> Option<String> {
    let error = std::fs::read_dir(folder).err()?;
    let folder = folder.display();
    Some(format!(
        "the variable SSL_CERT_DIR names {folder}, which cannot be read ({error}): name a folder of certificate authorities, or remove \
         the variable"
    ))
}

/// What a client proves itself with where the server asks for it: a certificate with those that lead to its issuer, and its key,
/// both in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Why a client cannot prove itself.
#[derive(Debug, thiserror::Error)]
pub enum ClientCertificateError {
    /// The first of the two has no certificate.
    #[error("has no certificate; name a certificate in PEM")]
    NoCertificate,
    /// The second has no key.
    #[error("has no private key; name a key in PEM, without a password")]
    NoKey,
    /// Both were read, and do not belong together, or are of a kind that is not supported.
    #[error("is not the key of the certificate, or cannot be used: {0}; name a certificate and its own key")]
    Pair(rustls::Error),
}

impl ClientCertificate {
    /// Takes a certificate and its own key.
    ///
    /// # Errors
    /// What is wrong with one of the two, or with both together.
    pub fn new(certificate: Vec<u8>, key: Vec<u8>) -> Result<Self, ClientCertificateError> {
        install();
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or(ClientCertificateError::NoCertificate)?;
        let own = PrivateKeyDer::from_pem_slice(&key).map_err(|_| ClientCertificateError::NoKey)?;
        let builder = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        builder.with_client_auth_cert(chain, own).map_err(ClientCertificateError::Pair)?;
        Ok(Self { certificate, key })
    }

    /// The certificate, PEM.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The key, PEM.
    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(…)")
    }
}

/// The remedy for [`TlsFault::AuthorityAsServer`], where the text before it names the server.
pub const AUTHORITY_AS_SERVER: &str = "its certificate is that of an authority: let it sign another certificate for the server (basicConstraints CA:FALSE)";
/// The remedy for [`TlsFault::Certificate`], where the text before it names the server.
pub const INVALID_CERTIFICATE: &str = "renew its certificate, or correct the clock of this machine";

/// Why a TLS connection did not open, as far as a remedy depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The machine has no certificate authorities at all.
    NoAuthorities,
    /// No known authority signed the certificate of the server.
    UnknownAuthority,
    /// The certificate is for another name or address.
    OtherName,
    /// The server shows the certificate of an authority, as `openssl req -x509` makes it.
    AuthorityAsServer,
    /// The certificate is not valid now, or cannot be used.
    Certificate,
    /// The port does not speak TLS.
    NoTls,
    /// The server wants a certificate of the client.
    ClientCertificate,
    /// The server does not accept the certificate of the client.
    ClientRefused,
}

/// Parts of the errors of rustls and of its clients. The first that fits counts.
const FAULTS: [(&str, TlsFault); 18] = [
    ("No CA certificates", TlsFault::NoAuthorities),
    // Of the client of Redis, which reads the authorities of the machine in any case.
    ("failed to read PEM from file", TlsFault::NoAuthorities),
    ("opening directory", TlsFault::NoAuthorities),
    // Of the WebSocket client.
    ("no native root CA certificates", TlsFault::NoAuthorities),
    ("UnknownIssuer", TlsFault::UnknownAuthority),
    // An authority of the same name with another key, as one that was made anew.
    ("invalid peer certificate: BadSignature", TlsFault::UnknownAuthority),
    ("not valid for name", TlsFault::OtherName),
    ("NotValidForName", TlsFault::OtherName),
    ("CaUsedAsEndEntity", TlsFault::AuthorityAsServer),
    ("invalid peer certificate", TlsFault::Certificate),
    ("InvalidContentType", TlsFault::NoTls),
    // A server of another protocol closes what it does not understand.
    ("tls handshake eof", TlsFault::NoTls),
    ("CertificateRequired", TlsFault::ClientCertificate),
    // Alerts about a certificate (RFC 8446, section 6.2): the one who gets them has sent it.
    ("alert: UnknownCA", TlsFault::ClientRefused),
    ("alert: BadCertificate", TlsFault::ClientRefused),
    ("alert: CertificateExpired", TlsFault::ClientRefused),
    ("alert: CertificateUnknown", TlsFault::ClientRefused),
    ("alert: CertificateRevoked", TlsFault::ClientRefused),
];

impl TlsFault {
    /// The fault behind the text of an error; `None` if TLS is not the reason. By the text, because some clients keep nothing
    /// else of the error.
    pub fn of(reason: &str) -> Option<Self> {
        FAULTS.iter().find(|(words, _)| reason.contains(words)).map(|(_, fault)| *fault)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

    use super::*;

    #[test]
    fn each_fault_is_found_in_the_words_of_the_library() {
        let expected = ServerName::try_from("redis.example").expect("a name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(20));
        let not_after = UnixTime::since_unix_epoch(Duration::from_secs(10));
        let certificate = |error| Error::InvalidCertificate(error).to_string();
        for (text, fault) in [
            (certificate(CertificateError::UnknownIssuer), TlsFault::UnknownAuthority),
            (certificate(CertificateError::BadSignature), TlsFault::UnknownAuthority),
            (certificate(CertificateError::NotValidForName), TlsFault::OtherName),
            (
                certificate(CertificateError::NotValidForNameContext { expected, presented: Vec::new() }),
                TlsFault::OtherName,
            ),
            (certificate(CertificateError::ExpiredContext { time: now, not_after }), TlsFault::Certificate),
            (
                "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))".to_owned(),
                TlsFault::AuthorityAsServer,
            ),
            ("tls handshake eof".to_owned(), TlsFault::NoTls),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType).to_string(), TlsFault::NoTls),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired).to_string(),
                TlsFault::ClientCertificate,
            ),
            (Error::AlertReceived(AlertDescription::UnknownCA).to_string(), TlsFault::ClientRefused),
            (Error::AlertReceived(AlertDescription::BadCertificate).to_string(), TlsFault::ClientRefused),
            (Error::AlertReceived(AlertDescription::CertificateExpired).to_string(), TlsFault::ClientRefused),
            (Error::AlertReceived(AlertDescription::CertificateUnknown).to_string(), TlsFault::ClientRefused),
            (Error::AlertReceived(AlertDescription::CertificateRevoked).to_string(), TlsFault::ClientRefused),
        ] {
            assert_eq!(TlsFault::of(&text), Some(fault), "{text}");
        }
        assert_eq!(TlsFault::of("Connection refused (os error 111)"), None);
    }

    #[test]
    fn a_variable_that_names_no_authorities_is_wrong() {
        let folder = std::env::temp_dir();
        let good = folder.join(format!("chainflume-authorities-{}.pem", std::process::id()));
        std::fs::write(&good, "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
            .expect("ours");
        let wrong = |file: Option<&Path>, folders: Option<&str>| {
            wrong_among(|name| match name {
                "SSL_CERT_FILE" => file.map(|file| file.as_os_str().to_owned()),
                _ => folders.map(OsString::from),
            })
        };
        assert_eq!(wrong(None, None), None);
        assert_eq!(wrong(Some(&good), folder.to_str()), None);
        let gone = wrong(Some(Path::new("/no/ca.pem")), None).expect("it is not there");
        let words = "the variable SSL_CERT_FILE names /no/ca.pem, which cannot be read (No such file or directory (os error 2)): name";
        assert!(gone.starts_with(words), "{gone}");
        let empty = wrong(Some(Path::new("/dev/null")), None).expect("it has none");
        assert!(empty.contains("names /dev/null, which has no certificate in PEM: name a file"), "{empty}");
        let folders = format!("{}:/no/such", folder.display());
        let gone = wrong(Some(&good), Some(&folders)).expect("one of them is not there");
        assert!(gone.starts_with("the variable SSL_CERT_DIR names /no/such, which cannot be read"), "{gone}");
        std::fs::remove_file(&good).expect("ours");
    }

    #[test]
    fn a_text_without_a_certificate_is_recognized() {
        for (text, is) in [
            ("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", true),
            ("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n", false),
            ("no PEM", false),
        ] {
            assert_eq!(has_certificate(text.as_bytes()), is, "{text}");
        }
    }
}
