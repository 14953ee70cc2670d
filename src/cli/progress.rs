use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::app::Deleting;
use chainflume_core::domain::BlockRange;

/// A bar on stderr where that is a terminal.
pub(super) fn progress_bar(length: u64, unit: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(&format!(
        "{{spinner}} {{bar:40}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left"
    ));
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// How far the reading of a source's blocks is: a bar on stderr where that is a terminal, and lines elsewhere.
pub(super) struct Reading {
    source: String,
    range: BlockRange,
    blocks: u64,
    since: Instant,
    bar: ProgressBar,
}

impl Reading {
    /// The interval of lines: a person sees that the command works, and a log file has few of them.
    pub(super) const EVERY: Duration = Duration::from_secs(10);

    pub(super) fn begin(source: &str, range: BlockRange) -> Self {
        let bar = progress_bar(range.width(), &format!("blocks of {source}"));
        // Shown before the first blocks are done, and kept alive while a node answers slowly.
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { source: source.to_owned(), range, blocks: 0, since: Instant::now(), bar }
    }

    pub(super) fn done_to(&mut self, block: u64) {
        self.blocks = block - self.range.from() + 1;
        self.bar.set_position(self.blocks);
    }

    /// What is done; `None` where the bar shows it.
    pub(super) fn line(&self) -> Option<String> {
        let Self { source, range, blocks, since, bar } = self;
        let (all, seconds) = (range.width(), since.elapsed().as_secs());
        bar.is_hidden()
            .then(|| format!("{source}: {blocks} of {all} blocks read ({range}), after {seconds} s"))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// How far the deletion of events is, on stderr where that is a terminal.
pub(super) struct Deletion {
    unit: String,
    bar: Option<ProgressBar>,
}

impl Deletion {
    /// Nothing is shown before the first page is done.
    pub(super) fn of(unit: String) -> Self {
        Self { unit, bar: None }
    }

    pub(super) fn show(&mut self, Deleting { done, all }: Deleting) {
        self.bar.get_or_insert_with(|| progress_bar(all, &self.unit)).set_position(done);
    }

    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
