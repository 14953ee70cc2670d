use clap::{Args, Subcommand};

/// `sinks`
#[derive(Clone, Debug, Subcommand)]
pub enum SinksCommand {
    /// List sinks with their position
    List(SinksArgs),
    /// Accept the messages that a sink has, and continue after them: messages that it lacks get higher numbers
    Adopt(SinkArgs),
    /// Delete the streams of a sink with their consumer groups, and send all kept messages again
    Reset(SinkArgs),
}

/// `sinks list`
#[derive(Clone, Debug, Args)]
pub struct SinksArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `sinks adopt`, `sinks reset`
#[derive(Clone, Debug, Args)]
pub struct SinkArgs {
    /// Name of the sink, as `sinks list` prints it: redis, webhook:crm
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
