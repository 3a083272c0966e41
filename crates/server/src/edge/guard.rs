//! Scans the bytes of a connection for a request with two contradictory lengths.
//!
//! `Content-Length` together with `Transfer-Encoding` is used to smuggle a request past a proxy (RFC 9112, section
//! 6.3). The HTTP library silently drops one of the two, so they are looked for here, before the library reads the
//! bytes. This is a line scanner: a header block is any run of lines up to an empty one. Bodies are scanned as well; at
//! worst a body that quotes both header lines is refused, and such a body is not JSON.

use super::activity::ConnectionActivity;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose requests are scanned.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    scanner: HeaderScanner,
    alarm: SmugglingGuard,
    activity: Arc<ConnectionActivity>,
}

/// Set once a request with two lengths was seen. The connection must answer 400 and close.
#[derive(Clone, Debug, Default)]
pub(crate) struct SmugglingGuard(Arc<AtomicBool>);

impl SmugglingGuard {
    /// Returns whether the connection can no longer be trusted.
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, alarm: SmugglingGuard, activity: Arc<ConnectionActivity>) -> Self {
        Self {
            stream,
            scanner: HeaderScanner::default(),
            alarm,
            activity,
        }
    }
}

const LENGTH: &[u8] = b"content-length:";
const ENCODING: &[u8] = b"transfer-encoding:";

/// The state between two reads: the position in a line, and the headers of the present block.
#[derive(Debug, Default)]
struct HeaderScanner {
    /// Start of the present line, as long as it could be one of the two names.
    start: [u8; ENCODING.len()],
    /// Bytes of the present line. Beyond the size of `start` they are only counted.
    line_bytes: usize,
    has_length: bool,
    has_encoding: bool,
}

impl HeaderScanner {
    /// Scans the next bytes; true if a block has both headers.
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.take(line);
            if self.end_line() {
                return true;
            }
            bytes = rest.get(1..).unwrap_or(&[]);
        }
        self.take(bytes);
        false
    }

    fn take(&mut self, part: &[u8]) {
        for (to, from) in self.start.iter_mut().skip(self.line_bytes).zip(part) {
            *to = *from;
        }
        self.line_bytes = self.line_bytes.saturating_add(part.len());
    }

    fn end_line(&mut self) -> bool {
        let line = self.start.get(..self.line_bytes.min(self.start.len())).unwrap_or(&[]);
        let starts_with = |name: &[u8]| {
            line.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        if line.is_empty() || line == b"\r" {
            self.has_length = false;
            self.has_encoding = false;
        }
        self.has_length |= starts_with(LENGTH);
        self.has_encoding |= starts_with(ENCODING);
        self.line_bytes = 0;
        self.has_length && self.has_encoding
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let new = buffer.filled().get(before..).unwrap_or(&[]);
        if !new.is_empty() && self.scanner.feed(new) {
            // Before the library gets these bytes, so that it is seen before a request of them is answered.
            self.alarm.0.store(true, Ordering::Release);
        }
        polled
    }
}

/// Not vectored: the library then copies small parts of an answer together and sends them in one write. In HTTP/2, a
/// body of 256 bytes or more would otherwise split the answer into two writes.
impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.activity.note_write(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // A flush that completes at once reveals nothing about unsent bytes.
        if flushed.is_pending() {
            self.activity.note_flush_pending();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_found(bytes: &[u8], chunk: usize) -> bool {
        let mut scanner = HeaderScanner::default();
        bytes.chunks(chunk).any(|part| scanner.feed(part))
    }

    #[test]
    fn both_lengths_in_one_request_are_found_however_the_bytes_arrive() {
        let one = b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let other = b"POST / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\nHost: x\r\ncontent-length: 4\r\n\r\n";
        for chunk in 1..one.len() {
            assert!(is_found(one, chunk) && is_found(other, chunk), "chunks of {chunk}");
        }
    }

    #[test]
    fn one_length_a_request_is_fine() {
        let requests =
            b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let long = b"GET / HTTP/1.1\r\nX-Content-Length: 1\r\nX: transfer-encoding: content-length:\r\n\r\n";
        for chunk in [1, 7, 1000] {
            assert!(!is_found(requests, chunk) && !is_found(long, chunk));
        }
    }
}
