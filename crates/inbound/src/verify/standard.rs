//! Signatures of Standard Webhooks:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::fields::{fresh, required};
use super::{InboundSecret, SignatureRefusal, SignedRequest, VerifiedDelivery, is_id, signed_by_any};

/// Maximum number of signatures in one header; there are two while a sender rotates its secret.
const MAX_SIGNATURES: usize = 10;

pub(super) fn verify<'a>(
    secrets: &[InboundSecret],
    request: &SignedRequest<'a>,
) -> Result<VerifiedDelivery<'a>, SignatureRefusal> {
    let id = required(request.headers, "webhook-id")?;
    let time = required(request.headers, "webhook-timestamp")?;
    let signatures = required(request.headers, "webhook-signature")?;
    // A dot ends the id in the signed bytes.
    if !is_id(id) || id.contains('.') || signatures.split(' ').count() > MAX_SIGNATURES {
        return Err(SignatureRefusal::Malformed);
    }
    fresh(time, request.now)?;
    let head = format!("{id}.{time}.");
    let mut refusal = SignatureRefusal::Malformed;
    for signature in signatures.split(' ').filter_map(|text| text.strip_prefix("v1,")) {
        let Ok(signature) = BASE64.decode(signature) else { continue };
        match signed_by_any(secrets, &[head.as_bytes(), request.body], &signature) {
            Ok(()) => {
                return Ok(VerifiedDelivery { id: id.to_owned(), body: Cow::Borrowed(request.body) });
            }
            Err(mismatch) => refusal = mismatch,
        }
    }
    Err(refusal)
}
