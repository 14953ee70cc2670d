use clap::{Args, Subcommand};

/// `webhooks`
#[derive(Clone, Debug, Subcommand)]
pub enum WebhooksCommand {
    /// List the configured endpoints, and where each stands
    List(EndpointsArgs),
    /// Send to an endpoint again that answered 410, from where it stood; a running daemon sees it by itself
    Enable(EnableArgs),
}

/// `webhooks list`
#[derive(Clone, Debug, Args)]
pub struct EndpointsArgs {
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `webhooks enable`
#[derive(Clone, Debug, Args)]
pub struct EnableArgs {
    /// Its name in the configuration
    pub name: String,
}
