//! The `chainflume` command.

fn main() {}
