//! The one TLS library of the process, and what its refusals mean.

use std::fmt;
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
const FAULTS: [(&str, TlsFault); 16] = [
    ("No CA certificates", TlsFault::NoAuthorities),
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
