use alloy_primitives::hex;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Headers, SignatureRefusal, TOLERANCE_SECONDS, TimestampAge};

/// Longest header of a signature, in bytes. The longest known one, of Coinbase with ten names, has some 500.
const MAX_BYTES: usize = 4 << 10;

/// The text of a header that must be there.
pub(super) fn required<'a>(headers: &'a Headers, name: &str) -> Result<&'a str, SignatureRefusal> {
    optional(headers, name)?.filter(|text| !text.is_empty()).ok_or(SignatureRefusal::Missing)
}

/// The text of a header that may be there.
pub(super) fn optional<'a>(headers: &'a Headers, name: &str) -> Result<Option<&'a str>, SignatureRefusal> {
    let Some(value) = headers.get(&name.to_ascii_lowercase()) else { return Ok(None) };
    if value.len() > MAX_BYTES || !value.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return Err(SignatureRefusal::Malformed);
    }
    std::str::from_utf8(value).map(Some).map_err(|_| SignatureRefusal::Malformed)
}

/// 32 bytes in hexadecimal digits, with or without `0x` or `sha256=` before them.
pub(super) fn digest(text: &str) -> Result<[u8; 32], SignatureRefusal> {
    let digits = text.strip_prefix("sha256=").or_else(|| text.strip_prefix("0x")).unwrap_or(text);
    let mut bytes = [0; 32];
    let is_hex = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || hex::decode_to_slice(digits, &mut bytes).is_err() {
        return Err(SignatureRefusal::Malformed);
    }
    Ok(bytes)
}

/// 32 bytes as [`digest`] reads them, or in base64, with or without `sha256=` before them.
pub(super) fn digest_or_base64(text: &str) -> Result<[u8; 32], SignatureRefusal> {
    let encoded = BASE64.decode(text.strip_prefix("sha256=").unwrap_or(text));
    match encoded.ok().and_then(|bytes| bytes.try_into().ok()) {
        Some(bytes) => Ok(bytes),
        None => digest(text),
    }
}

/// Refuses a timestamp, in seconds since 1970, that is too far from now. Only plain digits are one: `+5` and `05` are not.
pub(super) fn fresh(text: &str, now: u64) -> Result<(), SignatureRefusal> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let at: u64 = text.parse().ok().filter(|_| is_plain).ok_or(SignatureRefusal::Malformed)?;
    let distance = at.abs_diff(now);
    let age = if at < now { TimestampAge::Behind(distance) } else { TimestampAge::Ahead(distance) };
    if distance > TOLERANCE_SECONDS { Err(SignatureRefusal::Stale { age }) } else { Ok(()) }
}
