//! The `chainflume` command.

use std::process::ExitCode;

/// The system's allocator keeps what a burst of large answers once took: several times what is in use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    chainflume::cli::main()
}
