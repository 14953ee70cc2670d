use std::fmt;

/// A problem with a value and its remedy. The caller adds where the value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Completes "the value …"; never quotes the value.
    pub what: String,
    /// What to do, in the imperative.
    pub remedy: String,
}

impl Fault {
    /// Each part must be one line.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }

    /// Reads what `Display` wrote: an error of serde is only a text.
    pub fn read(text: &str) -> Self {
        let (what, remedy) = text.split_once('\n').unwrap_or((text, "correct the value"));
        Self::new(what, remedy)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.what, self.remedy)
    }
}
