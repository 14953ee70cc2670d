use super::args::{EnableArgs, EndpointsArgs, WebhooksCommand};
use super::output;
use super::table::table;
use crate::app::{self, Endpoint, Loaded};

/// Lists, enables or retries webhooks.
pub(super) async fn webhooks(loaded: &Loaded, command: &WebhooksCommand) -> anyhow::Result<()> {
    match command {
        WebhooksCommand::List(args) => list(loaded, args).await,
        WebhooksCommand::Enable(EnableArgs { name }) => {
            app::enable_webhook(loaded, name).await?;
            output::print(format!("{name} is enabled\n").as_bytes())
        }
        WebhooksCommand::Retry(EnableArgs { name }) => {
            let held = app::retry_webhook(loaded, name).await?;
            output::print(format!("{name}: {held} held messages are retried now\n").as_bytes())
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
    let headings = ["name", "up to", "held", "oldest", "state"];
    output::print(table(&headings, &endpoints.iter().map(row).collect::<Vec<_>>()).as_bytes())
}

fn row(endpoint: &Endpoint) -> Vec<String> {
    let state = match (&endpoint.disabled, &endpoint.last_error, endpoint.paused_seconds) {
        (Some(reason), ..) => format!("disabled: {reason}"),
        (None, None, _) => "well".to_owned(),
        (None, Some(error), seconds) => format!("retried in {seconds} s: {error}"),
    };
    let cursor = endpoint.cursor.map_or_else(|| "-".to_owned(), |cursor| cursor.to_string());
    let oldest = match endpoint.held {
        0 => "-".to_owned(),
        _ => format!("{} s", endpoint.held_oldest_seconds),
    };
    vec![endpoint.name.clone(), cursor, endpoint.held.to_string(), oldest, state]
}
