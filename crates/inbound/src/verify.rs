//! Checks the signatures of deliveries over the raw bytes, before anything is parsed. Pure: the result depends only
//! on headers, body, secrets and the given time. A comparison takes the same time wherever two signatures differ.

mod coinbase;
mod fields;
mod gzip;
mod quicknode;
mod standard;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use alloy_primitives::{hex, keccak256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// How far a delivery's timestamp may be from this machine's clock, in seconds, on either side: what Standard Webhooks and Coinbase
/// recommend. A longer time would let a captured delivery be sent again for longer.
pub const TOLERANCE_SECONDS: u64 = 300;

/// Headers by name in small letters. A header that was sent twice is here once, joined by commas.
pub type Headers = BTreeMap<String, Vec<u8>>;

/// The provider, which decides how deliveries are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboundProvider {
    /// `X-Hook0-Signature: t=…,v0=…,h=<names>,v1=…`: v1 is HMAC-SHA256 over `t.h.<values>.body`, v0 over `t.body`.
    Coinbase,
    /// `X-Alchemy-Signature`: HMAC-SHA256 of the body in hexadecimal digits.
    Alchemy,
    /// `X-QN-Signature`: HMAC-SHA256 of nonce, timestamp and body as it is after decompression.
    QuickNode,
    /// `X-Signature`: Keccak-256 of body and secret.
    Moralis,
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    Standard,
    /// HMAC-SHA256 of the body in hexadecimal digits or base64, with or without `sha256=` before it, in the header of this lower-case
    /// name.
    Hmac(String),
}

/// The secret that the provider signs with. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct InboundSecret(Vec<u8>);

impl fmt::Debug for InboundSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InboundSecret(…)")
    }
}

impl InboundSecret {
    /// Reads a secret as the provider shows it: `whsec_` and base64 for Standard Webhooks, text of at least eight bytes for others.
    ///
    /// # Errors
    /// What is wrong with it, without the secret.
    pub fn read(provider: &InboundProvider, text: &str) -> Result<Self, &'static str> {
        let bytes = match provider {
            InboundProvider::Standard => {
                let encoded = text.strip_prefix("whsec_").ok_or("does not begin with whsec_")?;
                BASE64.decode(encoded).map_err(|_| "is not base64 after whsec_")?
            }
            _ => text.as_bytes().to_vec(),
        };
        if bytes.len() < MIN_SECRET_BYTES { Err("is shorter than 8 bytes") } else { Ok(Self(bytes)) }
    }

    fn hmac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| mac.update(part));
        mac
    }

    /// Whether `signature` is the HMAC-SHA256 of the parts, one after the other.
    fn has_signed(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        self.hmac(parts).verify_slice(signature).is_ok()
    }
}

/// Minimum length of a secret: providers issue 16 bytes and more.
const MIN_SECRET_BYTES: usize = 8;

/// Why a delivery is refused. The answer contains only that the signature is invalid; metrics and logs have the
/// reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureRefusal {
    /// No signature, or no id or timestamp that is signed with it.
    #[error("a header of the signature is missing")]
    Missing,
    /// A header that is too long or has another form.
    #[error("a header of the signature has another form")]
    Malformed,
    /// The timestamp is more than [`TOLERANCE_SECONDS`] from this machine's clock.
    #[error("the timestamp is {age}, and {TOLERANCE_SECONDS} s are allowed")]
    Stale {
        /// How far it is from the clock.
        age: TimestampAge,
    },
    /// No secret signed this.
    #[error("no configured secret signed the delivery")]
    Mismatch,
    /// A body that cannot be decompressed.
    #[error("the body cannot be decompressed")]
    Encoding,
    /// The body is larger than the limit, compressed or decompressed.
    #[error("the body is larger than the limit")]
    TooLarge,
}

impl SignatureRefusal {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Stale { .. } => "stale",
            Self::Mismatch => "mismatch",
            Self::Encoding => "encoding",
            Self::TooLarge => "too_large",
        }
    }

    /// What an operator does about it, if a provider sent the delivery and not a stranger.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Missing => "compare inbound.provider and inbound.header with what the provider sends",
            Self::Malformed => "compare inbound.provider with the provider: each signs in a form of its own",
            Self::Stale { .. } => {
                "synchronise the clock of this machine (timedatectl, chrony); with a right clock, the delivery was sent late or again"
            }
            Self::Mismatch => {
                "compare inbound.secret with the provider's; a proxy in between must not change the body or signed headers"
            }
            Self::Encoding => "let the provider send gzip, or no compression",
            Self::TooLarge => "raise server.max_body_bytes, or let the provider send less at once",
        }
    }
}

/// How far a timestamp is from the clock of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampAge {
    /// So many seconds before it.
    Behind(u64),
    /// So many seconds after it.
    Ahead(u64),
}

impl fmt::Display for TimestampAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind(seconds) => write!(f, "{seconds} s old by the clock of this machine"),
            Self::Ahead(seconds) => write!(f, "{seconds} s ahead of the clock of this machine"),
        }
    }
}

/// A delivery as it was received.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// All headers.
    pub headers: &'a Headers,
    /// The bytes of the body.
    pub body: &'a [u8],
    /// When it was received: seconds since 1970 by this machine's clock.
    pub now: u64,
    /// Largest body in bytes, compressed and decompressed.
    pub max_body: usize,
}

/// A delivery that one of the secrets signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedDelivery<'a> {
    /// The id, which is the same for a repeat. It is part of the signed bytes, so that a captured delivery cannot be
    /// sent again under another id.
    pub id: String,
    /// The body, decompressed.
    pub body: Cow<'a, [u8]>,
}

/// Checks a delivery by the rules of the provider. One valid secret is enough: there are two during a rotation.
///
/// # Errors
/// [`SignatureRefusal`]
pub fn verify<'a>(
    provider: &InboundProvider,
    secrets: &[InboundSecret],
    request: &SignedRequest<'a>,
) -> Result<VerifiedDelivery<'a>, SignatureRefusal> {
    if request.body.len() > request.max_body {
        return Err(SignatureRefusal::TooLarge);
    }
    match provider {
        InboundProvider::Coinbase => coinbase::verify(secrets, request),
        InboundProvider::QuickNode => quicknode::verify(secrets, request),
        InboundProvider::Standard => standard::verify(secrets, request),
        InboundProvider::Alchemy => {
            let signature = fields::digest(fields::required(request.headers, "x-alchemy-signature")?)?;
            signed_by_any(secrets, &[request.body], &signature).map(|()| identified(request, "id"))
        }
        InboundProvider::Hmac(header) => {
            let signature = fields::digest_or_base64(fields::required(request.headers, header)?)?;
            signed_by_any(secrets, &[request.body], &signature).map(|()| hashed(request.body))
        }
        InboundProvider::Moralis => moralis(secrets, request),
    }
}

fn signed_by_any(
    secrets: &[InboundSecret],
    parts: &[&[u8]],
    signature: &[u8],
) -> Result<(), SignatureRefusal> {
    // Every secret is tried, so that the time does not reveal which one fits.
    let fits = secrets.iter().filter(|secret| secret.has_signed(parts, signature)).count();
    if fits > 0 { Ok(()) } else { Err(SignatureRefusal::Mismatch) }
}

/// Checks a Keccak-256 of body and secret, as `0x` and hexadecimal digits.
fn moralis<'a>(
    secrets: &[InboundSecret],
    request: &SignedRequest<'a>,
) -> Result<VerifiedDelivery<'a>, SignatureRefusal> {
    let signature = fields::digest(fields::required(request.headers, "x-signature")?)?;
    let fits = |secret: &&InboundSecret| {
        let expected = keccak256([request.body, &secret.0].concat());
        bool::from(expected.as_slice().ct_eq(&signature))
    };
    if secrets.iter().filter(fits).count() == 0 {
        return Err(SignatureRefusal::Mismatch);
    }
    // A repeat differs from the first delivery in the field `retries`.
    let same = serde_json::from_slice::<Value>(request.body).ok().and_then(|mut body| {
        body.as_object_mut()?.remove("retries");
        serde_json::to_vec(&body).ok()
    });
    let id = same.map_or_else(|| digest_of(request.body), |body| digest_of(&body));
    Ok(VerifiedDelivery { id, body: Cow::Borrowed(request.body) })
}

/// The delivery with the id in this field, or with the hash of the body where there is none.
fn identified<'a>(request: &SignedRequest<'a>, field: &str) -> VerifiedDelivery<'a> {
    let body: Option<Value> = serde_json::from_slice(request.body).ok();
    let id = body.as_ref().and_then(|body| body.get(field)?.as_str()).filter(|id| is_id(id));
    match id {
        Some(id) => VerifiedDelivery { id: id.to_owned(), body: Cow::Borrowed(request.body) },
        None => hashed(request.body),
    }
}

fn hashed(body: &[u8]) -> VerifiedDelivery<'_> {
    VerifiedDelivery { id: digest_of(body), body: Cow::Borrowed(body) }
}

/// Whether it can identify a delivery: 1 to 255 printable characters of ASCII.
fn is_id(id: &str) -> bool {
    (1..=255).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests;
