//! A bounded queue of lines for an output stream.

use super::stream::OutputStream;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Estimated memory of a queued line beside its text.
const LINE_OVERHEAD_BYTES: usize = 64;

/// The destination of a queue.
trait Destination: Send + 'static {
    /// Writes some of the bytes and returns how many. May block.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
}

impl Destination for OutputStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (*self).write(bytes)
    }
}

/// A queue of complete lines. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct LogQueue(Arc<SharedQueue>);

#[derive(Debug)]
struct SharedQueue {
    bytes_max: usize,
    state: Mutex<State>,
    /// Signalled for new lines.
    filled: Condvar,
    /// Signalled when everything is written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<LogLine>,
    /// Bytes of all queued lines, and of the one that is being written.
    bytes: usize,
    is_writing: bool,
    /// Lines dropped since the start.
    dropped: u64,
    /// The dropped lines that no notice has reported yet.
    unreported: u64,
}

/// A line, with its line feed.
#[derive(Debug)]
struct LogLine {
    text: Box<[u8]>,
    /// The number of dropped lines that it reports; zero for every line but a notice.
    reports: u64,
}

impl LogLine {
    /// Returns its estimated memory.
    fn bytes(&self) -> usize {
        self.text.len().saturating_add(LINE_OVERHEAD_BYTES)
    }

    /// Returns the line that is written in place of dropped ones.
    fn notice(lines: u64) -> Self {
        let text = format!(
            "{}  WARN {lines} lines were dropped here: this stream was not read, or could not be written\n",
            now()
        );
        Self {
            text: text.into_bytes().into(),
            reports: lines,
        }
    }
}

impl LogQueue {
    /// Starts the writing thread.
    pub fn start(stream: OutputStream, bytes_max: usize) -> Self {
        Self::start_with(stream, bytes_max)
    }

    fn start_with(destination: impl Destination, bytes_max: usize) -> Self {
        let shared = Arc::new(SharedQueue {
            bytes_max,
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let writing = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log".to_owned());
        // Without the thread, the queue fills and dropped lines are counted: no caller blocks.
        drop(thread.spawn(move || writing.write_all_to(destination)));
        Self(shared)
    }

    /// Queues a line, which must end with a line feed. Never blocks on the stream; drops the line if there is no room.
    pub fn push(&self, text: &[u8]) {
        let line = LogLine {
            text: text.into(),
            reports: 0,
        };
        let mut state = self.0.lock();
        if state.bytes.saturating_add(line.bytes()) > self.0.bytes_max {
            state.note_dropped();
            return;
        }
        state.report_dropped();
        state.put(line);
        drop(state);
        self.0.filled.notify_one();
    }

    /// Returns the number of lines dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    /// Waits until all queued lines are written or dropped; false on timeout.
    pub fn flush(&self, patience: Duration) -> bool {
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        let waited = self.0.emptied.wait_timeout_while(self.0.lock(), patience, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Returns a writer that takes one line of the log per call.
    pub fn writer(&self) -> QueueWriter {
        QueueWriter(self.clone())
    }
}

impl State {
    fn put(&mut self, line: LogLine) {
        self.bytes = self.bytes.saturating_add(line.bytes());
        self.waiting.push_back(line);
    }

    fn note_dropped(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
        self.unreported = self.unreported.saturating_add(1);
    }

    /// Queues a notice if there are unreported drops. It may exceed the bound of the queue by its own size, once.
    fn report_dropped(&mut self) {
        if self.unreported > 0 {
            let notice = LogLine::notice(std::mem::take(&mut self.unreported));
            self.put(notice);
        }
    }
}

impl SharedQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes queued lines, for as long as the process lives.
    fn write_all_to(&self, mut destination: impl Destination) {
        // Whether the last write ended inside a line, which the next line must not continue.
        let mut is_in_line = false;
        loop {
            let line = self.next();
            let written = write_line(&mut destination, &line.text, &mut is_in_line);
            let mut state = self.lock();
            state.is_writing = false;
            state.bytes = state.bytes.saturating_sub(line.bytes());
            match written {
                // With an empty queue, the notice is sent now: no later line would trigger it.
                Ok(()) if state.waiting.is_empty() => state.report_dropped(),
                Ok(()) => {}
                Err(_) if line.reports > 0 => state.unreported = state.unreported.saturating_add(line.reports),
                Err(_) => state.note_dropped(),
            }
            if state.waiting.is_empty() {
                self.emptied.notify_all();
            }
        }
    }

    /// Takes the next line; blocks until there is one.
    fn next(&self) -> LogLine {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.waiting.pop_front() {
                state.is_writing = true;
                return line;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn write_line(destination: &mut impl Destination, text: &[u8], is_in_line: &mut bool) -> io::Result<()> {
    if *is_in_line {
        write_all(destination, b"\n").map_err(|(_, error)| error)?;
        *is_in_line = false;
    }
    let written = write_all(destination, text);
    if let Err((bytes, error)) = written {
        *is_in_line = bytes > 0;
        return Err(error);
    }
    Ok(())
}

/// Writes all bytes, or returns how many were written before the error.
fn write_all(destination: &mut impl Destination, text: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut bytes = 0;
    while let Some(rest) = text.get(bytes..).filter(|rest| !rest.is_empty()) {
        match destination.write(rest) {
            Ok(0) => return Err((bytes, io::ErrorKind::WriteZero.into())),
            Ok(more) => bytes += more,
            Err(error) => return Err((bytes, error)),
        }
    }
    Ok(())
}

/// Returns the time in the format of the log.
#[expect(clippy::disallowed_methods, reason = "when a line is written is no decision")]
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Queues each write as a line.
#[derive(Debug)]
pub struct QueueWriter(LogQueue);

impl io::Write for QueueWriter {
    /// The log writes each event in one call.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
