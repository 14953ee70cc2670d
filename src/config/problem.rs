use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub(super) use chainflume_core::settings::Fault;

/// The place of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// Full key, `source[1].address` for instance.
    pub key: String,
    /// Byte in the text; `None` for what is missing from the file as a whole.
    pub at: Option<usize>,
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Line in the file, the first is 1; `None` where the file as a whole is meant.
    pub line: Option<usize>,
    /// Full key, `source[1].address` for instance (the first is 0); empty for a fault of syntax.
    pub key: String,
    /// What is wrong. Holds no value that may be a secret.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
    #[serde(skip)]
    pub(super) at: Option<usize>,
}

/// Everything wrong with a configuration, never empty. Displayed one problem a line, in the order of the
/// file, below a line that counts them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems {
    file: PathBuf,
    problems: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &Path, mut problems: Vec<Problem>) -> Self {
        // Within a line by column. What has no place comes last: it is about what is not there.
        problems.sort_by_key(|problem| problem.at.unwrap_or(usize::MAX));
        Self { file: file.to_owned(), problems }
    }

    /// A problem with the file itself.
    pub(super) fn of_file(file: &Path, fault: Fault) -> Self {
        let Fault { what, remedy } = fault;
        let problem = Problem { line: None, key: String::new(), problem: what, remedy, at: None };
        Self::new(file, vec![problem])
    }

    /// The file they are about, as it was named.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// In the order of the file.
    pub fn list(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        let plural = if self.problems.len() == 1 { "" } else { "s" };
        write!(f, "{} problem{plural} in {file}", self.problems.len())?;
        for Problem { line, key, problem, remedy, .. } in &self.problems {
            write!(f, "\n{file}:")?;
            if let Some(line) = line {
                write!(f, "{line}:")?;
            }
            if !key.is_empty() {
                write!(f, " {key}:")?;
            }
            write!(f, " {problem} ({remedy})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
