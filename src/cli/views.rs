use serde_json::json;

use super::args::ViewsArgs;
use super::output;
use crate::app::{self, Loaded};
use crate::store::ViewInfo;

/// Prints the typed views and their columns.
pub(super) async fn views(loaded: &Loaded, args: &ViewsArgs) -> anyhow::Result<()> {
    let views = app::views(loaded).await?;
    let text = if args.json {
        let views: Vec<_> = views.iter().map(as_json).collect();
        format!("{}\n", serde_json::to_string_pretty(&views)?)
    } else if views.is_empty() {
        "there are none yet; the daemon makes them when it starts\n".to_owned()
    } else {
        views.iter().map(as_text).collect::<Vec<_>>().join("\n")
    };
    output::print(text.as_bytes())
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
