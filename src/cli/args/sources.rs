use clap::{Args, Subcommand};

/// `sources`
#[derive(Clone, Debug, Subcommand)]
pub enum SourcesCommand {
    /// List stored sources and their differences from the configuration
    List(SourcesArgs),
    /// Rename a stored source to its name in the configuration, and keep its data
    Rename(RenameArgs),
    /// Delete a stored source that is no longer configured, and retract its messages; its chain waits meanwhile
    Remove(EmptyArgs),
    /// Delete what is stored of a configured source, retract its messages, and read the source again
    Reset(EmptyArgs),
}

/// `sources list`
#[derive(Clone, Debug, Args)]
pub struct SourcesArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `sources rename`
#[derive(Clone, Debug, Args)]
pub struct RenameArgs {
    /// The stored name
    pub old: String,
    /// The new name
    pub new: String,
}

/// `sources remove`, `sources reset`
#[derive(Clone, Debug, Args)]
pub struct EmptyArgs {
    /// Name of the source, as `sources list` prints it
    pub name: String,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
