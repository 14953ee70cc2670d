use clap::{Args, Subcommand};

/// `sources`
#[derive(Clone, Debug, Subcommand)]
pub enum SourcesCommand {
    /// List what is stored of each source, and how that differs from the configuration
    List(SourcesArgs),
    /// Give a stored source the name it has in the configuration now; its data stays
    Rename(RenameArgs),
    /// Delete what is stored of a source that is not configured any more; what was announced is retracted, and the chain waits
    Remove(EmptyArgs),
    /// Delete what is stored of a configured source, and read it anew; what was announced of it is retracted
    Reset(EmptyArgs),
}

/// `sources list`
#[derive(Clone, Debug, Args)]
pub struct SourcesArgs {
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `sources rename`
#[derive(Clone, Debug, Args)]
pub struct RenameArgs {
    /// The name under which it is stored
    pub old: String,
    /// The name it gets
    pub new: String,
}

/// `sources remove`, `sources reset`
#[derive(Clone, Debug, Args)]
pub struct EmptyArgs {
    /// Its name, as `sources list` has it
    pub name: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}
