use std::env::VarError;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// All the configuration takes from outside its own text, so that a test can hand it in.
pub trait Environment {
    /// The variable `name`.
    ///
    /// # Errors
    /// As [`std::env::var`]: not set, or not UTF-8.
    fn var(&self, name: &str) -> Result<String, VarError>;

    /// Whether the process runs as root, which decides where data is kept by default.
    fn is_root(&self) -> bool;

    /// The text of the file at `path`, of which no more than `limit` bytes are read.
    ///
    /// # Errors
    /// [`FileError`], which never quotes the file.
    fn read(&self, path: &Path, limit: u64) -> Result<String, FileError>;
}

/// Why a file could not be read as text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Nothing there.
    #[error("no such file")]
    Missing,
    /// A directory.
    #[error("is a directory; a file is needed")]
    Directory,
    /// Above the limit; the rest was not read.
    #[error("is larger than {} MiB", .limit >> 20)]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Not UTF-8.
    #[error("is not text (UTF-8)")]
    NotText,
    /// Not ours to read.
    #[error("may not be read by this user")]
    Denied,
    /// Something else, in the words of the operating system.
    #[error("cannot be read: {0}")]
    Other(String),
}

/// The process's own environment and files.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn var(&self, name: &str) -> Result<String, VarError> {
        std::env::var(name)
    }

    fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    fn read(&self, path: &Path, limit: u64) -> Result<String, FileError> {
        let file = std::fs::File::open(path).map_err(|error| FileError::from_io(&error))?;
        // Asked of the open file and not of the path, which may be another file by now. The length is not
        // asked for at all: a pipe (`--config <(…)`) has none and /dev/zero has no end.
        if file.metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(FileError::Directory);
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| FileError::from_io(&error))?;
        if bytes.len() as u64 > limit {
            return Err(FileError::TooLarge { limit });
        }
        String::from_utf8(bytes).map_err(|_| FileError::NotText)
    }
}

impl FileError {
    fn from_io(error: &std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Self::Missing,
            ErrorKind::IsADirectory => Self::Directory,
            ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Other(error.to_string()),
        }
    }
}
