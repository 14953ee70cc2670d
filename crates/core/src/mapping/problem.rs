use std::fmt;

use alloy_primitives::U256;
use thiserror::Error;

use super::family::Family;

/// All problems with the meaning of the sources, reported together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingError {
    /// Never empty.
    pub problems: Vec<MappingProblem>,
}

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("; "))
    }
}

impl std::error::Error for MappingError {}

/// One problem with a source.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MappingProblem {
    /// A source without any event of its family would keep no state.
    #[error(
        "source `{source_name}` is of family {family} and its ABI has no {wanted}; use family generic for other events"
    )]
    NoKnownEvent {
        /// Name of the source.
        source_name: String,
        /// Its family.
        family: Family,
        /// Signatures of which at least one is required.
        wanted: &'static str,
    },
    /// No event to follow.
    #[error("source `{source_name}` has no events")]
    NoEvents {
        /// Name of the source.
        source_name: String,
    },
    /// A setting that belongs to another family.
    #[error(
        "source `{source_name}` is of family {family}, which defines its users; remove `user`, which is for family generic"
    )]
    UserNotGeneric {
        /// Name of the source.
        source_name: String,
        /// Its family.
        family: Family,
    },
    /// The user argument occurs in none of the events.
    #[error("source `{source_name}` has no event with an argument `{user}`; arguments are {}", .known.join(", "))]
    UserAbsent {
        /// Name of the source.
        source_name: String,
        /// The name that was configured.
        user: String,
        /// Names of all address arguments, each once.
        known: Vec<String>,
    },
    /// The user argument is not an address.
    #[error("source `{source_name}`: argument `{user}` of {event} is {ty}, and a user is an address")]
    UserNotAddress {
        /// Name of the source.
        source_name: String,
        /// Signature.
        event: String,
        /// The name that was configured.
        user: String,
        /// Type of the argument.
        ty: String,
    },
    /// Two sources whose names and events give the same view name.
    #[error("sources `{source_name}` and `{other}` would share the view {view}; rename one of them")]
    SameView {
        /// Name of the source.
        source_name: String,
        /// Name of the source that had the view first.
        other: String,
        /// Name of the view.
        view: String,
    },
}

impl MappingProblem {
    /// The source to look at.
    pub fn source_name(&self) -> &str {
        match self {
            Self::NoKnownEvent { source_name, .. }
            | Self::NoEvents { source_name }
            | Self::UserNotGeneric { source_name, .. }
            | Self::UserAbsent { source_name, .. }
            | Self::UserNotAddress { source_name, .. }
            | Self::SameView { source_name, .. } => source_name,
        }
    }
}

/// Why a typed log cannot become a fact.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MapLogError {
    /// The decoder knows a source or an event that this mapper does not know.
    #[error("the mapper does not know event {event}")]
    UnknownEvent {
        /// Signature.
        event: String,
    },
    /// Arguments are missing or too many.
    #[error("{found} arguments where the event has {expected}")]
    Count {
        /// As declared.
        expected: usize,
        /// As given.
        found: usize,
    },
    /// A value of another type than declared.
    #[error("argument {position} is not of its declared type")]
    Type {
        /// From 0.
        position: usize,
    },
    /// PostgreSQL does not accept JSON of that size.
    #[error("its arguments take {bytes} bytes as JSON, more than the limit of {max}")]
    TooLong {
        /// Size of the arguments.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A range of tokens that has none.
    #[error("its last token is below its first token")]
    RangeBackwards,
    /// Each token of a range is a row.
    #[error(
        "its tokens {first} to {last} are more than the limit of {max}: they have no owner here until their first Transfer"
    )]
    RangeTooLong {
        /// The first token.
        first: U256,
        /// The last token.
        last: U256,
        /// The limit.
        max: u64,
    },
}
