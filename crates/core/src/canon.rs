//! Decides about the chain, without I/O: which blocks are confirmed, which are final, and whether a node's answer
//! contradicts the stored blocks. Also plans which sources read which blocks next, and which blocks are published as
//! pending.

mod age;
mod first_head;
mod heads;
mod plan;
mod policy;
mod tag;
mod verdict;

pub use age::{AgeVerdict, BlockTime};
pub use first_head::FirstHead;
pub use heads::{AgeBoundary, Heads};
pub use plan::{DepthZones, ReadPlan, SourceGroup, SourcePosition, plan};
pub use policy::{Confirmations, DepthPolicy, PublishMode};
pub use tag::{TagHistory, TagVerdict};
pub use verdict::{ReorgVerdict, judge};
