use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

use super::as_text;
use crate::app::{AppError, Loaded, Status, StatusWatch};
use chainflume_ops::shutdown;
use chainflume_ops::text::is_unprintable;

/// Shows the status every so often, until Ctrl-C: in place on a terminal, else one picture after the other,
/// in JSON one object a line. An error is shown and the next look tried, except where only another configuration helps.
pub(super) async fn watch(loaded: &Loaded, every: Duration, json: bool) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    let screen = if !json && io::stdout().is_terminal() { Some(Screen::enter()?) } else { None };
    let mut watch = StatusWatch::default();
    while let Some(seen) = stop.run_until_cancelled(watch.look(loaded)).await {
        if let Err(error @ AppError::Config(_)) = seen {
            return Err(error.into());
        }
        let written = match &screen {
            Some(screen) => screen.show(&titled(&seen, every)),
            None if json => plain(&format!("{}\n", as_json(&seen)?)),
            None => plain(&format!("{}\n", titled(&seen, every))),
        };
        match written {
            // The reader has closed the pipe (`| head`).
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
        if stop.run_until_cancelled(tokio::time::sleep(every)).await.is_none() {
            break;
        }
    }
    Ok(())
}

fn titled(seen: &Result<Status, AppError>, every: Duration) -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let every = humantime::format_duration(every);
    let text = match seen {
        Ok(status) => as_text(status),
        Err(error) => format!("error: {error:#}\n"),
    };
    format!("chainflume status, {now}, every {every}, Ctrl-C ends\n\n{text}")
}

fn as_json(seen: &Result<Status, AppError>) -> serde_json::Result<String> {
    match seen {
        Ok(status) => serde_json::to_string(status),
        Err(error) => serde_json::to_string(&serde_json::json!({ "error": error.to_string() })),
    }
}

fn plain(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The terminal's second page (xterm, "alternate screen"), without a cursor and without what is typed. Whatever the way
/// out, the first page comes back as it was.
struct Screen {
    /// How the keyboard was; `None` where stdin is no terminal.
    keyboard: Option<Termios>,
}

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

impl Screen {
    fn enter() -> io::Result<Self> {
        let keyboard = tcgetattr(io::stdin()).ok();
        if let Some(before) = &keyboard {
            let mut quiet = before.clone();
            // Enter would scroll the page, and Ctrl-Z would leave the shell on it.
            quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
            quiet.special_codes[SpecialCodeIndex::VSUSP] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &quiet)?;
        }
        let screen = Self { keyboard };
        plain(ENTER)?;
        Ok(screen)
    }

    /// Over what is there, line by line, so that nothing flickers; what does not fit is cut off and counted.
    fn show(&self, text: &str) -> io::Result<()> {
        let rows = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
        plain(&frame(text, if rows == 0 { 24 } else { rows }))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _gone = plain(LEAVE);
        if let Some(before) = &self.keyboard {
            let _gone = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// The page: from the top, each line cleared to its end, and everything below the last.
fn frame(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = if lines.len() > rows { rows - 1 } else { lines.len() };
    let mut frame = "\x1b[H".to_owned();
    for line in &lines[..shown] {
        // It may contain text of a node, which must not steer the terminal.
        frame.extend(line.chars().map(|c| if is_unprintable(c) { '\u{fffd}' } else { c }));
        frame += "\x1b[K\r\n";
    }
    if shown < lines.len() {
        frame += &format!("… {} more lines\x1b[K", lines.len() - shown);
    } else if frame.ends_with("\r\n") && shown == rows {
        frame.truncate(frame.len() - 2);
    }
    frame + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::frame;

    #[test]
    fn a_page_never_scrolls() {
        assert_eq!(frame("a\nb\n", 3), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
        assert_eq!(frame("a\x1b[2J\n", 3), "\x1b[Ha\u{fffd}[2J\x1b[K\r\n\x1b[J");
        assert_eq!(frame("a\nb\n", 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
        assert_eq!(frame("a\nb\nc\nd\n", 3), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n… 2 more lines\x1b[K\x1b[J");
    }
}
