use std::io::{self, ErrorKind, Write};

use super::exit::{Exit, OrExit};
use chainflume_ops::telemetry;

/// Writes to stdout. A reader that has seen enough (`| head`) is no error, and `print!` would panic.
pub(super) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).or_exit(Exit::Failed),
        _ => Ok(()),
    }
}

/// Writes a line to stderr, behind what was logged. Where stderr is closed there is nobody to tell.
pub(super) fn complain(line: &str) {
    if !telemetry::write(line) {
        let _closed = writeln!(io::stderr(), "{line}");
    }
}

/// Asks a question on stderr, without a line's end; `eprint!` would panic where that is closed.
pub(super) fn ask(question: &str) {
    let mut stderr = io::stderr();
    let _closed = write!(stderr, "{question}").and_then(|()| stderr.flush());
}
