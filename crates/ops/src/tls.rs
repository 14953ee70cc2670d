//! The one TLS library of the process, and what its refusals mean.

use std::sync::Once;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

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

/// Why a TLS connection did not open, as far as a remedy depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The machine has no certificate authorities at all.
    NoAuthorities,
    /// No known authority signed the certificate of the server.
    UnknownAuthority,
    /// The certificate is for another name or address.
    OtherName,
    /// The certificate is not valid now, or cannot be used.
    Certificate,
    /// The port does not speak TLS.
    NoTls,
    /// The server wants a certificate of the client.
    ClientCertificate,
}

/// Parts of the errors of rustls. The first that fits counts.
const FAULTS: [(&str, TlsFault); 8] = [
    ("No CA certificates", TlsFault::NoAuthorities),
    ("UnknownIssuer", TlsFault::UnknownAuthority),
    // An authority of the same name with another key, as one that was made anew.
    ("invalid peer certificate: BadSignature", TlsFault::UnknownAuthority),
    ("not valid for name", TlsFault::OtherName),
    ("NotValidForName", TlsFault::OtherName),
    ("invalid peer certificate", TlsFault::Certificate),
    ("InvalidContentType", TlsFault::NoTls),
    ("CertificateRequired", TlsFault::ClientCertificate),
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
            (Error::InvalidMessage(InvalidMessage::InvalidContentType).to_string(), TlsFault::NoTls),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired).to_string(),
                TlsFault::ClientCertificate,
            ),
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
