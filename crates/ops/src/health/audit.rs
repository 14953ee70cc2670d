/// The audit of one source, as it was last left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditHealth {
    /// Everything up to here was compared with the chain a second time; `None` where nothing was yet.
    pub verified_to: Option<u64>,
    /// Events found to differ that are not repaired.
    pub differences: u64,
    /// The first and the last of the blocks in which they are.
    pub differing_in: Option<(u64, u64)>,
}
