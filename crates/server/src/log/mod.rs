//! Standard error and standard output of a server: nothing that answers requests ever waits for their readers.
//!
//! A line goes into a queue of bounded size, which a thread of its own writes. If the reader is stuck the queue fills, and
//! further lines are dropped; if the reader is gone (a closed pipe, a full disk) what cannot be written is dropped. Both
//! are counted, and reported in the stream itself as soon as it flows again. `tracing-appender` does the first half: its
//! bound is in lines and not in bytes, and it neither counts what its thread failed to write nor reports what it dropped.

mod queue;
mod stream;

pub use queue::{Queue, QueueWriter};
pub use stream::{OutputStream, deliver};

use std::sync::OnceLock;
use std::time::Duration;

/// Most bytes of one stream that wait to be written.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the end of the process waits for what is still queued.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static STANDARD_ERROR: OnceLock<Queue> = OnceLock::new();
static STANDARD_OUTPUT: OnceLock<Queue> = OnceLock::new();

/// The queue of standard error: the log. Its thread starts with the first call.
pub fn standard_error() -> &'static Queue {
    STANDARD_ERROR.get_or_init(|| Queue::start(OutputStream::Error, QUEUE_BYTES_MAX))
}

/// The queue of standard output. Its thread starts with the first call.
pub fn standard_output() -> &'static Queue {
    STANDARD_OUTPUT.get_or_init(|| Queue::start(OutputStream::Output, QUEUE_BYTES_MAX))
}

/// The queue of standard error, if this process has begun to use it.
pub fn started_standard_error() -> Option<&'static Queue> {
    STANDARD_ERROR.get()
}

/// Lines of each stream that were dropped, by the stream's name.
pub fn dropped_lines() -> [(&'static str, u64); 2] {
    let dropped = |queue: &OnceLock<Queue>| queue.get().map_or(0, Queue::dropped);
    [
        ("stderr", dropped(&STANDARD_ERROR)),
        ("stdout", dropped(&STANDARD_OUTPUT)),
    ]
}

/// Waits until what is queued is written, for a second at most: a reader that is stuck does not hold up the end.
pub fn flush() {
    for queue in [&STANDARD_OUTPUT, &STANDARD_ERROR]
        .into_iter()
        .filter_map(OnceLock::get)
    {
        queue.flush(FLUSH_TIMEOUT);
    }
}

/// Sends what a panic says into the log. The standard library would write it to standard error itself, and so wait for
/// the reader on the thread that panicked.
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
