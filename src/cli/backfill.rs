use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::BackfillArgs;
use super::exit::{Exit, Failure};
use super::output;
use crate::app::{self, Loaded};
use crate::domain::Place;

/// Places that differ and are printed; more would scroll the first away.
const SHOWN: usize = 20;

/// Backfills, with a bar where somebody watches.
pub(super) async fn backfill(loaded: &Loaded, args: &BackfillArgs) -> anyhow::Result<()> {
    let range = args.range()?;
    let bar = progress_bar(range.width(), "blocks");
    let report =
        app::backfill(loaded, &args.source, range, |block| bar.set_position(block - range.from() + 1))
            .await?;
    bar.finish_and_clear();
    let text = format!("blocks {range}: {} events added, {} were there\n", report.inserted, report.present);
    output::print(text.as_bytes())?;
    if report.differing.is_empty() {
        return Ok(());
    }
    let places: Vec<String> = report.differing.iter().take(SHOWN).map(Place::to_string).collect();
    let (count, left) = match report.differing.len() {
        1 => ("1 place".to_owned(), "which was left as it is"),
        places => (format!("{places} places"), "which were left as they are"),
    };
    let text =
        format!("the node says something else than what is stored at {count}, {left}: {}", places.join(", "));
    Err(Failure::new(Exit::Failed, text).into())
}

/// A bar on stderr where that is a terminal.
pub(super) fn progress_bar(length: u64, unit: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(&format!(
        "{{bar:40}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left"
    ));
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
