use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::service_key::NoRandomness;

/// The credential for one stream: `cft_` and 32 random bytes in base64url. It may be part of an address, since its
/// first use makes it invalid.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(String);

impl Ticket {
    const PREFIX: &'static str = "cft_";
    /// `cft_` and 32 bytes in base64url without padding.
    const LENGTH: usize = 47;

    /// Creates a new ticket.
    ///
    /// # Errors
    /// [`NoRandomness`]
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(format!("{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// Reads the text of a client; `None` for a text that cannot be a ticket.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.starts_with(Self::PREFIX) && text.len() == Self::LENGTH;
        fits.then(|| Self(text.to_owned()))
    }

    /// The ticket itself, only for the answer to its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash that the database stores, 32 bytes.
    pub fn hash(&self) -> Vec<u8> {
        sha256(self.0.as_bytes())
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(…)")
    }
}

/// A name that nobody can guess: 16 random bytes in base64url.
///
/// # Errors
/// [`NoRandomness`]
pub fn random_name() -> Result<String, NoRandomness> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// SHA-256, 32 bytes.
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_reads_back_and_is_not_shown() {
        let (ticket, other) = (Ticket::generate().expect("random"), Ticket::generate().expect("random"));
        assert_eq!(Ticket::parse(ticket.expose()), Some(ticket.clone()));
        assert!(ticket.hash().len() == 32 && ticket.hash() != other.hash());
        assert_eq!(format!("{ticket:?}"), "Ticket(…)");
        for text in ["", "cft_", &ticket.expose()[1..], &format!("{}A", ticket.expose())] {
            assert_eq!(Ticket::parse(text), None, "{text}");
        }
    }
}
