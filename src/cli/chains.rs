use serde_json::json;

use super::args::{ChainsArgs, ChainsCommand, ForgetArgs};
use super::output;
use super::progress::Deletion;
use super::table::table;
use crate::app::{self, ChainListing, Loaded};

/// Lists chains, or deletes one that is not configured any more.
pub(super) async fn chains(loaded: &Loaded, command: &ChainsCommand) -> anyhow::Result<()> {
    match command {
        ChainsCommand::List(args) => list(loaded, args).await,
        ChainsCommand::Forget(args) => forget(loaded, args).await,
    }
}

async fn forget(loaded: &Loaded, ForgetArgs { name, yes, json }: &ForgetArgs) -> anyhow::Result<()> {
    if !yes {
        output::confirm(&format!("everything that is stored of chain {name} is deleted and retracted"))?;
    }
    let mut bar = Deletion::of(format!("events of chain {name}"));
    let emptied = app::forget_chain(loaded, name, |deleting| bar.show(deleting)).await?;
    bar.end();
    let events = emptied.events;
    if *json {
        return output::print(format!("{:#}\n", json!({ "chain": name, "events": events })).as_bytes());
    }
    output::print(
        format!("{events} events are deleted; nothing of chain {name} is stored any more\n").as_bytes(),
    )
}

async fn list(loaded: &Loaded, args: &ChainsArgs) -> anyhow::Result<()> {
    let chains = app::chains(loaded).await?;
    if args.json {
        return output::print(format!("{}\n", serde_json::to_string_pretty(&chains)?).as_bytes());
    }
    let headings = ["name", "chain", "sources", "up to", "events", "configured"];
    output::print(table(&headings, &chains.iter().map(row).collect::<Vec<_>>()).as_bytes())
}

fn row(chain: &ChainListing) -> Vec<String> {
    vec![
        chain.name.clone(),
        chain.chain_id.to_string(),
        chain.sources.len().to_string(),
        chain.checkpoint.map_or_else(|| "-".to_owned(), |block| block.to_string()),
        chain.events.to_string(),
        if chain.configured { "yes" } else { "no" }.to_owned(),
    ]
}
