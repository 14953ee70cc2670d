use std::collections::BTreeMap;

use indicatif::ProgressBar;
use serde_json::json;

use super::args::ReplayArgs;
use super::exit::{Exit, Failure};
use super::{output, progress};
use crate::app::{self, Loaded, ReplayNews, ReplayTo};
use chainflume_core::domain::{Place, causes};
use chainflume_deliver::relay::{ReplayEnd, Replayed};
use chainflume_store::ReplayQuery;

/// Replays, with a bar on a terminal.
pub(super) async fn replay(loaded: &Loaded, args: &ReplayArgs) -> anyhow::Result<()> {
    let query = ReplayQuery { range: args.range()?, types: args.types.clone(), after: args.after };
    let to = match (args.dry_run, args.live) {
        (true, _) => ReplayTo::Nowhere,
        (_, true) => ReplayTo::Live,
        _ => ReplayTo::SeparateStreams { sink: args.sink.clone(), stream: args.stream.clone() },
    };
    let replay = app::ReplayOptions { chain: args.chain.clone(), query, to, rate: args.rate };
    let (mut bar, mut size) = (ProgressBar::hidden(), BTreeMap::new());
    let replayed = app::replay(loaded, &replay, |news| match news {
        ReplayNews::Size(by_type) => {
            if !args.dry_run {
                bar = progress::progress_bar(by_type.values().sum(), "messages");
            }
            size = by_type;
        }
        ReplayNews::Overflow { kept } => output::complain(&format!(
            "each stream keeps about {kept} entries (redis.stream_length): have the consumers read along"
        )),
        ReplayNews::Published(count) => bar.set_position(count),
    })
    .await?;
    bar.finish_and_clear();
    let Some(replayed) = replayed else { return show_size(args, &size) };
    show_end(args, &replayed)
}

fn show_size(args: &ReplayArgs, size: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    let total: u64 = size.values().sum();
    if args.json {
        return output::print(format!("{}\n", json!({ "messages": total, "types": size })).as_bytes());
    }
    let lines: String = size.iter().map(|(event_type, count)| format!("  {event_type}: {count}\n")).collect();
    output::print(format!("{total} messages\n{lines}").as_bytes())
}

fn show_end(args: &ReplayArgs, replayed: &Replayed) -> anyhow::Result<()> {
    let Replayed { messages, upto, end } = replayed;
    let done = matches!(end, ReplayEnd::Done);
    if args.json {
        let upto = upto.as_ref().map(Place::to_string);
        let line = json!({ "messages": messages, "done": done, "upto": upto });
        output::print(format!("{line}\n").as_bytes())?;
    } else {
        output::print(format!("{messages} messages\n").as_bytes())?;
    }
    let why = match end {
        ReplayEnd::Done => return Ok(()),
        ReplayEnd::Stopped => "stopped".to_owned(),
        ReplayEnd::Failed(error) => causes(error),
    };
    let on = upto.map_or_else(|| "the same command".to_owned(), |place| format!("--after {place}"));
    Err(Failure::new(Exit::Failed, format!("{why}; go on with {on}")).into())
}
