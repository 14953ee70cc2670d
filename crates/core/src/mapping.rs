//! Typed logs to facts: the only place that knows what an event means.
//!
//! A family knows its events by name and by the types of their arguments in order, whatever the
//! arguments are called and whichever are indexed. What it makes of one is a `Recipe`: data, so that
//! the kinds, the columns of the view and the facts cannot disagree. Events a family does not know are
//! kept as `generic` keeps them.

mod args;
mod erc20;
mod erc721;
mod family;
mod generic;
mod mapper;
mod problem;
mod recipe;
mod stake;
mod views;

#[cfg(test)]
mod tests;

pub use family::{Family, FamilySettings, default_abi};
pub use mapper::{Mapper, SourceMapping};
pub use problem::{MapLogError, MappingError, MappingProblem};
