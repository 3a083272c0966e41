//! The two output streams of the process, written directly.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

/// An output stream of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutputStream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl OutputStream {
    /// Writes some of the bytes and returns how many. Blocks until the reader reads, also if another process that
    /// shares the stream made it non-blocking.
    pub(super) fn write(self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.write_once(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_writable_within(Duration::from_secs(1))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }

    fn write_once(self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Output => rustix::io::write(io::stdout().as_fd(), bytes),
            Self::Error => rustix::io::write(io::stderr().as_fd(), bytes),
        };
        written.map_err(io::Error::from)
    }

    /// Waits until the stream is writable or has failed; false on timeout.
    fn is_writable_within(self, patience: Duration) -> io::Result<bool> {
        match self {
            Self::Output => is_writable_within(io::stdout().as_fd(), patience),
            Self::Error => is_writable_within(io::stderr().as_fd(), patience),
        }
    }
}

fn is_writable_within(stream: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut streams = [PollFd::new(&stream, PollFlags::OUT)];
    match poll(&mut streams, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        // A signal was handled during the wait; the stream may or may not be writable.
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes a short text (under 4096 bytes, which a pipe accepts completely or not at all), and waits at most `patience`
/// for the reader to make room.
pub fn deliver(stream: OutputStream, text: &str, patience: Duration) -> io::Result<()> {
    if !stream.is_writable_within(patience)? {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "its reader does not read"));
    }
    match stream {
        OutputStream::Output => {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        }
        OutputStream::Error => io::stderr().write_all(text.as_bytes()),
    }
}
