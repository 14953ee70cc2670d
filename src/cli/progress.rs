use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::app::Deleting;

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
