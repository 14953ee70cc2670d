use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::service_key::NoRandomness;

/// What opens one stream once: `cft_` and 32 random bytes in base64url. It may stand in an address, since it is spent when it is used.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(String);

impl Ticket {
    const PREFIX: &'static str = "cft_";
    /// `cft_` and 32 bytes in base64url without padding.
    const LENGTH: usize = 47;

    /// A new one.
    ///
    /// # Errors
    /// [`NoRandomness`]
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(format!("{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// Reads what a client sends; `None` for anything that was never a ticket.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.starts_with(Self::PREFIX) && text.len() == Self::LENGTH;
        fits.then(|| Self(text.to_owned()))
    }

    /// The ticket itself: for the answer to its owner alone.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the database keeps of it, 32 bytes.
    pub fn hash(&self) -> Vec<u8> {
        sha256(self.0.as_bytes())
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(…)")
    }
}

/// SHA-256, 32 bytes.
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_reads_back_and_shows_itself_to_nobody() {
        let (ticket, other) = (Ticket::generate().expect("random"), Ticket::generate().expect("random"));
        assert_eq!(Ticket::parse(ticket.expose()), Some(ticket.clone()));
        assert!(ticket.hash().len() == 32 && ticket.hash() != other.hash());
        assert_eq!(format!("{ticket:?}"), "Ticket(…)");
        for text in ["", "cft_", &ticket.expose()[1..], &format!("{}A", ticket.expose())] {
            assert_eq!(Ticket::parse(text), None, "{text}");
        }
    }
}
