use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::json;

use super::args::ReplayArgs;
use super::exit::{Exit, Failure};
use super::{output, progress};
use crate::app::{self, Loaded, ReplayNews, ReplayTo};
use chainflume_core::domain::causes;
use chainflume_deliver::relay::{ReplayEnd, Replayed};

/// How often a line reports the progress, where there is no bar.
const NOTE: Duration = Duration::from_secs(5);

/// Replays, with a bar on a terminal.
pub(super) async fn replay(loaded: &Loaded, args: &ReplayArgs) -> anyhow::Result<()> {
    let to = match (args.dry_run, args.live) {
        (true, _) => ReplayTo::Nowhere,
        (_, true) => ReplayTo::Live,
        _ => ReplayTo::SeparateStreams { sink: args.sink.clone(), stream: args.stream.clone() },
    };
    let replay = app::ReplayOptions { what: args.what()?, to, rate: args.rate };
    let (mut bar, mut size, mut noted) = (ProgressBar::hidden(), BTreeMap::new(), Instant::now());
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
        ReplayNews::Published(count, upto) => {
            bar.set_position(count);
            // A replay that is killed prints nothing any more.
            if bar.is_hidden() && noted.elapsed() > NOTE {
                noted = Instant::now();
                output::complain(&format!("{count} messages; --after {upto} would go on from here"));
            }
        }
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
    let on = upto.as_ref().map_or_else(|| "the same command".to_owned(), |place| format!("--after {place}"));
    Err(Failure::new(Exit::Failed, format!("{why}; go on with {on}")).into())
}
