use serde::{Deserialize, Serialize};

/// What an endpoint has taught by refusing. Kept across restarts, so that each lesson is paid for once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointLimits {
    /// Widest range answered, in blocks.
    pub width: Option<u64>,
    /// Narrowest range refused for its number of blocks.
    pub ceiling: Option<u64>,
    /// Most addresses to ask for at once.
    pub addresses: Option<usize>,
    /// Most first topics to ask for at once.
    pub topics: Option<usize>,
    /// Most values of another topic to ask for at once.
    pub values: Option<usize>,
    /// Most calls to put into one request; 1 where batches are refused.
    pub batch: Option<u64>,
}

/// How long the lists of a filter may be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FilterLimits {
    pub addresses: Option<usize>,
    pub topics: Option<usize>,
    pub values: Option<usize>,
}
