use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use super::SignatureRefusal;

/// Decompresses gzip (RFC 1952) up to `most` bytes. A kilobyte can contain a megabyte of zeros, so it stops as soon
/// as there are more bytes.
pub(super) fn inflate(body: &[u8], most: usize) -> Result<Vec<u8>, SignatureRefusal> {
    let mut inflated = Vec::with_capacity(body.len().saturating_mul(4).min(most));
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let read = MultiGzDecoder::new(body).take(limit).read_to_end(&mut inflated);
    if inflated.len() > most {
        return Err(SignatureRefusal::TooLarge);
    }
    read.map(|_| inflated).map_err(|_| SignatureRefusal::Encoding)
}
