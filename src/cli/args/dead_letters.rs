use clap::{Args, Subcommand};

/// `dead-letters`
#[derive(Clone, Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List them, the oldest first
    List(LettersArgs),
    /// Show one whole, with its log or message
    Show(ShowArgs),
    /// Try again, after an ABI, the configuration or a receiver was corrected: what fits becomes an event, and what was not
    /// delivered is, each once
    Retry(RetryArgs),
    /// Mark one as resolved without an event
    Drop(DropArgs),
}

/// `dead-letters list`
#[derive(Clone, Debug, Args)]
pub struct LettersArgs {
    /// Of this source, or to this sink (webhook:NAME), alone
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Those that are resolved too
    #[arg(long)]
    pub resolved: bool,
    /// Numbers above this one
    #[arg(long, value_name = "ID", default_value_t = 0)]
    pub after: u64,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `dead-letters show`
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// Its number
    pub id: u64,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `dead-letters retry`
#[derive(Clone, Debug, Args)]
pub struct RetryArgs {
    /// Their numbers
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub ids: Vec<u64>,
    /// Every open one
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// With --all, of this source, or to this sink (webhook:NAME), alone
    #[arg(long, value_name = "NAME", requires = "all")]
    pub source: Option<String>,
    /// Answer in JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `dead-letters drop`
#[derive(Clone, Debug, Args)]
pub struct DropArgs {
    /// Its number
    pub id: u64,
    /// Why, for whoever finds it later
    #[arg(long, value_name = "TEXT", default_value = "dropped by hand")]
    pub reason: String,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}
