use std::io::{self, BufRead, ErrorKind, IsTerminal, Write};

use super::exit::{Exit, Failure, OrExit};
use chainflume_ops::telemetry;

/// Writes to stdout. A reader that has seen enough (`| head`) is no error, and `print!` would panic.
pub(super) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).or_exit(Exit::Failed),
        _ => Ok(()),
    }
}

/// Writes a line to stderr, behind what was logged. Does nothing where stderr is closed.
pub(super) fn complain(line: &str) {
    if !telemetry::write(line) {
        let _closed = writeln!(io::stderr(), "{line}");
    }
}

/// Asks whether to go on with what a command is to do, where a person can be asked.
pub(super) fn confirm(what: &str) -> Result<(), Failure> {
    let refused = |text: &str| Failure::new(Exit::Usage, text.to_owned());
    if !io::stdin().is_terminal() {
        return Err(refused("there is no terminal to ask on; add --yes"));
    }
    ask(&format!("{what}; go on? [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(refused("nothing was done")),
    }
}

/// Asks a question on stderr, without a line's end; `eprint!` would panic where that is closed.
fn ask(question: &str) {
    let mut stderr = io::stderr();
    let _closed = write!(stderr, "{question}").and_then(|()| stderr.flush());
}
