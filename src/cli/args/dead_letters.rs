use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use chainflume_core::domain::DeadLetterKind;

/// `dead-letters`
#[derive(Clone, Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List dead letters, the oldest first
    List(LettersArgs),
    /// Show one dead letter with its log or message
    Show(ShowArgs),
    /// Retry dead letters after an ABI, the configuration or a receiver was corrected. A log that fits becomes an event, and a
    /// message is delivered, each once
    Retry(RetryArgs),
    /// Mark a dead letter, or all of a source, as resolved without an event
    Drop(DropArgs),
}

/// `dead-letters list`
#[derive(Clone, Debug, Args)]
pub struct LettersArgs {
    /// Only those of this source, or to this sink (webhook:NAME)
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Include resolved dead letters
    #[arg(long)]
    pub resolved: bool,
    /// Only numbers above this one
    #[arg(long, value_name = "ID", default_value_t = 0)]
    pub after: u64,
    /// Maximum number of dead letters
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `dead-letters show`
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// Number of the dead letter
    pub id: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `dead-letters retry`
#[derive(Clone, Debug, Args)]
pub struct RetryArgs {
    /// Numbers of the dead letters
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub ids: Vec<u64>,
    /// Every open dead letter
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// With --all: only those of this source, or to this sink (webhook:NAME)
    #[arg(long, value_name = "NAME", requires = "all")]
    pub source: Option<String>,
    /// Print JSON, one object per line
    #[arg(long)]
    pub json: bool,
}

/// `dead-letters drop`
#[derive(Clone, Debug, Args)]
pub struct DropArgs {
    /// Number of the dead letter
    #[arg(required_unless_present = "source")]
    pub id: Option<u64>,
    /// Every open dead letter of this source, or to this sink (webhook:NAME)
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    pub source: Option<String>,
    /// With --source: only those of this kind (decode, mapping or delivery)
    #[arg(long, value_name = "KIND", requires = "source", value_parser = kinds())]
    pub kind: Option<DeadLetterKind>,
    /// The reason, kept with the dead letter
    #[arg(long, value_name = "TEXT", default_value = "dropped by hand")]
    pub reason: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn kinds() -> impl TypedValueParser<Value = DeadLetterKind> {
    let known = PossibleValuesParser::new(DeadLetterKind::ALL.map(DeadLetterKind::as_str));
    known.try_map(|word: String| DeadLetterKind::from_word(&word).ok_or("unknown word"))
}
