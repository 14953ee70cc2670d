use std::time::Duration;

use clap::Args;

use super::range;
use crate::app::{RereadArgs, RewindOptions as Rewind};
use crate::cli::exit::Failure;
use chainflume_index::Purpose;

/// `backfill`
#[derive(Clone, Debug, Args)]
pub struct BackfillArgs {
    /// Name of the source
    #[arg(long, value_name = "NAME")]
    pub source: String,
    /// First block, not below start_block
    #[arg(long, value_name = "N")]
    pub from: u64,
    /// Last block
    #[arg(long, value_name = "N")]
    pub to: u64,
    /// End when the node fails at the same blocks for this time
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    pub give_up_after: Duration,
}

impl BackfillArgs {
    /// The sources and blocks to read again.
    ///
    /// # Errors
    /// `--from` above `--to`.
    pub fn reread(&self) -> Result<RereadArgs, Failure> {
        let range = range(self.from, self.to)?;
        let (from, to) = (Some(range.from()), Some(range.to()));
        let (sources, give_up_after) = (vec![self.source.clone()], self.give_up_after);
        Ok(RereadArgs { sources, from, to, purpose: Purpose::Add, give_up_after })
    }
}

/// `verify`
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Name of the source; repeat for several [default: all]
    #[arg(long, value_name = "NAME")]
    pub source: Vec<String>,
    /// First block, of each source not below its start block [default: the start block]
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,
    /// Last block [default: the newest stored final block]
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,
    /// Add missing events, and undo events that are proven not to be on the chain; both publish messages
    #[arg(long)]
    pub repair: bool,
    /// End when the node fails at the same blocks for this time
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    pub give_up_after: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl VerifyArgs {
    /// The sources and blocks to read again.
    ///
    /// # Errors
    /// `--from` above `--to`.
    pub fn reread(&self) -> Result<RereadArgs, Failure> {
        if let (Some(from), Some(to)) = (self.from, self.to) {
            range(from, to)?;
        }
        let purpose = if self.repair { Purpose::Repair } else { Purpose::Compare };
        let (sources, from, to) = (self.source.clone(), self.from, self.to);
        Ok(RereadArgs { sources, from, to, purpose, give_up_after: self.give_up_after })
    }
}

/// `rewind`
#[derive(Clone, Debug, Args)]
pub struct RewindArgs {
    /// Name of the chain [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub chain: Option<String>,
    /// The newest block to keep; without --to the command only prints the newest block that the node agrees on
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl RewindArgs {
    /// The chain and the newest block to keep.
    pub fn rewind(&self) -> Rewind {
        Rewind { chain: self.chain.clone(), to: self.to }
    }
}
