//! Streams of QuickNode: <https://www.quicknode.com/guides/quicknode-products/streams/validating-incoming-streams-webhook-messages>.

use std::borrow::Cow;

use super::fields::{digest, fresh, optional, required};
use super::{InboundSecret, SignatureRefusal, SignedRequest, VerifiedDelivery, gzip, is_id, signed_by_any};

pub(super) fn verify<'a>(
    secrets: &[InboundSecret],
    request: &SignedRequest<'a>,
) -> Result<VerifiedDelivery<'a>, SignatureRefusal> {
    let nonce = required(request.headers, "x-qn-nonce")?;
    let time = required(request.headers, "x-qn-timestamp")?;
    let signature = digest(required(request.headers, "x-qn-signature")?)?;
    if !is_id(nonce) {
        return Err(SignatureRefusal::Malformed);
    }
    // Checked before the body, so that an old delivery is not decompressed. The signed bytes have no separators
    // between nonce, time and body. A valid time has ten digits for centuries, so only one split of the bytes is
    // valid.
    fresh(time, request.now)?;
    let coding = optional(request.headers, "content-encoding")?.map(str::to_ascii_lowercase);
    let body = match coding.as_deref() {
        None | Some("" | "identity") => Cow::Borrowed(request.body),
        Some("gzip" | "x-gzip") => Cow::Owned(gzip::inflate(request.body, request.max_body)?),
        Some(_) => return Err(SignatureRefusal::Encoding),
    };
    signed_by_any(secrets, &[nonce.as_bytes(), time.as_bytes(), &body], &signature)?;
    Ok(VerifiedDelivery { id: nonce.to_owned(), body })
}
