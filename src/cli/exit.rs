//! Exit codes, after `sysexits.h` where it has a word for it. `docs/EXIT-CODES.md` is the long form.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use crate::app::AppError;
use crate::config::Problems;

/// The exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and nothing was found wrong.
    Done,
    /// Not done, or done and a difference was found.
    Failed,
    /// Wrong arguments (`EX_USAGE`).
    Usage,
    /// A node or the database cannot be reached (`EX_UNAVAILABLE`).
    Unavailable,
    /// A mistake of ours (`EX_SOFTWARE`).
    Internal,
    /// In use by another process; the same command may do later (`EX_TEMPFAIL`).
    Temporary,
    /// Wrong configuration (`EX_CONFIG`).
    Config,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Temporary => 75,
            Self::Config => 78,
        }
    }

    /// The exit an error deserves: what it was given with [`OrExit`], else that of its type. An error that nothing
    /// has thought about is a mistake of ours.
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(Failure { exit, .. }) = error.downcast_ref::<Failure>() {
            *exit
        } else if error.is::<Problems>() {
            Self::Config
        } else if let Some(error) = error.downcast_ref::<AppError>() {
            Self::of_app(error)
        } else {
            Self::Internal
        }
    }
}

impl Exit {
    fn of_app(error: &AppError) -> Self {
        match error {
            AppError::Config(_) => Self::Config,
            AppError::Unavailable(_) => Self::Unavailable,
            AppError::Busy(_) => Self::Temporary,
            AppError::Failed(_) => Self::Failed,
            AppError::Internal(_) => Self::Internal,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error and the exit it deserves. Reads exactly as the error alone.
#[derive(Debug)]
pub struct Failure {
    /// The exit.
    pub exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// An error of these words.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, error: anyhow::Error::msg(message.into()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Gives an error the exit it deserves.
pub trait OrExit<T> {
    /// The same result, whose error ends the process with `exit`.
    ///
    /// # Errors
    /// The error it was, wrapped.
    fn or_exit(self, exit: Exit) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> anyhow::Result<T> {
        self.map_err(|error| Failure { exit, error: error.into() }.into())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn an_exit_survives_context_and_the_text_says_each_thing_once() {
        let lost: Result<(), _> = Err(std::io::Error::other("connection refused"));
        let error = lost.context("cannot reach the database").or_exit(Exit::Unavailable).context("check");
        let error = error.expect_err("it was one");
        assert_eq!(Exit::of(&error), Exit::Unavailable);
        assert_eq!(format!("{error:#}"), "check: cannot reach the database: connection refused");
    }

    #[test]
    fn each_class_of_error_has_the_code_of_the_manual() {
        let text = || "text".to_owned();
        for (error, code) in [
            (AppError::Config(text()), 78),
            (AppError::Unavailable(text()), 69),
            (AppError::Busy(text()), 75),
            (AppError::Failed(text()), 1),
            (AppError::Internal(anyhow::Error::msg(text())), 70),
        ] {
            assert_eq!(Exit::of(&error.into()).code(), code);
        }
        assert_eq!((Exit::Done.code(), Exit::Usage.code()), (0, 64));
    }

    #[test]
    fn an_error_without_a_class_is_internal() {
        assert_eq!(Exit::of(&anyhow::anyhow!("surprise")), Exit::Internal);
    }
}
