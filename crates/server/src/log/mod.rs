//! Standard error and standard output of a server. No task that answers requests waits for their readers.
//!
//! A line goes into a bounded queue, which a separate thread writes. If the reader is blocked, the queue fills and
//! further lines are dropped; if the reader is gone (a closed pipe, a full disk), what cannot be written is dropped.
//! Both are counted, and reported in the stream as soon as it is writable. `tracing-appender` covers the first case
//! only: its bound is in lines and not in bytes, and it neither counts failed writes nor reports dropped lines.

mod queue;
mod stream;

pub use queue::{LogQueue, QueueWriter};
pub use stream::{OutputStream, deliver};

use std::sync::OnceLock;
use std::time::Duration;

/// Most queued bytes of one stream.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the end of the process waits for queued lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static STANDARD_ERROR: OnceLock<LogQueue> = OnceLock::new();
static STANDARD_OUTPUT: OnceLock<LogQueue> = OnceLock::new();

/// Returns the queue of standard error, which is the log. The first call starts its thread.
pub fn standard_error() -> &'static LogQueue {
    STANDARD_ERROR.get_or_init(|| LogQueue::start(OutputStream::Error, QUEUE_BYTES_MAX))
}

/// Returns the queue of standard output. The first call starts its thread.
pub fn standard_output() -> &'static LogQueue {
    STANDARD_OUTPUT.get_or_init(|| LogQueue::start(OutputStream::Output, QUEUE_BYTES_MAX))
}

/// Returns the queue of standard error, if it was started.
pub fn started_standard_error() -> Option<&'static LogQueue> {
    STANDARD_ERROR.get()
}

/// Returns the number of dropped lines of each stream, by its name.
pub fn dropped_lines() -> [(&'static str, u64); 2] {
    let dropped = |queue: &OnceLock<LogQueue>| queue.get().map_or(0, LogQueue::dropped);
    [
        ("stderr", dropped(&STANDARD_ERROR)),
        ("stdout", dropped(&STANDARD_OUTPUT)),
    ]
}

/// Waits until queued lines are written, for at most a second per stream: a blocked reader must not delay the exit.
pub fn flush() {
    for queue in [&STANDARD_OUTPUT, &STANDARD_ERROR]
        .into_iter()
        .filter_map(OnceLock::get)
    {
        queue.flush(FLUSH_TIMEOUT);
    }
}

/// Logs panics through the queue. The standard library would write to standard error directly, and block the thread
/// that panicked until the reader reads.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("a value that is no text");
        // Empty unless RUST_BACKTRACE asks for it.
        let backtrace = std::backtrace::Backtrace::capture();
        match backtrace.status() {
            std::backtrace::BacktraceStatus::Captured => tracing::error!(place, "panic: {message}\n{backtrace}"),
            _ => tracing::error!(place, "panic: {message}"),
        }
    }));
}
