//! Writes log lines to stderr, by a bounded queue and one thread that empties it.
//!
//! A line never blocks its caller and never fails. Stderr may be a pipe whose reader is stopped (`write` blocks), a
//! pipe whose reader is gone (`EPIPE`) or a file on a full disk (`ENOSPC`). Lines are then lost and counted, and all
//! other work continues.
//!
//! `tracing-appender` has a writer of this kind, but its queue is bounded in lines, not in bytes, and it does not
//! report failed writes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::metrics;

/// Maximum size of the queue in bytes: about a thousand lines, more than any burst. If more lines wait, the reader of
/// stderr is stopped.
const CAPACITY: usize = 256 << 10;
/// Pause between two test lines while lines are lost. A test line shows whether stderr accepts lines again when nothing
/// else is logged.
const RETRY: Duration = Duration::from_secs(5);
/// Pause before a retry if stderr is a descriptor that returns `EAGAIN` because another process made it non-blocking.
const BUSY: Duration = Duration::from_millis(20);

/// The queue of log lines. Clones are handles to the same queue.
#[derive(Clone)]
pub(super) struct LogQueue(Arc<QueueShared>);

#[derive(Default)]
struct QueueShared {
    queue: Mutex<QueuedLines>,
    changed: Condvar,
}

#[derive(Default)]
struct QueuedLines {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether a line has left the queue and is not written yet.
    is_writing: bool,
    /// Number of lines lost since the last report.
    lost: u64,
}

impl LogQueue {
    /// A queue whose lines go to stderr.
    ///
    /// # Errors
    /// If the system has no descriptor or no thread left.
    pub(super) fn to_stderr() -> io::Result<Self> {
        // A separate descriptor: the lock of `std::io::stderr` would be held while a write blocks, and every other
        // writer of stderr would wait.
        Self::to(File::from(io::stderr().as_fd().try_clone_to_owned()?))
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self(Arc::default());
        let (worker, mut out) = (lines.clone(), TornWriter { to: out, is_torn: false });
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            // The code inside never panics. If it did, a line would be lost, not the thread.
            while catch_unwind(AssertUnwindSafe(|| worker.work(&mut out))).is_err() {
                worker.lost_line();
            }
        })?;
        Ok(lines)
    }

    /// Queues a line, or counts it as lost if the queue is full.
    pub(super) fn put(&self, line: &[u8]) {
        let mut queue = self.lock();
        if queue.bytes + line.len() > CAPACITY {
            queue.lost += 1;
            drop(queue);
            return metrics::log_line_lost("full");
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_vec());
        self.0.changed.notify_all();
    }

    /// Waits until every line is written, or for `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let is_busy = |queue: &mut QueuedLines| queue.is_writing || !queue.lines.is_empty();
        // No result: the caller is about to end.
        drop(self.0.changed.wait_timeout_while(self.lock(), timeout, is_busy));
    }

    /// Writes lines without end.
    fn work(&self, out: &mut TornWriter<impl Write>) {
        loop {
            let line = self.take();
            match out.write(&line) {
                Ok(()) => self.wrote_line(),
                Err(_) => self.lost_line(),
            }
        }
    }

    /// Number of lines lost since the last report.
    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn take(&self) -> Vec<u8> {
        let is_idle = |queue: &mut QueuedLines| queue.lines.is_empty() && queue.lost == 0;
        let mut queue =
            self.0.changed.wait_while(self.lock(), is_idle).unwrap_or_else(PoisonError::into_inner);
        while queue.lines.is_empty() {
            let is_empty = |queue: &mut QueuedLines| queue.lines.is_empty();
            let waited = self.0.changed.wait_timeout_while(queue, RETRY, is_empty);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = next;
            if timeout.timed_out() {
                drop(queue);
                tracing::error!("log lines were lost while stderr accepted none");
                queue = self.lock();
            }
        }
        let line = queue.lines.pop_front().unwrap_or_default();
        queue.bytes -= line.len();
        queue.is_writing = true;
        line
    }

    /// The line that was taken could not be written.
    fn lost_line(&self) {
        let mut queue = self.lock();
        queue.is_writing = false;
        queue.lost += 1;
        drop(queue);
        self.0.changed.notify_all();
        metrics::log_line_lost("failed");
    }

    /// The line that was taken is written.
    fn wrote_line(&self) {
        let mut queue = self.lock();
        queue.is_writing = false;
        // The report itself needs room in the queue.
        let lost = if queue.bytes < CAPACITY / 2 { std::mem::take(&mut queue.lost) } else { 0 };
        drop(queue);
        self.0.changed.notify_all();
        if lost > 0 {
            tracing::warn!(
                lost,
                "stderr accepted no log lines for a while; lines were lost, and no work was delayed"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueuedLines> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes whole lines.
struct TornWriter<W> {
    to: W,
    /// Whether the last line failed in its middle: the next one then begins with a line break.
    is_torn: bool,
}

impl<W: Write> TornWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_all(b"\n")?;
        }
        self.write_all(line)
    }

    /// As [`Write::write_all`], except that `write_all` fails on `EAGAIN`.
    #[expect(clippy::disallowed_methods, reason = "the thread of the log is no worker of the runtime")]
    fn write_all(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(BUSY),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A line under construction by the subscriber. Never fails: the subscriber would report a failure on stderr.
pub(super) struct LineWriter(pub(super) LogQueue);

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Returns the scripted result for each write, and records the written bytes.
    struct Fake {
        answers: Receiver<io::Result<usize>>,
        taken: Sender<String>,
    }

    impl Write for Fake {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let answer = self.answers.recv().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
            self.taken.send(String::from_utf8_lossy(&bytes[..answer]).into_owned()).unwrap();
            Ok(answer)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn fake() -> (LogQueue, Sender<io::Result<usize>>, Receiver<String>) {
        let ((answer, answers), (taken, took)) = (channel(), channel());
        (LogQueue::to(Fake { answers, taken }).unwrap(), answer, took)
    }

    #[test]
    fn a_caller_never_waits_and_excess_lines_are_counted() {
        let (lines, answer, took) = fake();
        let line = vec![b'x'; CAPACITY / 4];
        // The first line hangs in its write, four fill the queue, two are lost.
        lines.put(b"first");
        while !lines.lock().is_writing {
            std::thread::yield_now();
        }
        (0..6).for_each(|_| lines.put(&line));
        let state = |queue: MutexGuard<'_, QueuedLines>| (queue.lines.len(), queue.lost);
        assert_eq!(state(lines.lock()), (4, 2));
        lines.flush(Duration::from_millis(1));
        drop(answer);
        lines.flush(Duration::from_secs(60));
        assert_eq!(
            took.try_iter().map(|text| text.len()).collect::<Vec<_>>(),
            [5, line.len(), line.len(), line.len(), line.len()]
        );
        assert_eq!(state(lines.lock()), (0, 0), "the loss is reported once it is over");
    }

    #[test]
    fn an_unwritable_line_is_lost_and_the_next_one_is_whole() {
        let (lines, answer, took) = fake();
        for line in ["one\n", "two\n", "three\n"] {
            lines.put(line.as_bytes());
        }
        let error = |kind: ErrorKind| Err(kind.into());
        let answers = [
            error(ErrorKind::BrokenPipe),
            Ok(2),
            error(ErrorKind::StorageFull),
            error(ErrorKind::WouldBlock),
        ];
        answers.into_iter().for_each(|next| answer.send(next).unwrap());
        drop(answer);
        lines.flush(Duration::from_secs(60));
        assert_eq!(took.try_iter().collect::<Vec<_>>(), ["tw", "\n", "three\n"]);
    }
}
