//! What can be written on the command line. The structs are plain data: `app` takes them as they are.

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
use crate::config::{Log, LogFormat, LogLevel};
use chainflume_core::domain::BlockRange;
use chainflume_core::mapping::Family;
pub use chains::{ChainsArgs, ChainsCommand, ForgetArgs};
pub use dead_letters::{DeadLettersCommand, DropArgs, LettersArgs, RetryArgs, ShowArgs};
pub use keys::KeysCommand;
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
  70  a mistake of the program's own
  75  in use by another process: try again later
  78  wrong configuration";

/// Carries EVM logs into PostgreSQL, exactly once, through reorgs and crashes
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
    /// How log lines look, whatever the configuration says
    #[arg(long, global = true, value_name = "FORMAT", value_parser = log_formats())]
    pub log_format: Option<LogFormat>,
    /// How much is logged, whatever the configuration says
    #[arg(long, global = true, value_name = "LEVEL", value_parser = log_levels())]
    pub log_level: Option<LogLevel>,
    /// Log more: -v for debug, -vv for trace
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "log_level")]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Carry logs into the database until told to stop
    Run,
    /// See it all work on this machine: a development chain, a private PostgreSQL and the daemon between them
    Demo(DemoArgs),
    /// Write a commented configuration for a contract
    Init(InitArgs),
    /// Check the configuration, the ABIs it names, the nodes and the database
    Check(CheckArgs),
    /// Create or update the database's tables; the daemon does it by itself when it starts
    Migrate,
    /// Show where every source stands, whether the daemon runs or not
    Status(StatusArgs),
    /// Read a range of blocks of one source again and add what is missing, beside the running daemon
    Backfill(BackfillArgs),
    /// Read blocks again and compare what is stored with them, beside the running daemon
    Verify(VerifyArgs),
    /// Take a chain back to a block, final or not, beside the running daemon or without it
    Rewind(RewindArgs),
    /// Send messages about stored events again, marked as a replay, to streams of their own
    Replay(ReplayArgs),
    /// See to the logs that could not become events and the messages nobody took, beside the running daemon
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// See where messages go, and decide about a sink that holds what this database never sent
    #[command(subcommand)]
    Sinks(SinksCommand),
    /// See what is stored of each source, and decide about one that the configuration names otherwise
    #[command(subcommand)]
    Sources(SourcesCommand),
    /// See what is stored of each chain, and delete one that is not configured any more
    #[command(subcommand)]
    Chains(ChainsCommand),
    /// See where each webhook stands, and let one that answered 410 have messages again
    #[command(subcommand)]
    Webhooks(WebhooksCommand),
    /// Make the typed views that are missing, and list all there are: one for each ABI event
    Views(ViewsArgs),
    /// Make keys with which services ask the public server
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print the JSON Schema of the messages
    Schema,
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages; packages are made with it
    #[command(hide = true)]
    Man(ManArgs),
}

/// `demo`
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Stop by itself after so long, and compare every row with the chain [default: run until Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub run_for: Option<Duration>,
    /// Where its database lives [default: a folder of its own, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Time from one block to the next
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub block_time: Duration,
    /// Leave the database where it is at the end
    #[arg(long)]
    pub keep: bool,
}

/// `init`
#[derive(Clone, Debug, Args)]
pub struct InitArgs {
    /// What the contract is
    #[arg(long, required_unless_present = "manual", value_parser = families())]
    pub family: Option<Family>,
    /// Its address; again for several, or "any" for every contract of the chain
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
    /// Name of the source [default: after the family]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// File to write, - for stdout [default: --config, else chainflume.toml]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Overwrite the file if there is one
    #[arg(long)]
    pub force: bool,
    /// Write nothing: print every key there is, with its default and the reason
    #[arg(long, exclusive = true)]
    pub manual: bool,
}

/// `check`
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Only what keeps a start from working: of several nodes, one that is away is told and no error
    #[arg(long, conflicts_with = "offline")]
    pub start: bool,
    /// Only the files: ask neither node nor database
    #[arg(long)]
    pub offline: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `status`
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
    /// Go on until Ctrl-C, in place on a terminal; with --json one object a line [default TIME: 2s]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s", value_parser = pace)]
    pub watch: Option<Duration>,
}

/// `views`
#[derive(Clone, Debug, Args)]
pub struct ViewsArgs {
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `man`
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// Folder for one page a command
    pub folder: PathBuf,
}

/// `completions`
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: Shell,
}

impl Global {
    /// What the command line says about logs, over what is configured.
    pub fn log(&self, configured: &Log) -> Log {
        let more = match self.verbose {
            0 => None,
            1 => Some(LogLevel::Debug),
            _ => Some(LogLevel::Trace),
        };
        Log {
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

/// Each look asks the daemon and the database.
fn pace(text: &str) -> Result<Duration, String> {
    let pace = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if pace < Duration::from_millis(200) { Err("at least 200ms".to_owned()) } else { Ok(pace) }
}

fn log_formats() -> impl TypedValueParser<Value = LogFormat> {
    one_of(&LogFormat::WORDS)
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

/// The words of the configuration, so that both take the same.
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
        let configured = Log { format: LogFormat::Json, level: LogLevel::Warn };
        assert_eq!(Global::default().log(&configured), configured);
        let louder = Global { verbose: 1, log_format: Some(LogFormat::Human), ..Global::default() };
        assert_eq!(louder.log(&configured), Log { format: LogFormat::Human, level: LogLevel::Debug });
    }
}
