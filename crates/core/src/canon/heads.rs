/// Heights that a node reports for its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Newest block.
    pub latest: u64,
    /// The `safe` block, if it was requested and the chain has one.
    pub safe: Option<u64>,
    /// The `finalized` block, if the chain has one.
    pub finalized: Option<u64>,
    /// The height up to which blocks are older than [`super::DepthPolicy::backend_lag`]. `None` until a block's age was
    /// measured; then only the number of blocks counts.
    pub aged: Option<AgeBoundary>,
}

/// A measured age: which blocks are old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgeBoundary {
    /// The highest block that is old.
    pub number: u64,
    /// The head at the measurement.
    pub under: u64,
}
