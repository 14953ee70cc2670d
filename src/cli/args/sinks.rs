use clap::{Args, Subcommand};

/// `sinks`
#[derive(Clone, Debug, Subcommand)]
pub enum SinksCommand {
    /// List where messages go, and where each stands
    List(SinksArgs),
    /// Go on after what a sink holds that this database never sent: what the sink lacks gets numbers above everything in it
    Adopt(SinkArgs),
    /// Delete the streams of a sink, with their consumer groups, and send it everything that is kept
    Reset(SinkArgs),
}

/// `sinks list`
#[derive(Clone, Debug, Args)]
pub struct SinksArgs {
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `sinks adopt`, `sinks reset`
#[derive(Clone, Debug, Args)]
pub struct SinkArgs {
    /// Its name, as `sinks list` has it: redis, webhook:crm
    pub name: String,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}
