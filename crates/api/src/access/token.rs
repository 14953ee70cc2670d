use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hmac, signature};
use serde::Deserialize;

use super::claims::Claims;
use super::pem::{self, PublicKey};
use super::principal::User;

/// Maximum size of a token in bytes: it must fit into one header of a request.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
/// Maximum difference, in seconds, by which the clock of an issuer may be ahead. Clocks synchronized by NTP differ by
/// less.
const AHEAD: u64 = 60;
/// RFC 7518 §3.2: a key of HS256 has at least as many bytes as the hash.
const MIN_SECRET_BYTES: usize = 32;
/// The beginning of every key in PEM.
const PEM: &[u8] = b"-----BEGIN";

/// The accepted signature algorithms. `none` is not one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSA PKCS #1 with SHA-256, 2048 bits or more.
    Rs256,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The names of RFC 7518 and RFC 8037.
    pub const WORDS: [(&'static str, Self); 4] =
        [("HS256", Self::Hs256), ("RS256", Self::Rs256), ("ES256", Self::Es256), ("EdDSA", Self::EdDsa)];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, algorithm)| *algorithm == self).map_or("", |(word, _)| word)
    }
}

/// A key that checks signatures of exactly one algorithm: the header of a token cannot select another one for it.
pub struct VerifyingKey {
    kind: Kind,
    /// Its name in a set of keys. A key without a name is tried for every token of its algorithm.
    id: Option<String>,
}

enum Kind {
    Secret(hmac::Key),
    Rsa(signature::RsaPublicKeyComponents<Vec<u8>>),
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Too easy to guess.
    #[error("the secret has fewer than {MIN_SECRET_BYTES} bytes; make one with `openssl rand -base64 32`")]
    ShortSecret,
    /// A public key is known to all: as a secret it would let anyone sign.
    #[error("the secret is a key in PEM; name the file under public_key_file")]
    PemSecret,
    /// RFC 7518 §3.3, and a limit on the time of a check.
    #[error("an RSA key has 2048 to 8192 bits")]
    RsaBits,
    /// Not a supported key.
    #[error("there is no public key of RSA, P-256 or Ed25519 in PEM; `openssl pkey -pubout` writes one")]
    NotPublic,
}

impl VerifyingKey {
    /// A secret that issuer and server share.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`], [`KeyError::PemSecret`]
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyError::ShortSecret);
        }
        if secret.windows(PEM.len()).any(|part| part == PEM) {
            return Err(KeyError::PemSecret);
        }
        Ok(Self::new(Kind::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret))))
    }

    fn new(kind: Kind) -> Self {
        Self { kind, id: None }
    }

    /// An RSA key, from modulus and exponent, big-endian.
    pub(crate) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let trim = |number: &[u8]| {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            number[zeros..].to_vec()
        };
        let (n, e) = (trim(n), trim(e));
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::RsaBits);
        }
        Ok(Self::new(Kind::Rsa(signature::RsaPublicKeyComponents { n, e })))
    }

    /// A P-256 key, from an uncompressed point.
    pub(crate) fn p256(point: Vec<u8>) -> Option<Self> {
        (point.len() == 65 && point.starts_with(&[4])).then(|| Self::new(Kind::P256(point)))
    }

    /// An Ed25519 key.
    pub(crate) fn ed25519(point: Vec<u8>) -> Option<Self> {
        (point.len() == 32).then(|| Self::new(Kind::Ed25519(point)))
    }

    /// Sets the name that the header `kid` of a token uses.
    pub(crate) fn named(self, id: Option<String>) -> Self {
        Self { id, ..self }
    }

    /// The public key of an issuer, PEM.
    ///
    /// # Errors
    /// [`KeyError::NotPublic`], [`KeyError::RsaBits`]
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        match pem::public_key(text).ok_or(KeyError::NotPublic)? {
            PublicKey::Rsa { n, e } => Self::rsa(&n, &e),
            PublicKey::P256(point) => Self::p256(point).ok_or(KeyError::NotPublic),
            PublicKey::Ed25519(point) => Self::ed25519(point).ok_or(KeyError::NotPublic),
        }
    }

    /// The only algorithm of this key.
    pub fn algorithm(&self) -> Algorithm {
        match self.kind {
            Kind::Secret(_) => Algorithm::Hs256,
            Kind::Rsa(_) => Algorithm::Rs256,
            Kind::P256(_) => Algorithm::Es256,
            Kind::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        let public = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            signature::UnparsedPublicKey::new(algorithm, key).verify(signed, signature).is_ok()
        };
        match &self.kind {
            Kind::Secret(key) => hmac::verify(key, signed, signature).is_ok(),
            Kind::Rsa(key) => key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok(),
            Kind::P256(point) => public(&signature::ECDSA_P256_SHA256_FIXED, point),
            Kind::Ed25519(point) => public(&signature::ED25519, point),
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.algorithm().as_str())
    }
}

/// Why a token is refused. The caller gets only the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No token, or a token with a claim of the wrong type, without `sub` or `exp`, or with an invalid room pattern.
    #[error(
        "the token is malformed: it is a JWT with the claims sub, a text, and exp, in seconds; scope is a text and rooms a list of names"
    )]
    Malformed,
    /// `none`, an algorithm without a key here, a critical extension, or a token for another purpose (`typ`).
    #[error("the token has a signature algorithm, an extension or a type that this server does not accept")]
    Algorithm,
    /// The header `kid` names an unknown key.
    #[error("the token is signed with a key that this server does not know")]
    UnknownKey,
    /// Forged, or signed by another issuer's key.
    #[error("the signature of the token is wrong")]
    Signature,
    /// Valid only before now.
    #[error("the token has expired")]
    Expired,
    /// Valid only later.
    #[error("the token is not valid yet")]
    Early,
    /// Would outlive its revocation.
    #[error("the token is valid for too long; get one that expires sooner")]
    LongLived,
    /// From another issuer, or for another audience.
    #[error("the token is of another issuer or for another audience")]
    Elsewhere,
}

impl TokenError {
    /// A stable word for answers and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Expired => "token_expired",
            Self::Malformed
            | Self::Algorithm
            | Self::UnknownKey
            | Self::Signature
            | Self::Early
            | Self::LongLived
            | Self::Elsewhere => "token_invalid",
        }
    }

    /// Whether a newer set of keys may accept the token.
    pub fn wants_keys(self) -> bool {
        matches!(self, Self::Algorithm | Self::UnknownKey)
    }
}

/// Checks tokens.
///
/// ring checks signatures; TLS uses it in this program already. The JWT libraries add a second implementation of RSA
/// and elliptic curves, or need the same code from the caller. The rest of their work, splitting a text and comparing
/// claims, is below.
#[derive(Debug, Default)]
pub struct Verifier {
    /// Keys, each for one algorithm. Several keys of one algorithm are all tried, so that a key can be rotated.
    pub keys: Vec<VerifyingKey>,
    /// The required value of the claim `iss`.
    pub issuer: Option<String>,
    /// The required value of the claim `aud`, or one of its values.
    pub audience: Option<String>,
    /// Maximum number of seconds from `iat` to `exp`; without `iat`, from now.
    pub max_life: Option<u64>,
}

/// RFC 7515 §4.1. Keys and addresses of keys in a header (`jwk`, `jku`, `x5u`) come from the signer and are not read.
#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Selects only among the configured keys.
    #[serde(default, deserialize_with = "crate::access::claims::some")]
    kid: Option<String>,
    /// The purpose of the token.
    #[serde(default, deserialize_with = "crate::access::claims::some")]
    typ: Option<String>,
    /// Every listed extension must be understood, and this server understands none. A null counts as present too.
    #[serde(default, deserialize_with = "crate::access::claims::some")]
    crit: Option<serde_json::Value>,
}

impl Header {
    /// RFC 8725 §3.11: an issuer signs other things with the same key (logout tokens, security events, proofs of
    /// possession), which must not be accepted as access tokens. Names of media types ignore case and may have their
    /// prefix (RFC 7515 §4.1.9).
    fn is_for_access(&self) -> bool {
        let Some(typ) = &self.typ else { return true };
        let name = typ.to_ascii_lowercase();
        matches!(name.strip_prefix("application/").unwrap_or(&name), "jwt" | "at+jwt")
    }
}

impl Verifier {
    /// The user of the token, if the token is valid at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`TokenError`]
    pub fn verify(&self, token: &str, now: u64) -> Result<User, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        // A fourth part would leave a full stop in the claims, which is not base64.
        let (header, claims, signature) = (decode(header)?, decode(claims)?, decode(signature)?);
        let header: Header = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() || !header.is_for_access() {
            return Err(TokenError::Algorithm);
        }
        let mut fitting = self.keys.iter().filter(|key| key.algorithm().as_str() == header.alg).peekable();
        fitting.peek().ok_or(TokenError::Algorithm)?;
        let is_meant = |key: &&VerifyingKey| header.kid.is_none() || key.id.is_none() || key.id == header.kid;
        let mut fitting = fitting.filter(is_meant).peekable();
        fitting.peek().ok_or(TokenError::UnknownKey)?;
        if !fitting.any(|key| key.verifies(signed.as_bytes(), &signature)) {
            return Err(TokenError::Signature);
        }
        self.accept(&claims, now)
    }

    /// The claims, signed by the issuer.
    fn accept(&self, claims: &[u8], now: u64) -> Result<User, TokenError> {
        let (claims, rooms) = Claims::read(claims).ok_or(TokenError::Malformed)?;
        // Without tolerance: a live connection is closed in the same second.
        if now >= claims.exp {
            return Err(TokenError::Expired);
        }
        if [claims.nbf, claims.iat].into_iter().flatten().any(|from| from > now.saturating_add(AHEAD)) {
            return Err(TokenError::Early);
        }
        // Without `iat` the start of validity is unknown. An `iat` in the future would hide a longer life.
        let from = claims.iat.map_or(now, |iat| iat.min(now));
        if self.max_life.is_some_and(|longest| claims.exp - from > longest) {
            return Err(TokenError::LongLived);
        }
        let is_from = self.issuer.is_none() || self.issuer == claims.iss;
        let is_for =
            self.audience.as_ref().is_none_or(|name| claims.aud.as_ref().is_some_and(|aud| aud.has(name)));
        if !is_from || !is_for {
            return Err(TokenError::Elsewhere);
        }
        Ok(claims.into_user(rooms))
    }
}

#[cfg(test)]
mod tests;
