use super::args::{EnableArgs, EndpointsArgs, WebhooksCommand};
use super::output;
use super::table::table;
use crate::app::{self, Endpoint, Loaded};

/// Lists or enables webhooks.
pub(super) async fn webhooks(loaded: &Loaded, command: &WebhooksCommand) -> anyhow::Result<()> {
    match command {
        WebhooksCommand::List(args) => list(loaded, args).await,
        WebhooksCommand::Enable(EnableArgs { name }) => {
            app::enable_webhook(loaded, name).await?;
            output::print(format!("{name} is enabled\n").as_bytes())
        }
    }
}

async fn list(loaded: &Loaded, args: &EndpointsArgs) -> anyhow::Result<()> {
    let endpoints = app::webhooks(loaded).await?;
    if args.json {
        return output::print(format!("{}\n", serde_json::to_string_pretty(&endpoints)?).as_bytes());
    }
    if endpoints.is_empty() {
        return output::print(b"there are none\n");
    }
    let headings = ["name", "up to", "held", "state"];
    output::print(table(&headings, &endpoints.iter().map(row).collect::<Vec<_>>()).as_bytes())
}

fn row(endpoint: &Endpoint) -> Vec<String> {
    let state = match (&endpoint.disabled, endpoint.failures, endpoint.paused_seconds) {
        (Some(reason), ..) => format!("disabled: {reason}"),
        (None, 0, 0) => "well".to_owned(),
        (None, failures, seconds) => format!("away: failed {failures} times, tried again in {seconds} s"),
    };
    let cursor = endpoint.cursor.map_or_else(|| "-".to_owned(), |cursor| cursor.to_string());
    vec![endpoint.name.clone(), cursor, endpoint.held.to_string(), state]
}
