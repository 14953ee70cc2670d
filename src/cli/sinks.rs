use serde_json::json;

use super::args::{SinkArgs, SinksArgs, SinksCommand};
use super::output;
use super::table::table;
use crate::app::{self, Adoption, Loaded, SinkListing};

/// Lists sinks, or executes the decision of an operator about one.
pub(super) async fn sinks(loaded: &Loaded, command: &SinksCommand) -> anyhow::Result<()> {
    match command {
        SinksCommand::List(args) => list(loaded, args).await,
        SinksCommand::Adopt(SinkArgs { name, json }) => {
            let adoption = app::adopt_sink(loaded, name).await?;
            if *json {
                return output::print(format!("{}\n", serde_json::to_string_pretty(&adoption)?).as_bytes());
            }
            output::print(text_of(&adoption).as_bytes())
        }
        SinksCommand::Reset(SinkArgs { name, json }) => {
            app::reset_sink(loaded, name).await?;
            if *json {
                return output::print(format!("{:#}\n", json!({ "sink": name })).as_bytes());
            }
            output::print(format!("{name} is empty, and everything that is kept is sent again\n").as_bytes())
        }
    }
}

fn text_of(adoption: &Adoption) -> String {
    let Adoption { sink, kept, moved, next } = adoption;
    if *next == kept + 1 {
        return format!("{sink} is adopted; the next message is {next}\n");
    }
    format!(
        "{sink} is adopted; {moved} messages got new numbers, and the one after {kept} is {next}. What it holds between them is \
         of another history and stays: consumers that must be exact read everything again after `chainflume sinks reset {sink}`\n"
    )
}

async fn list(loaded: &Loaded, args: &SinksArgs) -> anyhow::Result<()> {
    let sinks = app::sinks(loaded).await?;
    if args.json {
        return output::print(format!("{}\n", serde_json::to_string_pretty(&sinks)?).as_bytes());
    }
    let headings = ["name", "state", "up to", "held", "epoch"];
    let mut text = table(&headings, &sinks.iter().map(row).collect::<Vec<_>>());
    for SinkListing { name, reason, remedy, .. } in &sinks {
        if let Some(reason) = reason {
            text += &format!("{name}: {reason}\n");
        }
        if let Some(remedy) = remedy {
            text += &format!("{name}: {remedy}\n");
        }
    }
    output::print(text.as_bytes())
}

fn row(sink: &SinkListing) -> Vec<String> {
    let cursor = sink.cursor.map_or_else(|| "-".to_owned(), |cursor| cursor.to_string());
    vec![sink.name.clone(), sink.state.to_owned(), cursor, sink.held.to_string(), sink.epoch.clone()]
}
