use clap::{Args, Subcommand};

/// `chains`
#[derive(Clone, Debug, Subcommand)]
pub enum ChainsCommand {
    /// List what is stored of each chain
    List(ChainsArgs),
    /// Delete everything of a chain that is not configured any more; what was announced is retracted
    Forget(ForgetArgs),
}

/// `chains list`
#[derive(Clone, Debug, Args)]
pub struct ChainsArgs {
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `chains forget`
#[derive(Clone, Debug, Args)]
pub struct ForgetArgs {
    /// Its name, as `chains list` has it, or its id
    pub name: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}
