use serde::{Deserialize, Serialize};

/// The limits of an endpoint, as its refusals have shown them. They are stored, so that a restart does not cause the
/// same refusals again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointLimits {
    /// Widest range that was answered, in blocks.
    pub width: Option<u64>,
    /// Narrowest range that was refused for its number of blocks.
    pub ceiling: Option<u64>,
    /// Maximum number of addresses in a filter.
    pub addresses: Option<usize>,
    /// Maximum number of first topics in a filter.
    pub topics: Option<usize>,
    /// Maximum number of values of another topic in a filter.
    pub values: Option<usize>,
    /// Maximum number of calls in a batch; 1 if batches are refused.
    pub batch: Option<u64>,
}

/// Maximum lengths of the lists of a filter, as far as refusals have shown them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FilterLimits {
    pub addresses: Option<usize>,
    pub topics: Option<usize>,
    pub values: Option<usize>,
}
