use std::fmt;

/// A string that may hold a key or a password: readable on purpose only, invisible in `Debug`.
///
/// There is no `Display`: what may be shown of a URL (its host) is decided by the room that uses it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. Never for a log, an error, a metric or an answer.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_hides_what_is_inside() {
        assert_eq!(format!("{:?}", Some(Secret::new("https://node.example/key"))), "Some(Secret(…))");
    }
}
