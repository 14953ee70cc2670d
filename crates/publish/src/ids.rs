use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chainflume_core::domain::digest_uuid;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// An id that is a function of these parts: every server gives the same id to a request that is repeated with its key.
pub fn derived(parts: &[&[u8]]) -> Uuid {
    let sized = |hash: Sha256, part: &&[u8]| hash.chain_update(part.len().to_be_bytes()).chain_update(part);
    digest_uuid(parts.iter().fold(Sha256::new(), sized))
}

/// An id that no other fact has. The randomness is the one that the standard library takes from the system for its hash tables.
pub(crate) fn fresh() -> Uuid {
    static SEED: OnceLock<[u64; 4]> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let seed = SEED.get_or_init(|| std::array::from_fn(|_| RandomState::new().build_hasher().finish()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let hash = seed.iter().fold(Sha256::new(), |hash, word| hash.chain_update(word.to_be_bytes()));
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    digest_uuid(hash.chain_update(now.to_be_bytes()).chain_update(count.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_are_of_their_parts_and_fresh_ones_differ() {
        assert_eq!(derived(&[b"a", b"bc"]), derived(&[b"a", b"bc"]));
        assert_ne!(derived(&[b"a", b"bc"]), derived(&[b"ab", b"c"]));
        let fresh: std::collections::BTreeSet<Uuid> = (0..1000).map(|_| fresh()).collect();
        assert_eq!(fresh.len(), 1000);
        assert!(fresh.iter().all(|id| id.get_version_num() == 8));
    }
}
