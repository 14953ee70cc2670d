use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub(super) use chainflume_core::settings::Fault;
use chainflume_ops::text::is_unprintable;

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
        for Problem { key, problem, remedy, .. } in &mut problems {
            for text in [key, problem, remedy] {
                *text = bounded(text);
            }
        }
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

/// Characters of a word that are shown, and of a text. A problem quotes what is wrong: a type or a name in an ABI may have a million.
const WORD_CHARS: usize = 200;
const TEXT_CHARS: usize = 2_000;

/// The text with long words and its end cut short, and without characters that steer a terminal.
fn bounded(text: &str) -> String {
    let (mut short, mut word, mut shown) = (String::new(), 0, 0);
    for c in text.chars() {
        word = if c.is_whitespace() { 0 } else { word + 1 };
        if word > WORD_CHARS + 1 {
            continue;
        }
        if shown == TEXT_CHARS {
            short.push('…');
            break;
        }
        shown += 1;
        short.push(match c {
            _ if word > WORD_CHARS => '…',
            '\n' => c,
            c if is_unprintable(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        });
    }
    short
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_problem_quotes_is_cut_short() {
        let long = "(".repeat(1_000_000);
        let fault = Fault::new(
            format!("has the type `{long}` at \u{1b}[2J\u{202e}x"),
            format!("one of {}", "a b ".repeat(9_999)),
        );
        let problems = Problems::of_file(Path::new("chainflume.toml"), fault);
        let [problem] = problems.list() else { panic!("one problem") };
        assert_eq!(
            problem.problem,
            format!("has the type `{}… at \u{fffd}[2J\u{fffd}x", "(".repeat(WORD_CHARS - 1))
        );
        assert_eq!(problem.remedy.chars().count(), TEXT_CHARS + 1);
        assert!(
            problem.remedy.starts_with("one of a b a b") && problem.remedy.ends_with('…'),
            "{}",
            problem.remedy
        );
    }
}
