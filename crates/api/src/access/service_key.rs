use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// A permission of a caller. No scope includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Read messages and join the rooms of users.
    Read,
    /// Publish application events.
    Publish,
    /// Send notifications.
    Notify,
    /// Administer, and join the room `all`.
    Admin,
}

/// A word that is not a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a scope; scopes are read, publish, notify and admin")]
pub struct WrongScope;

impl Scope {
    const ALL: [(&'static str, Self); 4] =
        [("read", Self::Read), ("publish", Self::Publish), ("notify", Self::Notify), ("admin", Self::Admin)];

    /// Reads the word of the configuration and of tokens.
    ///
    /// # Errors
    /// [`WrongScope`]
    pub fn parse(word: &str) -> Result<Self, WrongScope> {
        Self::ALL.iter().find(|(known, _)| *known == word).map(|(_, scope)| *scope).ok_or(WrongScope)
    }
}

/// A set of scopes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// The scopes in the space-separated words of a token. Words of other services are ignored: one token may serve
    /// many.
    pub fn of_token(text: &str) -> Self {
        Self(text.split(' ').filter_map(|word| Scope::parse(word).ok()).collect())
    }

    /// Their words, in a fixed order.
    pub fn words(&self) -> Vec<&'static str> {
        Scope::ALL.iter().filter(|(_, scope)| self.has(*scope)).map(|(word, _)| *word).collect()
    }

    /// Whether `scope` is among them.
    pub fn has(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }
}

/// In the form of tokens: words separated by spaces.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

/// The key of a service: `cfk_` and 32 random bytes in base64url. Shown once, at its creation.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceKey(String);

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes; try again")]
pub struct NoRandomness;

impl ServiceKey {
    const PREFIX: &'static str = "cfk_";
    /// `cfk_` and 32 bytes in base64url without padding.
    const LENGTH: usize = 47;

    /// Creates a new key.
    ///
    /// # Errors
    /// [`NoRandomness`]
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(format!("{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// Whether a bearer credential has the form of a service key, and not of a token.
    pub fn is_one(credential: &str) -> bool {
        credential.starts_with(Self::PREFIX)
    }

    /// The key itself. Never log it or return it in an answer.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash that the configuration contains.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceKey(…)")
    }
}

/// SHA-256 of a service key, written `sha256:` and 64 lower-case hexadecimal digits. A slow hash would add nothing: a
/// key has 256 random bits and cannot be guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

/// A text that is not the hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the hash of a key; `chainflume keys new` prints one, sha256:<64 hexadecimal digits>")]
pub struct WrongHash;

impl KeyHash {
    /// Reads `sha256:…`.
    ///
    /// # Errors
    /// [`WrongHash`]
    pub fn parse(text: &str) -> Result<Self, WrongHash> {
        let digits = text.strip_prefix("sha256:").ok_or(WrongHash)?;
        if digits.len() != 64 || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(WrongHash);
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| WrongHash)?;
        }
        Ok(Self(bytes))
    }

    /// Whether this is the hash of the credential. The time of the comparison reveals at most a part of the hash, from
    /// which no key follows.
    pub fn fits(&self, credential: &str) -> bool {
        credential.len() == ServiceKey::LENGTH && Self::of(credential) == *self
    }

    fn of(key: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_fits_its_own_hash_and_no_other() {
        let (key, other) = (ServiceKey::generate().expect("random"), ServiceKey::generate().expect("random"));
        assert!(ServiceKey::is_one(key.expose()) && key.expose().len() == ServiceKey::LENGTH);
        let hash = KeyHash::parse(&key.hash().to_string()).expect("it reads back");
        assert!(hash.fits(key.expose()) && !hash.fits(other.expose()));
        assert!(!hash.fits(&hash.to_string()) && !hash.fits("") && !hash.fits(&key.expose()[..46]));
        assert_eq!(format!("{key:?}"), "ServiceKey(…)");
    }

    #[test]
    fn a_hash_is_written_in_one_way() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(KeyHash::parse(&good).map(|hash| hash.to_string()), Ok(good.clone()));
        for bad in [good.to_uppercase(), good[7..].to_owned(), format!("{good}0"), good.replace('a', "+")] {
            assert_eq!(KeyHash::parse(&bad), Err(WrongHash), "{bad}");
        }
    }

    #[test]
    fn scopes_of_a_token_are_whole_words() {
        let scopes = Scopes::of_token("openid read  admins");
        assert!(scopes.has(Scope::Read) && !scopes.has(Scope::Admin) && !scopes.has(Scope::Publish));
        assert_eq!(Scope::parse("Admin"), Err(WrongScope));
    }
}
