use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A symmetric key of Standard Webhooks: 24 to 64 random bytes, shared with the receiver.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Reads `whsec_` and base64. An error never contains any part of the key.
    ///
    /// # Errors
    /// The expected form that the text violates.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let encoded = text.trim().strip_prefix("whsec_").ok_or("does not begin with whsec_")?;
        let bytes = STANDARD.decode(encoded).map_err(|_| "is not base64 after whsec_")?;
        match bytes.len() {
            24..=64 => Ok(Self(bytes)),
            _ => Err("does not hold 24 to 64 bytes"),
        }
    }

    /// The signature of a message: `v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`, with the timestamp in
    /// seconds since the Unix epoch.
    pub fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in [id, ".", &timestamp.to_string(), ".", body] {
            mac.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::SigningKey;

    /// The example of the reference libraries (standard-webhooks/libraries, their own tests).
    #[test]
    fn a_signature_is_that_of_the_standard() {
        let key = SigningKey::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key");
        let signed = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_key_that_is_none_is_refused_and_none_is_shown() {
        assert_eq!(SigningKey::read("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Err("does not begin with whsec_"));
        assert_eq!(SigningKey::read("whsec_***"), Err("is not base64 after whsec_"));
        assert_eq!(SigningKey::read("whsec_c2hvcnQ="), Err("does not hold 24 to 64 bytes"));
        let key = SigningKey::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key");
        assert_eq!(format!("{key:?}"), "SigningKey(…)");
    }
}
