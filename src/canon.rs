//! Decides what to believe, without I/O: which blocks are confirmed and which final, which sources go
//! on from where, and whether what a node says now contradicts what we hold.

mod plan;
mod policy;
mod verdict;

pub use plan::{Group, Plan, plan};
pub use policy::{Confirmations, Heads, Policy};
pub use verdict::{Verdict, judge};
