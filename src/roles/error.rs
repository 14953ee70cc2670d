/// Why a command failed, by what the caller can do about it. The exit code follows from it.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration is wrong, or contradicts the node or the database.
    #[error("{0}")]
    Config(String),
    /// A node, the database or an address cannot be reached or taken now.
    #[error("{0}")]
    Unavailable(String),
    /// Another process holds what this one needs.
    #[error("{0}")]
    Busy(String),
    /// The command ran and found something wrong.
    #[error("{0}")]
    Failed(String),
    /// The program or its surroundings are broken.
    #[error("{0:#}")]
    Internal(#[from] anyhow::Error),
}
