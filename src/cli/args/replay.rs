use clap::Args;

use super::super::exit::Failure;
use super::range;
use chainflume_core::domain::{BlockRange, Place};

/// `replay`
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// First block
    #[arg(long, value_name = "N")]
    pub from: u64,
    /// Last block; all blocks must be final
    #[arg(long, value_name = "N")]
    pub to: u64,
    /// Name of the chain, needed where several are configured
    #[arg(long, value_name = "NAME")]
    pub chain: Option<String>,
    /// Only events of this type, for example erc20.mint; repeat for several
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Continue after this place, which an interrupted replay prints
    #[arg(long, value_name = "BLOCK/TRANSACTION/LOG", value_parser = place)]
    pub after: Option<Place>,
    /// Sink to publish to [default: the only sink]
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// Prefix of the stream names: replay:events:user
    #[arg(long, value_name = "NAME", default_value = "replay", value_parser = stream)]
    pub stream: String,
    /// Publish to the live streams, through the outbox
    #[arg(long, conflicts_with_all = ["sink", "stream"])]
    pub live: bool,
    /// Maximum number of messages per second
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// Count the messages and send none
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl ReplayArgs {
    /// The blocks.
    ///
    /// # Errors
    /// `--from` above `--to`.
    pub fn range(&self) -> Result<BlockRange, Failure> {
        range(self.from, self.to)
    }
}

/// As [`Place`] is written.
fn place(text: &str) -> Result<Place, String> {
    let mut parts = text.split('/');
    let place = (|| {
        Some(Place {
            block_number: parts.next()?.parse().ok()?,
            tx_index: parts.next()?.parse().ok()?,
            log_index: parts.next()?.parse().ok()?,
        })
    })();
    place.filter(|_| parts.next().is_none()).ok_or_else(|| "write block/transaction/log, 123/4/5".to_owned())
}

fn stream(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    let right = !text.is_empty() && text.len() <= 64 && text.bytes().all(fits);
    right
        .then(|| text.to_owned())
        .ok_or_else(|| "write up to 64 of letters, digits, `_`, `-` and `.`".to_owned())
}
