use serde_json::json;

use super::args::{EmptyArgs, RenameArgs, SourcesArgs, SourcesCommand};
use super::output;
use super::progress::Deletion;
use super::table::table;
use crate::app::{self, Emptying, Loaded, SourceListing};

/// Lists sources, or does what an operator decided about one.
pub(super) async fn sources(loaded: &Loaded, command: &SourcesCommand) -> anyhow::Result<()> {
    match command {
        SourcesCommand::List(args) => list(loaded, args).await,
        SourcesCommand::Rename(RenameArgs { old, new }) => {
            app::rename_source(loaded, old, new).await?;
            output::print(format!("source {old} is stored as {new} now; its data stays\n").as_bytes())
        }
        SourcesCommand::Remove(args) => empty(loaded, args, Emptying::Remove).await,
        SourcesCommand::Reset(args) => empty(loaded, args, Emptying::Reset).await,
    }
}

async fn empty(
    loaded: &Loaded,
    EmptyArgs { name, yes, json }: &EmptyArgs,
    emptying: Emptying,
) -> anyhow::Result<()> {
    if !yes {
        output::confirm(&format!("everything that is stored of source {name} is deleted and retracted"))?;
    }
    let mut bar = Deletion::of(format!("events of {name}"));
    let emptied = app::empty_source(loaded, name, emptying, |deleting| bar.show(deleting)).await?;
    bar.end();
    if *json {
        let done = json!({ "source": name, "events": emptied.events });
        return output::print(format!("{done:#}\n").as_bytes());
    }
    let end = match emptying {
        Emptying::Remove => "nothing of it is stored any more",
        Emptying::Reset => "a running daemon reads it anew",
    };
    output::print(format!("{} events of source {name} are deleted; {end}\n", emptied.events).as_bytes())
}

async fn list(loaded: &Loaded, args: &SourcesArgs) -> anyhow::Result<()> {
    let sources = app::sources(loaded).await?;
    if args.json {
        return output::print(format!("{}\n", serde_json::to_string_pretty(&sources)?).as_bytes());
    }
    let headings = ["name", "chain", "family", "start", "up to", "events", "configured"];
    let mut text = table(&headings, &sources.iter().map(row).collect::<Vec<_>>());
    for difference in sources.iter().flat_map(|source| &source.differences) {
        text += &format!("{difference}\n");
    }
    output::print(text.as_bytes())
}

fn row(source: &SourceListing) -> Vec<String> {
    vec![
        source.name.clone(),
        source.chain_id.to_string(),
        source.family.clone(),
        source.start_block.map_or_else(|| "latest".to_owned(), |block| block.to_string()),
        source.checkpoint.map_or_else(|| "-".to_owned(), |block| block.to_string()),
        source.events.to_string(),
        if source.configured { "yes" } else { "no" }.to_owned(),
    ]
}
