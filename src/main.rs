//! The `chainflume` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    chainflume::cli::main()
}
