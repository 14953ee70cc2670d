//! Turns typed logs into facts; the only room that knows what an event means.
//!
//! A family recognizes its events by name and by the types of their arguments, in order. The names of arguments and
//! their `indexed` flags do not matter. The result is a `Recipe`: plain data, so that kinds, view columns and facts
//! cannot disagree. Events that a family does not recognize are stored as `generic` stores them.

mod args;
mod columns;
mod erc20;
mod erc721;
mod family;
mod generic;
mod mapper;
mod problem;
mod recipe;
mod sql_name;
mod stake;
mod view_names;

#[cfg(test)]
mod tests;

pub use erc20::{SupplyProblem, check_supply};
pub use family::{Family, FamilySettings, default_abi};
pub use mapper::{Mapper, SourceMapping};
pub use problem::{MapLogError, MappingError, MappingProblem};
