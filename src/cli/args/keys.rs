use clap::Subcommand;

/// `keys`
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key, and print it with the table for the configuration, which holds its hash alone
    New,
}
