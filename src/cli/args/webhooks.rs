use clap::{Args, Subcommand};

/// `webhooks`
#[derive(Clone, Debug, Subcommand)]
pub enum WebhooksCommand {
    /// List configured webhooks with their position
    List(EndpointsArgs),
    /// Enable a webhook that answered 410: a running daemon continues from its last position
    Enable(EnableArgs),
    /// Retry at once the messages that wait for a webhook, before the next time of its schedule
    Retry(EnableArgs),
}

/// `webhooks list`
#[derive(Clone, Debug, Args)]
pub struct EndpointsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `webhooks enable` and `webhooks retry`
#[derive(Clone, Debug, Args)]
pub struct EnableArgs {
    /// Name of the webhook in the configuration
    pub name: String,
}
