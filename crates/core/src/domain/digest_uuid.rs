use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

/// A UUIDv8 (RFC 9562 §5.8) of the first 16 bytes of a digest: the same for the same input.
pub fn digest_uuid(hash: Sha256) -> Uuid {
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_keeps_all_bits_but_version_and_variant() {
        // SHA-256 of `abc` (FIPS 180-4) begins ba7816bf 8f01cfea 414140de 5dae2223.
        let id = digest_uuid(Sha256::new().chain_update("abc"));
        assert_eq!(id.to_string(), "ba7816bf-8f01-8fea-8141-40de5dae2223");
    }
}
