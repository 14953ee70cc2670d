//! The command line as plain data, which `app` uses without changes.

mod chains;
mod dead_letters;
mod keys;
mod replay;
mod reread;
mod sinks;
mod sources;
mod webhooks;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;

use super::exit::{Exit, Failure};
use crate::config::{LOG_FORMATS, LineFormat, LogConfig, LogLevel};
use chainflume_core::domain::BlockRange;
use chainflume_core::mapping::Family;
pub use chains::{ChainsArgs, ChainsCommand, ForgetArgs};
pub use dead_letters::{DeadLettersCommand, DropArgs, LettersArgs, RetryArgs, ShowArgs};
pub use keys::{KeysArgs, KeysCommand, RevokeArgs};
pub use replay::ReplayArgs;
pub use reread::{BackfillArgs, RewindArgs, VerifyArgs};
pub use sinks::{SinkArgs, SinksArgs, SinksCommand};
pub use sources::{EmptyArgs, RenameArgs, SourcesArgs, SourcesCommand};
pub use webhooks::{EnableArgs, EndpointsArgs, WebhooksCommand};

const EXIT_CODES: &str = "\
Exit codes:
   0  done, and nothing was found wrong
   1  failed, or a difference was found
  64  wrong arguments
  69  a node or the database cannot be reached
  70  an error in the program itself
  75  in use by another process: try again later
  78  wrong configuration";

/// Stores EVM logs in PostgreSQL, exactly once, through reorgs and crashes
#[derive(Debug, Parser)]
#[command(name = "chainflume", version, after_help = EXIT_CODES, propagate_version = true)]
pub struct Cli {
    /// For every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// For every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "For every command")]
pub struct Global {
    /// Configuration file [default: $CHAINFLUME_CONFIG, else ./chainflume.toml, else
    /// /etc/chainflume/chainflume.toml]
    #[arg(short, long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Format of log lines; overrides the configuration
    #[arg(long, global = true, value_name = "FORMAT", value_parser = log_formats())]
    pub log_format: Option<LineFormat>,
    /// Log level; overrides the configuration
    #[arg(long, global = true, value_name = "LEVEL", value_parser = log_levels())]
    pub log_level: Option<LogLevel>,
    /// Log more: -v for debug, -vv for trace
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "log_level")]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon until Ctrl-C or SIGTERM
    Run,
    /// Run the public server alone until Ctrl-C or SIGTERM, beside other processes on the same database
    Serve,
    /// Run a demo on this machine: a development chain, a private PostgreSQL and the daemon between them
    Demo(DemoArgs),
    /// Write a commented configuration for a contract
    Init(InitArgs),
    /// Check the configuration, the ABIs it names, the nodes and the database
    Check(CheckArgs),
    /// Create or update the tables of the database, as the daemon does when it starts
    Migrate,
    /// Show the state of chains, sources, providers and sinks, with or without a running daemon
    Status(StatusArgs),
    /// Read a range of blocks of one source again and add missing events, while the daemon runs
    Backfill(BackfillArgs),
    /// Read blocks again and compare them with the stored events, while the daemon runs
    Verify(VerifyArgs),
    /// Undo everything stored above a block, final or not, with or without a running daemon
    Rewind(RewindArgs),
    /// Publish stored events again, marked as a replay, to separate streams
    Replay(ReplayArgs),
    /// List, retry or drop dead letters: logs that could not be decoded, and messages that were not accepted
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// List sinks, and adopt or reset a sink with messages that this database never sent
    #[command(subcommand)]
    Sinks(SinksCommand),
    /// List stored sources, and rename, remove or reset one that differs from the configuration
    #[command(subcommand)]
    Sources(SourcesCommand),
    /// List stored chains, and delete one that is no longer configured
    #[command(subcommand)]
    Chains(ChainsCommand),
    /// List webhooks, retry messages that wait for one, and enable one that was disabled after an answer of 410
    #[command(subcommand)]
    Webhooks(WebhooksCommand),
    /// Open the database, private or not, in psql
    Psql(PsqlArgs),
    /// Create missing typed views and list all of them, one per ABI event
    Views(ViewsArgs),
    /// Create, list or revoke the keys by which services call the public server
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print the JSON Schema of the messages
    Schema,
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages, as packages need them
    #[command(hide = true)]
    Man(ManArgs),
}

/// `demo`
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Stop after this time and compare every row with the chain [default: run until Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub run_for: Option<Duration>,
    /// Folder of the database [default: a temporary folder, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Time from one block to the next
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub block_time: Duration,
    /// Keep the database at the end
    #[arg(long)]
    pub keep: bool,
    /// Do not use Redis, even if redis-server is installed
    #[arg(long)]
    pub without_redis: bool,
}

/// `init`
#[derive(Clone, Debug, Args)]
pub struct InitArgs {
    /// Family of the contract
    #[arg(long, required_unless_present = "manual", value_parser = families())]
    pub family: Option<Family>,
    /// Address of the contract; repeat for several, or "any" for every contract of the chain
    #[arg(long, value_name = "0x…", required_unless_present = "manual")]
    pub address: Vec<String>,
    /// Name of the chain [default: by --chain-id, else mainnet]
    #[arg(long, value_name = "NAME")]
    pub chain: Option<String>,
    /// EIP-155 id of the chain [default: by --chain]
    #[arg(long, value_name = "N")]
    pub chain_id: Option<u64>,
    /// URL of a node; '${VAR}' reads it from the environment [default: from a variable named after the chain]
    #[arg(long, value_name = "URL")]
    pub http: Option<String>,
    /// WebSocket URL of a node, likewise [default: from a variable named after the chain]
    #[arg(long, value_name = "URL")]
    pub ws: Option<String>,
    /// File with the contract's ABI; only the generic family needs one
    #[arg(long, value_name = "FILE")]
    pub abi: Option<PathBuf>,
    /// Block the contract was created in
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub start_block: u64,
    /// Name of the source [default: stake_vault, token, collection or contract, by the family]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// File to write, - for stdout [default: --config, else chainflume.toml]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(long)]
    pub force: bool,
    /// Write no file: print every key with its default and the reason
    #[arg(long, exclusive = true)]
    pub manual: bool,
}

/// `check`
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Fail only for problems that prevent a start: one of several providers that cannot be reached is a warning
    #[arg(long, conflicts_with = "offline")]
    pub start: bool,
    /// Check the files only, without requests to nodes or the database
    #[arg(long)]
    pub offline: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `status`
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Refresh until Ctrl-C, in place on a terminal; with --json one object per line [default TIME: 2s]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s", value_parser = pace)]
    pub watch: Option<Duration>,
}

/// `psql`
#[derive(Clone, Debug, Args)]
pub struct PsqlArgs {
    /// Arguments for psql: `-- -c "select …"`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<std::ffi::OsString>,
}

/// `views`
#[derive(Clone, Debug, Args)]
pub struct ViewsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `man`
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// Folder for one page per command
    pub folder: PathBuf,
}

/// `completions`
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: Shell,
}

impl Global {
    /// The settings of the log: the options of the command line, and where there are none the configuration.
    pub fn log(&self, configured: &LogConfig) -> LogConfig {
        let more = match self.verbose {
            0 => None,
            1 => Some(LogLevel::Debug),
            _ => Some(LogLevel::Trace),
        };
        LogConfig {
            format: self.log_format.unwrap_or(configured.format),
            level: self.log_level.or(more).unwrap_or(configured.level),
        }
    }
}

fn range(from: u64, to: u64) -> Result<BlockRange, Failure> {
    BlockRange::new(from, to).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("--from {from} is above --to {to}; give the lower block first"))
    })
}

/// The interval of `--watch`. Each refresh queries the daemon and the database.
fn pace(text: &str) -> Result<Duration, String> {
    let pace = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if pace < Duration::from_millis(200) { Err("at least 200ms".to_owned()) } else { Ok(pace) }
}

fn log_formats() -> impl TypedValueParser<Value = LineFormat> {
    one_of(&LOG_FORMATS)
}

fn log_levels() -> impl TypedValueParser<Value = LogLevel> {
    one_of(&LogLevel::WORDS)
}

fn families() -> impl TypedValueParser<Value = Family> {
    const WORDS: &[(&str, Family)] = &[
        ("stake", Family::Stake),
        ("erc20", Family::Erc20),
        ("erc721", Family::Erc721),
        ("generic", Family::Generic),
    ];
    one_of(WORDS)
}

/// A parser of the words that the configuration accepts.
fn one_of<T: Clone + Send + Sync + 'static>(
    words: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    let known = PossibleValuesParser::new(words.iter().map(|(word, _)| *word));
    known.try_map(move |word: String| {
        let found = words.iter().find(|(known, _)| *known == word);
        found.map(|(_, value)| value.clone()).ok_or("unknown word")
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_has_no_contradiction() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_line_goes_over_what_is_configured() {
        let configured = LogConfig { format: LineFormat::Json, level: LogLevel::Warn };
        assert_eq!(Global::default().log(&configured), configured);
        let louder = Global { verbose: 1, log_format: Some(LineFormat::Human), ..Global::default() };
        assert_eq!(louder.log(&configured), LogConfig { format: LineFormat::Human, level: LogLevel::Debug });
    }
}
