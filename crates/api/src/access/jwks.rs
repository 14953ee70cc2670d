use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::token::{Algorithm, VerifyingKey};

/// Maximum number of keys that are read from a set. An issuer has two or three, and a token without `kid` may need a
/// check against each.
const MAX_KEYS: usize = 32;

/// A set of keys that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Not RFC 7517 §5.
    #[error("the answer is not a set of keys (JWKS)")]
    Malformed,
    /// No key that could check a token here.
    #[error("the set has no key for signatures of a configured algorithm")]
    Empty,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// RFC 7517 §4, RFC 7518 §6, RFC 8037 §2.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a JSON Web Key Set that check signatures by one of `algorithms`. Keys of other purposes and kinds are
/// skipped, as RFC 7517 §5 requires. A secret (`oct`) is not accepted: a set is public.
///
/// # Errors
/// [`JwksError`]
pub fn verifying_keys(json: &[u8], algorithms: &[Algorithm]) -> Result<Vec<VerifyingKey>, JwksError> {
    let set: Set = serde_json::from_slice(json).map_err(|_| JwksError::Malformed)?;
    let read = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    let keys: Vec<VerifyingKey> = read
        .filter_map(Jwk::into_key)
        .filter(|key| algorithms.contains(&key.algorithm()))
        .take(MAX_KEYS)
        .collect();
    if keys.is_empty() { Err(JwksError::Empty) } else { Ok(keys) }
}

impl Jwk {
    /// The kind of the key decides its algorithm. A key that names another algorithm has another purpose.
    fn into_key(self) -> Option<VerifyingKey> {
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let verifies = self.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
        let number = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => VerifyingKey::rsa(&number(&self.n)?, &number(&self.e)?).ok()?,
            ("EC", Some("P-256")) => {
                let (x, y) = (number(&self.x)?, number(&self.y)?);
                (x.len() == 32).then(|| VerifyingKey::p256([&[4], &*x, &*y].concat()))??
            }
            ("OKP", Some("Ed25519")) => VerifyingKey::ed25519(number(&self.x)?)?,
            _ => return None,
        };
        let fits = self.alg.as_deref().is_none_or(|alg| alg == key.algorithm().as_str());
        (signs && verifies && fits).then(|| key.named(self.kid))
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    use serde_json::{Value, json};

    use super::*;
    use crate::access::token::{TokenError, Verifier};

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key")
    }

    fn jwk(seed: u8, kid: &str) -> Value {
        let x = URL_SAFE_NO_PAD.encode(pair(seed).public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid })
    }

    fn with(key: &str, value: Value) -> Value {
        let mut jwk = jwk(1, "a");
        jwk[key] = value;
        jwk
    }

    fn token(seed: u8, header: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(&json!({ "sub": "7", "exp": 100 })));
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(pair(seed).sign(text.as_bytes())))
    }

    fn read(keys: &[Value]) -> Result<Vec<VerifyingKey>, JwksError> {
        verifying_keys(json!({ "keys": keys }).to_string().as_bytes(), &[Algorithm::EdDsa, Algorithm::Es256])
    }

    #[test]
    fn a_token_is_checked_with_the_key_that_its_kid_names() {
        let verifier =
            Verifier { keys: read(&[jwk(1, "a"), jwk(2, "b")]).expect("keys"), ..Verifier::default() };
        let judged = |seed, header: Value| verifier.verify(&token(seed, &header), 1).map(|user| user.id);
        assert_eq!(judged(1, json!({ "alg": "EdDSA", "kid": "a" })), Ok("7".to_owned()));
        assert_eq!(judged(2, json!({ "alg": "EdDSA", "kid": "b" })), Ok("7".to_owned()));
        assert_eq!(judged(2, json!({ "alg": "EdDSA" })), Ok("7".to_owned()));
        assert_eq!(judged(2, json!({ "alg": "EdDSA", "kid": "a" })), Err(TokenError::Signature));
        assert_eq!(judged(3, json!({ "alg": "EdDSA", "kid": "c" })), Err(TokenError::UnknownKey));
        assert_eq!(judged(1, json!({ "alg": "ES256", "kid": "a" })), Err(TokenError::Algorithm));
        assert_eq!(judged(1, json!({ "alg": "EdDSA", "kid": null })), Err(TokenError::Malformed));
        assert!(TokenError::UnknownKey.wants_keys() && !TokenError::Signature.wants_keys());
    }

    #[test]
    fn keys_of_another_purpose_kind_or_size_are_skipped() {
        let small = URL_SAFE_NO_PAD.encode([0xff; 128]);
        for key in [
            with("use", json!("enc")),
            with("key_ops", json!(["encrypt"])),
            with("alg", json!("HS256")),
            with("alg", json!("ES256")),
            with("crv", json!("X25519")),
            with("x", json!("AA")),
            with("x", json!(7)),
            with("kty", json!("EC")),
            json!({ "kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I", "alg": "HS256" }),
            json!({ "kty": "RSA", "n": small, "e": "AQAB" }),
            json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" }),
            json!("x"),
        ] {
            assert_eq!(read(std::slice::from_ref(&key)).map(|_| ()), Err(JwksError::Empty), "{key}");
            assert_eq!(read(&[key, jwk(1, "a")]).map(|keys| keys.len()), Ok(1));
        }
        let all = json!({ "keys": [jwk(1, "a")] }).to_string();
        let of_other = verifying_keys(all.as_bytes(), &[Algorithm::Rs256]);
        assert_eq!(of_other.map(|_| ()), Err(JwksError::Empty), "an algorithm that is not configured");
        for text in ["", "[]", "{}", "{\"keys\":7}"] {
            assert_eq!(verifying_keys(text.as_bytes(), &[]).map(|_| ()), Err(JwksError::Malformed), "{text}");
        }
        let many: Vec<Value> = (0..100).map(|_| jwk(1, "a")).collect();
        assert_eq!(read(&many).map(|keys| keys.len()), Ok(MAX_KEYS));
    }
}
