//! What operators are given beside the binary: the page of metrics, alert rules, a dashboard, the package.
#![allow(clippy::unwrap_used, reason = "a test may panic anywhere")]

#[path = "operations/alerts.rs"]
mod alerts;
#[path = "operations/codes.rs"]
mod codes;
#[path = "operations/dashboard.rs"]
mod dashboard;
#[path = "operations/docs.rs"]
mod docs;
#[path = "operations/faults.rs"]
mod faults;
#[path = "operations/package.rs"]
mod package;
#[path = "operations/troubleshooting.rs"]
mod troubleshooting;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chainflume_support::{metrics, promql};

fn path(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(inside)
}

fn read(inside: &str) -> String {
    std::fs::read_to_string(path(inside)).unwrap_or_else(|error| panic!("{inside}: {error}"))
}

/// `promtool` with these arguments, in the folder of the rules.
fn promtool(arguments: &[&str]) -> Output {
    Command::new("promtool")
        .args(arguments)
        .current_dir(path("config/prometheus"))
        .output()
        .expect("promtool runs: `make test` installs it (apt-get install prometheus)")
}

#[track_caller]
fn assert_fine(output: &Output) {
    let said = String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}
