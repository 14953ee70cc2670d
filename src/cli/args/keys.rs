use clap::{Args, Subcommand};

/// `keys`
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a key, and print it with its table for the configuration, which contains only the hash
    New,
    /// List the keys of the configuration and those that were revoked
    List(KeysArgs),
    /// Refuse a key on every server within 2 s, and close its connections; then remove its table from the configuration
    Revoke(RevokeArgs),
}

/// `keys list`
#[derive(Clone, Debug, Args)]
pub struct KeysArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `keys revoke`
#[derive(Clone, Debug, Args)]
pub struct RevokeArgs {
    /// Name of the service, which revokes all its keys, or the hash of one key, sha256:…
    #[arg(value_name = "NAME|HASH")]
    pub key: String,
}
