use clap::{Args, Subcommand};

/// `chains`
#[derive(Clone, Debug, Subcommand)]
pub enum ChainsCommand {
    /// List stored chains
    List(ChainsArgs),
    /// Delete everything stored of a chain that is no longer configured, and retract its published messages
    Forget(ForgetArgs),
}

/// `chains list`
#[derive(Clone, Debug, Args)]
pub struct ChainsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `chains forget`
#[derive(Clone, Debug, Args)]
pub struct ForgetArgs {
    /// Name of the chain, as `chains list` prints it, or its id
    pub name: String,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
