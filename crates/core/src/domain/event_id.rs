use alloy_primitives::B256;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::log::Place;

/// Bits of the block number in an id: 2^40 blocks at one a millisecond last 35 years.
const NUMBER_BITS: u32 = 40;
/// Bits of the transaction index.
const TX_BITS: u32 = 20;
/// Bits of the log index.
const LOG_BITS: u32 = 24;
/// The rest of the 122 free bits of a UUIDv8 (RFC 9562 §5.8), for the digest.
const DIGEST_BITS: u32 = 122 - NUMBER_BITS - TX_BITS - LOG_BITS;

/// The public id of an event: a UUIDv8 computed only from chain id, block number, block hash, transaction index and log
/// index.
///
/// The position can be read from the id, so finding an event by id needs no index of its own. The digest covers block
/// hash and chain. So a transaction that is mined again elsewhere gets another id, and a reorg A→B→A restores the first
/// one. The database function `event_id` computes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId(Uuid);

/// The position that an id contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventIdParts {
    /// Height, modulo 2^40.
    pub block_number: u64,
    /// Transaction index, modulo 2^20.
    pub tx_index: u32,
    /// Log index, modulo 2^24.
    pub log_index: u32,
}

impl EventId {
    /// The id of the log at `place` of the block `block_hash` on the chain `chain_id`.
    pub fn new(chain_id: u64, block_hash: B256, place: Place) -> Self {
        let digest = Sha256::new()
            .chain_update(chain_id.to_be_bytes())
            .chain_update(place.block_number.to_be_bytes())
            .chain_update(block_hash)
            .chain_update(place.tx_index.to_be_bytes())
            .chain_update(place.log_index.to_be_bytes())
            .finalize();
        let digest = digest.iter().take(8).fold(0u128, |acc, byte| (acc << 8) | u128::from(*byte));
        let bits = low(place.block_number.into(), NUMBER_BITS) << (TX_BITS + LOG_BITS + DIGEST_BITS)
            | low(place.tx_index.into(), TX_BITS) << (LOG_BITS + DIGEST_BITS)
            | low(place.log_index.into(), LOG_BITS) << DIGEST_BITS
            | low(digest, DIGEST_BITS);
        // 48 bits, version, 12 bits, variant, 62 bits.
        Self(Uuid::from_u128(
            (bits >> 74) << 80 | 0x8 << 76 | low(bits >> 62, 12) << 64 | 0b10 << 62 | low(bits, 62),
        ))
    }

    /// The UUID.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }

    /// The position of the event. The caller must still compare the digest.
    pub fn parts(self) -> EventIdParts {
        let raw = self.0.as_u128();
        let bits = (raw >> 80) << 74 | low(raw >> 64, 12) << 62 | low(raw, 62);
        let field = |shift: u32, width: u32| u64::try_from(low(bits >> shift, width)).unwrap_or_default();
        let narrow = |value: u64| u32::try_from(value).unwrap_or_default();
        EventIdParts {
            block_number: field(TX_BITS + LOG_BITS + DIGEST_BITS, NUMBER_BITS),
            tx_index: narrow(field(LOG_BITS + DIGEST_BITS, TX_BITS)),
            log_index: narrow(field(DIGEST_BITS, LOG_BITS)),
        }
    }
}

impl From<Uuid> for EventId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

fn low(value: u128, bits: u32) -> u128 {
    value & ((1 << bits) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { block_number: 18_000_000, tx_index: 118, log_index: 290 };

    #[test]
    fn an_id_contains_its_place_and_is_a_version_8_uuid() {
        let id = EventId::new(1, B256::repeat_byte(7), PLACE);
        assert_eq!(id.parts(), EventIdParts { block_number: 18_000_000, tx_index: 118, log_index: 290 });
        assert_eq!(id.as_uuid().get_version_num(), 8);
        assert_eq!(id.as_uuid().get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn only_chain_hash_and_place_change_the_id() {
        let id = EventId::new(1, B256::repeat_byte(7), PLACE);
        assert_eq!(id, EventId::new(1, B256::repeat_byte(7), PLACE));
        assert_ne!(id, EventId::new(2, B256::repeat_byte(7), PLACE));
        assert_ne!(id, EventId::new(1, B256::repeat_byte(8), PLACE));
        assert_ne!(id, EventId::new(1, B256::repeat_byte(7), Place { log_index: 291, ..PLACE }));
    }
}
