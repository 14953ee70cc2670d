//! Computes the hash of a header from its fields.

use alloy_primitives::{B256, U256};

use super::WireHeader;
use super::field::Field;
use chainflume_core::domain::{HeaderField, header_hash};

impl WireHeader {
    /// Whether the hash of the fields is the block's hash, so that bloom and receipts root are the chain's. The hash
    /// of a chain with other fields cannot be computed here, which is no error.
    pub(crate) fn has_its_hash(&self) -> bool {
        self.recomputed() == Some(self.hash)
    }

    /// `None` if a field that every header has is missing or cannot be read.
    fn recomputed(&self) -> Option<B256> {
        let mut fields = vec![
            HeaderField::Bytes(self.parent_hash.to_vec()),
            bytes(&self.sha3_uncles)?,
            bytes(&self.miner)?,
            bytes(&self.state_root)?,
            bytes(&self.transactions_root)?,
            bytes(&self.receipts_root)?,
            bytes(&self.logs_bloom)?,
            number(&self.difficulty)?,
            HeaderField::Number(U256::from(self.number.0)),
            number(&self.gas_limit)?,
            number(&self.gas_used)?,
            HeaderField::Number(U256::from(self.timestamp.0)),
            bytes(&self.extra_data)?,
            bytes(&self.mix_hash)?,
            bytes(&self.nonce)?,
        ];
        fields.extend(number(&self.base_fee_per_gas));
        fields.extend(bytes(&self.withdrawals_root));
        fields.extend(number(&self.blob_gas_used));
        fields.extend(number(&self.excess_blob_gas));
        fields.extend(bytes(&self.parent_beacon_block_root));
        fields.extend(bytes(&self.requests_hash));
        Some(header_hash(&fields))
    }
}

fn bytes<T: AsRef<[u8]>>(field: &Field<T>) -> Option<HeaderField> {
    field.readable().map(|value| HeaderField::Bytes(value.as_ref().to_vec()))
}

fn number(field: &Field<U256>) -> Option<HeaderField> {
    field.readable().map(|value| HeaderField::Number(*value))
}
