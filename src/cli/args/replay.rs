use std::time::SystemTime;

use clap::Args;
use uuid::Uuid;

use super::super::exit::{Exit, Failure};
use super::range;
use crate::app::ReplayWhat;
use chainflume_core::domain::{Place, TypePattern};
use chainflume_publish::FactQuery;
use chainflume_store::ReplayQuery;

/// `replay`
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// First block
    #[arg(long, value_name = "N", required_unless_present = "application")]
    pub from: Option<u64>,
    /// Last block; all blocks must be final
    #[arg(long, value_name = "N", required_unless_present = "application")]
    pub to: Option<u64>,
    /// Name of the chain, needed where several are configured
    #[arg(long, value_name = "NAME")]
    pub chain: Option<String>,
    /// Replay events of the application and changes of activities, instead of events of a chain
    #[arg(long, conflicts_with_all = ["from", "to", "chain"])]
    pub application: bool,
    /// Only facts of the application about this kind of subject, or this subject: order, order-9
    #[arg(long, value_name = "TYPE[-ID]", requires = "application")]
    pub aggregate: Option<String>,
    /// Only facts of the application from this time on, for example 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", requires = "application", value_parser = humantime::parse_rfc3339)]
    pub since: Option<SystemTime>,
    /// Only facts of the application before this time
    #[arg(long, value_name = "TIME", requires = "application", value_parser = humantime::parse_rfc3339)]
    pub until: Option<SystemTime>,
    /// Only the fact of the application with this id; repeat for several
    #[arg(long = "id", value_name = "UUID", requires = "application")]
    pub ids: Vec<Uuid>,
    /// Only facts of this type, for example erc20.mint, or erc20.* for all types with this prefix; repeat for several
    #[arg(long = "type", value_name = "TYPE", value_parser = TypePattern::parse)]
    pub types: Vec<TypePattern>,
    /// Continue after the place that an interrupted replay printed: BLOCK/TRANSACTION/LOG, or a number with --application
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub after: Option<String>,
    /// Sink to publish to [default: the only sink]
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// Prefix of the streams to publish to; with the default a stream is replay:events:user
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
    /// The facts to replay.
    ///
    /// # Errors
    /// `--from` above `--to`; `--since` that is not before `--until`; an `--after` that is no place of such facts.
    pub fn what(&self) -> Result<ReplayWhat, Failure> {
        let types = self.types.clone();
        if self.application {
            let aggregate = self.aggregate.as_deref().map(|text| match text.split_once('-') {
                Some((kind, of)) => (kind.to_owned(), Some(of.to_owned())),
                None => (text.to_owned(), None),
            });
            let number = |text: &str| text.parse().ok();
            let after = self.after(number, "with --application a place is a number, 123")?;
            let (since, until, ids) = (self.since, self.until, self.ids.clone());
            if since.zip(until).is_some_and(|(since, until)| since >= until) {
                return Err(Failure::new(Exit::Usage, "--since must be before --until"));
            }
            return Ok(ReplayWhat::Application(FactQuery { types, aggregate, since, until, ids, after }));
        }
        let range = range(self.from.unwrap_or_default(), self.to.unwrap_or_default())?;
        let after = self.after(place, "write block/transaction/log, 123/4/5")?;
        Ok(ReplayWhat::Chain { name: self.chain.clone(), query: ReplayQuery { range, types, after } })
    }

    fn after<T>(&self, read: impl Fn(&str) -> Option<T>, remedy: &str) -> Result<Option<T>, Failure> {
        let Some(text) = &self.after else { return Ok(None) };
        let wrong = || Failure::new(Exit::Usage, format!("--after {text} is no place: {remedy}"));
        read(text).map(Some).ok_or_else(wrong)
    }
}

/// Parses the text form of a [`Place`].
fn place(text: &str) -> Option<Place> {
    let mut parts = text.split('/');
    let place = Place {
        block_number: parts.next()?.parse().ok()?,
        tx_index: parts.next()?.parse().ok()?,
        log_index: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(place)
}

fn stream(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    let right = !text.is_empty() && text.len() <= 64 && text.bytes().all(fits);
    right
        .then(|| text.to_owned())
        .ok_or_else(|| "write up to 64 of letters, digits, `_`, `-` and `.`".to_owned())
}
