use std::io::{self, ErrorKind, Write};

use super::exit::{Exit, OrExit};

/// Writes to stdout. A reader that has seen enough (`| head`) is no error, and `print!` would panic.
pub(super) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).or_exit(Exit::Failed),
        _ => Ok(()),
    }
}

/// Writes a line to stderr; where that is closed there is nobody to tell.
pub(super) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
