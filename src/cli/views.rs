use serde_json::json;

use super::args::ViewsArgs;
use super::exit::{Exit, Failure};
use super::output;
use crate::app::{self, Loaded};
use chainflume_store::ViewInfo;

/// Makes the typed views that are missing, and prints all there are with their columns.
pub(super) async fn views(loaded: &Loaded, args: &ViewsArgs) -> anyhow::Result<()> {
    let app::Views { there: views, troubles } = app::views(loaded).await?;
    let text = if args.json {
        let views: Vec<_> = views.iter().map(as_json).collect();
        format!("{}\n", serde_json::to_string_pretty(&views)?)
    } else if views.is_empty() {
        "there are none yet; the daemon makes them when it starts\n".to_owned()
    } else {
        let last = views.last().map(|view| view.name.as_str()).unwrap_or_default();
        let views = views.iter().map(as_text).collect::<Vec<_>>().join("\n");
        format!("{views}\nread them: chainflume psql -- -c 'select * from {last} limit 10'\n")
    };
    output::print(text.as_bytes())?;
    match troubles.iter().map(ToString::to_string).collect::<Vec<_>>() {
        troubles if troubles.is_empty() => Ok(()),
        troubles => Err(Failure::new(Exit::Failed, troubles.join("\n")).into()),
    }
}

fn as_text(view: &ViewInfo) -> String {
    let columns: String = view.columns.iter().map(|(name, kind)| format!("  {name} {kind}\n")).collect();
    format!("{} ({}, {})\n{columns}", view.name, view.source, view.signature)
}

fn as_json(view: &ViewInfo) -> serde_json::Value {
    let columns: Vec<_> =
        view.columns.iter().map(|(name, kind)| json!({ "name": name, "type": kind })).collect();
    json!({
        "name": view.name, "source": view.source, "event": view.event, "signature": view.signature, "columns": columns,
    })
}
