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
    /// Last block; all of them must be final
    #[arg(long, value_name = "N")]
    pub to: u64,
    /// Name of the chain, where there are several
    #[arg(long, value_name = "NAME")]
    pub chain: Option<String>,
    /// Only events of this type, erc20.mint for instance; again for several
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Go on after this place, as an interrupted replay told it
    #[arg(long, value_name = "BLOCK/TRANSACTION/LOG", value_parser = place)]
    pub after: Option<Place>,
    /// To which sink [default: the one there is]
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// Stands before the names of the streams: replay:events:user
    #[arg(long, value_name = "NAME", default_value = "replay", value_parser = stream)]
    pub stream: String,
    /// To the live streams, by way of the outbox
    #[arg(long, conflicts_with_all = ["sink", "stream"])]
    pub live: bool,
    /// Messages a second at most
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// Send nothing: count
    #[arg(long)]
    pub dry_run: bool,
    /// Answer in JSON
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
