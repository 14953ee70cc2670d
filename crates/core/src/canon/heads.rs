/// What a node says of its chain's height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Newest block.
    pub latest: u64,
    /// The `safe` tag where it was asked for and the chain has it.
    pub safe: Option<u64>,
    /// The `finalized` tag where the chain has it.
    pub finalized: Option<u64>,
    /// Up to where blocks are older than [`super::DepthPolicy::backend_lag`]. `None` before any block was looked at; then only the
    /// number of blocks counts.
    pub aged: Option<AgeBoundary>,
}

/// Up to where blocks are old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgeBoundary {
    /// The highest block that was found to be.
    pub number: u64,
    /// The head under which it was found.
    pub under: u64,
}
