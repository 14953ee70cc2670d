use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hmac, signature};
use serde::Deserialize;

use crate::claims::Claims;
use crate::pem::{self, PublicKey};
use crate::principal::User;
use crate::service_key::Scopes;

/// Bytes of a token at most: what fits into one header of a request.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
/// How far the clock of an issuer may be ahead of ours, in seconds. Clocks that are kept by NTP differ by less.
const AHEAD: u64 = 60;
/// RFC 7518 §3.2: a key of HS256 has no fewer bytes than its hash.
const MIN_SECRET_BYTES: usize = 32;

/// How a token may be signed. `none` is no variant.
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

/// A key that checks signatures of exactly one algorithm: no header of a token can have it used for another.
pub struct VerifyingKey(Kind);

enum Kind {
    Secret(hmac::Key),
    Rsa(Vec<u8>),
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A guess would be too easy.
    #[error("the secret has fewer than {MIN_SECRET_BYTES} bytes; make one with `openssl rand -base64 32`")]
    ShortSecret,
    /// Not a key of ours.
    #[error("there is no public key of RSA, P-256 or Ed25519 in PEM; `openssl pkey -pubout` writes one")]
    NotPublic,
}

impl VerifyingKey {
    /// A secret that issuer and server share.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`]
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        // The text of a public key is known to everybody: as a secret it would let anybody sign.
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyError::ShortSecret);
        }
        Ok(Self(Kind::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret))))
    }

    /// The public key of an issuer, PEM.
    ///
    /// # Errors
    /// [`KeyError::NotPublic`]
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        Ok(Self(match pem::public_key(text).ok_or(KeyError::NotPublic)? {
            PublicKey::Rsa(der) => Kind::Rsa(der),
            PublicKey::P256(point) => Kind::P256(point),
            PublicKey::Ed25519(point) => Kind::Ed25519(point),
        }))
    }

    /// The one algorithm it is for.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
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
        match &self.0 {
            Kind::Secret(key) => hmac::verify(key, signed, signature).is_ok(),
            Kind::Rsa(der) => public(&signature::RSA_PKCS1_2048_8192_SHA256, der),
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

/// Why a token is refused. The caller is told the code alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No token, or one with a claim of the wrong type, without `sub` or `exp`, or with a pattern of rooms that is none.
    #[error("the token is malformed")]
    Malformed,
    /// `none`, an algorithm without a key here, or a critical extension.
    #[error("the token is signed in a way that is not accepted here")]
    Algorithm,
    /// Forged, or signed by another issuer's key.
    #[error("the signature of the token does not fit")]
    Signature,
    /// Was valid.
    #[error("the token has expired")]
    Expired,
    /// Will be valid.
    #[error("the token is not valid yet")]
    Early,
    /// Of another issuer or for another service.
    #[error("the token is of another issuer or for another audience")]
    Elsewhere,
}

impl TokenError {
    /// A stable word for answers and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Expired => "token_expired",
            Self::Malformed | Self::Algorithm | Self::Signature | Self::Early | Self::Elsewhere => {
                "token_invalid"
            }
        }
    }
}

/// Checks tokens.
///
/// Signatures are checked by ring, which TLS has in the program already. The libraries for JWT bring a second implementation of
/// RSA and elliptic curves, or want this same code from us; what is left of them, splitting a text and comparing claims, is below.
#[derive(Debug, Default)]
pub struct Verifier {
    /// Each for one algorithm. Of several for one algorithm each may have signed, so that a key can be rotated.
    pub keys: Vec<VerifyingKey>,
    /// What the claim `iss` must be.
    pub issuer: Option<String>,
    /// What the claim `aud` must be or contain.
    pub audience: Option<String>,
}

/// RFC 7515 §4.1. Other parameters choose a key for whoever has many, or say what the token is for.
#[derive(Deserialize)]
struct Header {
    alg: String,
    // Whatever it lists must be understood, and nothing that exists is.
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

impl Verifier {
    /// Who the token says it is for, where everything about it is right at `now`, in seconds since 1970.
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
        // A fourth part would leave a point in the claims, which is no base64.
        let (header, claims, signature) = (decode(header)?, decode(claims)?, decode(signature)?);
        let header: Header = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Algorithm);
        }
        let mut fitting = self.keys.iter().filter(|key| key.algorithm().as_str() == header.alg).peekable();
        fitting.peek().ok_or(TokenError::Algorithm)?;
        if !fitting.any(|key| key.verifies(signed.as_bytes(), &signature)) {
            return Err(TokenError::Signature);
        }
        self.accept(&claims, now)
    }

    /// The claims, which the issuer has signed.
    fn accept(&self, claims: &[u8], now: u64) -> Result<User, TokenError> {
        let (claims, rooms) = Claims::read(claims).ok_or(TokenError::Malformed)?;
        // Exactly: a live connection is closed in the same second.
        if now >= claims.exp {
            return Err(TokenError::Expired);
        }
        if [claims.nbf, claims.iat].into_iter().flatten().any(|from| from > now.saturating_add(AHEAD)) {
            return Err(TokenError::Early);
        }
        let is_from = self.issuer.is_none() || self.issuer == claims.iss;
        let is_for =
            self.audience.as_ref().is_none_or(|name| claims.aud.as_ref().is_some_and(|aud| aud.has(name)));
        if !is_from || !is_for {
            return Err(TokenError::Elsewhere);
        }
        Ok(User {
            id: claims.sub,
            role: claims.role.unwrap_or_else(|| "user".to_owned()),
            scopes: Scopes::of_token(&claims.scope),
            rooms,
            expires_at: claims.exp,
            issued_at: claims.iat,
            token_id: claims.jti,
        })
    }
}

#[cfg(test)]
mod tests;
