use alloy_primitives::{B256, Bloom};

use chainflume_core::domain::BlockRef;

/// What of a header can be held against logs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderSeal {
    pub block: BlockRef,
    pub bloom: Option<Bloom>,
    pub receipts_root: Option<B256>,
    /// Whether these are what the block's hash is of, and not only what a node returned with it.
    pub is_hashed: bool,
}
