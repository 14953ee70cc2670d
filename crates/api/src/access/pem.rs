use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A public key as RFC 5280 §4.1 and RFC 8410 encode it.
pub(crate) enum PublicKey {
    /// Modulus and exponent, big-endian.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// A point of P-256, uncompressed.
    P256(Vec<u8>),
    /// A point of Ed25519.
    Ed25519(Vec<u8>),
}

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// DER of the algorithms: the OIDs rsaEncryption with its null, id-ecPublicKey with prime256v1, and id-Ed25519.
const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 0x05, 0];
const P256: &[u8] =
    &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];

/// DER tags.
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

/// The only public key of a PEM file, as `openssl pkey -pubout` writes it. `None` for any other content, including
/// private keys.
pub(crate) fn public_key(text: &str) -> Option<PublicKey> {
    let (_, after) = text.split_once(BEGIN)?;
    let (body, rest) = after.split_once(END)?;
    if rest.contains("-----BEGIN") {
        return None;
    }
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).ok()?;
    let (key, []) = element(&der, SEQUENCE)? else { return None };
    let (algorithm, bits) = element(key, SEQUENCE)?;
    let (bits, []) = element(bits, BIT_STRING)? else { return None };
    // The first byte is the number of unused bits; 0 for a key.
    let bits = bits.strip_prefix(&[0])?.to_vec();
    match algorithm {
        RSA => rsa(&bits),
        P256 if bits.len() == 65 && bits.starts_with(&[4]) => Some(PublicKey::P256(bits)),
        ED25519 if bits.len() == 32 => Some(PublicKey::Ed25519(bits)),
        _ => None,
    }
}

/// RFC 8017 §A.1.1, `RSAPublicKey`: modulus and exponent.
fn rsa(der: &[u8]) -> Option<PublicKey> {
    let (key, []) = element(der, SEQUENCE)? else { return None };
    let (n, rest) = element(key, INTEGER)?;
    let (e, []) = element(rest, INTEGER)? else { return None };
    Some(PublicKey::Rsa { n: n.to_vec(), e: e.to_vec() })
}

/// The contents of the first DER element of `der`, and the bytes after it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (length, rest) = match rest {
        [short @ 0..=0x7f, rest @ ..] => (usize::from(*short), rest),
        [0x81, one, rest @ ..] => (usize::from(*one), rest),
        [0x82, high, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}
