//! Decides what to believe, without I/O: which blocks are confirmed and which final, which sources go
//! on from where, what is told before it is confirmed, and whether what a node says now contradicts what we hold.

mod age;
mod heads;
mod plan;
mod policy;
mod verdict;

pub use age::{AgeVerdict, BlockTime};
pub use heads::{AgeBoundary, Heads};
pub use plan::{DepthZones, ReadPlan, SourceGroup, SourcePosition, plan};
pub use policy::{Confirmations, DepthPolicy, PublishMode};
pub use verdict::{ReorgVerdict, judge};
