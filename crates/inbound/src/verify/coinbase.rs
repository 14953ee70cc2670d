//! Signatures of Hook0, which Coinbase uses: <https://docs.cdp.coinbase.com/webhooks/verify-signatures>.

use std::borrow::Cow;

use super::fields::{digest, fresh, optional, required};
use super::{
    InboundSecret, SignatureRefusal, SignedRequest, VerifiedDelivery, digest_of, is_id, signed_by_any,
};

/// Maximum number of headers that a signature covers; two or three are usual.
const MAX_NAMES: usize = 32;
/// The header with the id of the event.
const EVENT_ID: &str = "x-event-id";

/// The parts of the signature header, each at most once.
#[derive(Default)]
struct Parts<'a> {
    t: Option<&'a str>,
    v0: Option<&'a str>,
    h: Option<&'a str>,
    v1: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Result<Self, SignatureRefusal> {
        let mut parts = Self::default();
        for part in text.split(',') {
            let (name, value) = part.trim().split_once('=').ok_or(SignatureRefusal::Malformed)?;
            let place = match name {
                "t" => &mut parts.t,
                "v0" => &mut parts.v0,
                "h" => &mut parts.h,
                "v1" => &mut parts.v1,
                // A later version of the scheme may add parts.
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(SignatureRefusal::Malformed);
            }
        }
        Ok(parts)
    }
}

pub(super) fn verify<'a>(
    secrets: &[InboundSecret],
    request: &SignedRequest<'a>,
) -> Result<VerifiedDelivery<'a>, SignatureRefusal> {
    let parts = Parts::read(required(request.headers, "x-hook0-signature")?)?;
    let time = parts.t.ok_or(SignatureRefusal::Missing)?;
    let (signed, signature, names) = match parts.v1 {
        // v0 covers no headers. Where v1 is present v0 is not checked: it would accept changed headers.
        Some(v1) => {
            let names = parts.h.ok_or(SignatureRefusal::Missing)?;
            (format!("{time}.{names}.{}.", values(request, names)?), v1, names)
        }
        // Names of headers without a v1: the v1 was removed.
        None if parts.h.is_some() => return Err(SignatureRefusal::Missing),
        None => (format!("{time}."), parts.v0.ok_or(SignatureRefusal::Missing)?, ""),
    };
    signed_by_any(secrets, &[signed.as_bytes(), request.body], &digest(signature)?)?;
    fresh(time, request.now)?;
    let is_signed = names.split(' ').any(|name| name.eq_ignore_ascii_case(EVENT_ID));
    let id = optional(request.headers, EVENT_ID)?.filter(|id| is_signed && is_id(id));
    let id = id.map_or_else(|| digest_of(request.body), str::to_owned);
    Ok(VerifiedDelivery { id, body: Cow::Borrowed(request.body) })
}

/// The values of the headers, joined by dots. An absent header was signed as empty.
fn values(request: &SignedRequest<'_>, names: &str) -> Result<String, SignatureRefusal> {
    let names: Vec<&str> = names.split(' ').collect();
    if names.len() > MAX_NAMES {
        return Err(SignatureRefusal::Malformed);
    }
    let value = |name: &&str| Ok(optional(request.headers, name)?.unwrap_or_default());
    Ok(names.iter().map(value).collect::<Result<Vec<_>, _>>()?.join("."))
}
