use serde_json::json;

use super::args::RewindArgs;
use super::output;
use crate::app::{self, Loaded, Rewinding};

/// Takes a chain back, or looks how far it would have to go.
pub(super) async fn rewind(loaded: &Loaded, args: &RewindArgs) -> anyhow::Result<()> {
    if let (Some(to), false) = (args.to, args.yes) {
        output::confirm(&format!("everything stored above block {to} is undone and read again"))?;
    }
    let answer = app::rewind(loaded, &args.rewind()).await?;
    let text = if args.json { format!("{}\n", as_json(&answer)) } else { as_text(&answer) };
    output::print(text.as_bytes())
}

fn as_text(answer: &Rewinding) -> String {
    match answer {
        Rewinding::Done(done) => {
            format!("{} blocks and {} events undone; a running daemon goes on from there\n", done.depth, done.events)
        }
        Rewinding::Agree { tip: None, .. } => "nothing is stored\n".to_owned(),
        Rewinding::Agree { common, tip: Some(tip), head } if *head < tip.number => {
            let common = common.map(|common| common.number);
            let agrees = common.map_or("none".to_owned(), |common| format!("block {common}"));
            format!(
                "the head of the node is block {head}, below the tip, block {tip}: the node lags, or its chain was made anew. Up to its \
                 head the newest block that both agree on is {agrees}; use a node that has the tip\n"
            )
        }
        Rewinding::Agree { common: None, .. } => {
            "the node has none of the blocks that are stored: it is on another chain, or has thrown them away. Use a node of the stored \
             chain that keeps old blocks; `chainflume check` compares block 0\n"
                .to_owned()
        }
        Rewinding::Agree { common: Some(common), tip: Some(tip), .. } if common == tip => {
            format!("the node agrees up to the tip, block {tip}; nothing has to be undone\n")
        }
        Rewinding::Agree { common: Some(common), tip: Some(tip), .. } => format!(
            "the tip is block {tip}, and the newest block that the node agrees on is {common}.\n\
             if you trust this node: chainflume rewind --to {}\n",
            common.number
        ),
    }
}

fn as_json(answer: &Rewinding) -> serde_json::Value {
    match answer {
        Rewinding::Done(done) => json!({ "depth": done.depth, "events": done.events }),
        Rewinding::Agree { common, tip, head } => json!({
            "head": head,
            "common": common.map(|block| block.number),
            "tip": tip.map(|block| block.number),
        }),
    }
}
