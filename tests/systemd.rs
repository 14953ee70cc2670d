//! The service unit is one systemd accepts, and a tight one.

use std::path::Path;
use std::process::{Command, Output};

const UNIT: &str = include_str!("../systemd/chainflume.service");

/// Of systemd's exposure levels (0.0 to 10.0, in tenths) the one not to exceed. Network and sockets, which a
/// daemon that asks nodes cannot do without, make most of it.
const EXPOSURE: &str = "20";

#[test]
fn systemd_accepts_the_unit() {
    let output = analyze(&["verify", "--man=no"]);
    assert_eq!((output.status.code(), said(&output)), (Some(0), String::new()));
}

#[test]
fn the_sandbox_is_tight() {
    let output = analyze(&["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE]);
    assert!(output.status.success(), "{}", said(&output));
}

/// `systemd-analyze` on the unit, with the binary of this build in place of the installed one.
fn analyze(arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("chainflume.service");
    let built = env!("CARGO_BIN_EXE_chainflume");
    assert!(Path::new(built).exists());
    std::fs::write(&unit, UNIT.replace("/usr/bin/chainflume", built)).unwrap();
    Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .output()
        .expect("systemd-analyze runs: `make test` installs it (apt-get install systemd)")
}

fn said(output: &Output) -> String {
    let text = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}
