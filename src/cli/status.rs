mod tables;
mod watch;

use super::args::StatusArgs;
use super::output;
use crate::app::{self, Loaded, Status};
use chainflume_ops::alert::CLOCK_OFF;
use chainflume_store::UndoReason;

/// Prints the status, once or until the stop.
pub(super) async fn status(loaded: &Loaded, args: &StatusArgs) -> anyhow::Result<()> {
    if let Some(every) = args.watch {
        return watch::watch(loaded, every, args.json).await;
    }
    app::status(loaded, |status| {
        let text =
            if args.json { format!("{}\n", serde_json::to_string_pretty(status)?) } else { as_text(status) };
        output::print(text.as_bytes())
    })
    .await?
}

fn as_text(status: &Status) -> String {
    let mut text = daemon(status);
    text += &tables::chains(status);
    if status.unreadable.is_some() {
        return text + "what is stored cannot be read\n" + &tables::providers(status);
    }
    if status.sources.is_empty() {
        return text + "nothing is stored yet\n" + &tables::providers(status);
    }
    text += &tables::sources(status);
    text += &tables::latest_starts(status);
    text += &tables::differences(status);
    for reorg in &status.reorgs {
        let ago = tables::ago(Some(reorg.detected_at));
        let (depth, events, ancestor) = (reorg.depth, reorg.events, reorg.ancestor);
        text += &match reorg.reason {
            UndoReason::Repair => {
                format!("repair {ago}: {events} events taken back that are not on the chain\n")
            }
            UndoReason::Removal => format!("removal {ago}: {events} events of a source deleted\n"),
            UndoReason::Reorg | UndoReason::Rewind => {
                let reason = reorg.reason.as_str();
                format!(
                    "{reason} {ago}: {depth} blocks and {events} events undone, back to block {ancestor}\n"
                )
            }
        };
    }
    for (chain_id, count) in &status.negative_balances {
        text += &format!(
            "{count} balances below zero on chain {chain_id}: a rebasing token, a wrapped one that mints without a Transfer (`mints`, `burns`), \
             or a start block after the first transfer\n"
        );
    }
    text + &tables::leases(status) + &tables::providers(status)
}

fn daemon(status: &Status) -> String {
    let Some(report) = &status.daemon else {
        return "no daemon answers on the admin address; this is what is stored\n\n".to_owned();
    };
    let mut text =
        format!("daemon {} is {}", report.version, if report.ready { "ready" } else { "NOT ready" });
    text += if report.role == "standby" { ", on standby\n" } else { "\n" };
    if let Some(error) = &report.database.error {
        text += &format!("  the database takes no writes: {error}\n");
    }
    if let Some(ahead) = report.database.clock_ahead.filter(|ahead| ahead.abs() > CLOCK_OFF) {
        text += &format!("  clock: {ahead:.0} s between this machine and the database; synchronise both\n");
    }
    for (name, chain) in &report.chains {
        for reason in &chain.not_ready {
            text += &format!("  chain {name}: {reason}\n");
        }
        if let Some(error) = &chain.last_error {
            text += &format!("  chain {name}, last error: {error}\n");
        }
        for (source, report) in &chain.sources {
            for finding in report.waits.iter().chain(&report.contracts) {
                text += &format!("  source {source}: {finding}\n");
            }
        }
        for trouble in &chain.view_troubles {
            text += &format!("  chain {name}, warning: {trouble}\n");
        }
    }
    for (name, sink) in &report.sinks {
        text += &format!("  sink {name}: {} messages wait\n", sink.lag + sink.held);
        if let Some(reason) = &sink.disabled {
            text += &format!("  sink {name}: is disabled: {reason}\n");
        }
        for reason in &sink.not_ready {
            text += &format!("  sink {name}: {reason}\n");
        }
        if let Some(error) = &sink.last_error {
            text += &format!("  sink {name}, last error: {error}\n");
        }
    }
    for (name, one) in &report.loops {
        for reason in &one.not_ready {
            text += &format!("  loop {name}: {reason}\n");
        }
    }
    text + "\n"
}
