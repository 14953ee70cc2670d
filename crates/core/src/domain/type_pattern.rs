use std::fmt;

use super::message_type::{is_chain_prefix, is_chain_type};

/// A type of messages, or a prefix of types, which is written with `.*` at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypePattern {
    /// One type.
    Type(String),
    /// All types with this prefix, which ends with a point.
    Prefix(String),
}

/// Why a text is no type of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a type of messages; write a type like erc20.transfer, or erc20.* for all types with this prefix"
)]
pub struct TypePatternError;

impl TypePattern {
    /// Reads a type or a prefix.
    ///
    /// # Errors
    /// [`TypePatternError`]
    pub fn parse(text: &str) -> Result<Self, TypePatternError> {
        let fits = |name: &str| {
            let word = |word: &str| {
                !word.is_empty()
                    && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$'))
            };
            name.len() <= 200 && name.split('.').all(word)
        };
        match text.strip_suffix(".*") {
            Some(prefix) if fits(prefix) => Ok(Self::Prefix(format!("{prefix}."))),
            None if fits(text) && text.contains('.') => Ok(Self::Type(text.to_owned())),
            _ => Err(TypePatternError),
        }
    }

    /// Whether the pattern names a type of messages about a chain. All others are facts of the application.
    pub fn may_be_of_chain(&self) -> bool {
        match self {
            Self::Type(name) => is_chain_type(name),
            Self::Prefix(prefix) => is_chain_prefix(prefix),
        }
    }

    /// The text that SQL compares: a type, or a prefix, which ends with a point.
    pub fn begin(&self) -> &str {
        match self {
            Self::Type(name) => name,
            Self::Prefix(prefix) => prefix,
        }
    }

    /// Whether the pattern names this type.
    pub fn names(&self, message_type: &str) -> bool {
        match self {
            Self::Type(name) => name == message_type,
            Self::Prefix(prefix) => message_type.starts_with(prefix.as_str()),
        }
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_type_or_the_beginning_of_types() {
        for text in ["*", "erc20", "erc20.", "erc20.*x", "erc20 .a", ".*", "a..b"] {
            assert_eq!(TypePattern::parse(text), Err(TypePatternError), "{text}");
        }
        let pattern = TypePattern::parse("erc20.*").expect("a pattern");
        assert_eq!((pattern.to_string().as_str(), pattern.begin()), ("erc20.*", "erc20."));
        assert!(pattern.names("erc20.transfer") && pattern.names("erc20.a.b"));
        assert!(!pattern.names("erc20") && !pattern.names("erc2000.a"));
        let one = TypePattern::parse("order.paid").expect("a type");
        assert_eq!((one.to_string().as_str(), one.begin()), ("order.paid", "order.paid"));
        assert!(one.names("order.paid") && !one.names("order.paid.late"));
    }

    #[test]
    fn a_pattern_is_of_a_chain_where_one_of_its_types_is() {
        let is_of_chain = |text: &str| TypePattern::parse(text).expect("a type").may_be_of_chain();
        for text in
            ["erc20.transfer", "erc721.*", "contract.Ping", "user.*", "user.updated", "entity.ticket.*"]
        {
            assert!(is_of_chain(text), "{text}");
        }
        for text in [
            "order.shipped",
            "order.*",
            "user.registered",
            "user.updated.*",
            "activity.*",
            "inbound.unconfirmed",
            "erc2000.*",
        ] {
            assert!(!is_of_chain(text), "{text}");
        }
    }
}
