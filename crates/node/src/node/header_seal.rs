use alloy_primitives::{B256, Bloom};

use chainflume_core::domain::BlockRef;

/// The parts of a header that logs can be compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderSeal {
    pub block: BlockRef,
    pub bloom: Option<Bloom>,
    pub receipts_root: Option<B256>,
    /// Whether the block's hash was computed from these parts, so that they are the chain's and not only this node's.
    pub is_hashed: bool,
}
