//! Answers verification straight from a connection's buffer, ahead of the HTTP library.
//!
//! Most connections of a relying service carry nothing but small, complete, plain verification requests. They are
//! answered here without an allocation per request, and one write answers everything that one read returned. Anything
//! unusual, and anything that would be refused, is left to the library: it gets the connection from then on, with all
//! bytes that were not answered (docs/decisions/0004-fast.md).

mod answer;
mod request;
mod rewound;

pub(super) use rewound::Rewound;

use super::Peer;
use super::activity::{FIRST_REQUEST_TIMEOUT, WRITE_TIMEOUT};
use super::seats::Seat;
use crate::verdict_service::VerdictService;
use answer::Answerer;
use bytes::{Buf as _, BytesMut};
use request::{Classified, recognise};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

/// Largest request that is read here.
const REQUEST_BYTES_MAX: usize = 32 * 1024;
/// Bytes of one read.
const READ_BYTES: usize = 4 * 1024;
/// A connection without an answer for this long, or up to twice as long, is closed.
const IDLE: Duration = Duration::from_secs(75);
/// Time limit for closing a connection.
const GOODBYE: Duration = Duration::from_secs(1);

/// Answers plain requests until the connection ends (`None`) or another request arrives. `by_tls_only`: whether answers
/// carry HSTS.
pub(super) async fn serve<S>(
    mut stream: S,
    verdicts: &VerdictService,
    peer: &Peer,
    by_tls_only: bool,
    stop: watch::Receiver<bool>,
) -> Option<Rewound<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let seat = &peer.seat;
    let mut answerer = Answerer::new(verdicts, peer, by_tls_only);
    let (mut buffer, mut out) = (BytesMut::new(), Vec::new());
    let answered = AtomicU64::new(0);
    let mut idle_or_stopping = pin!(idle_or_stopping(stop, seat, &answered));
    let (mut is_watched, mut is_known, mut is_stopping, mut is_ending) = (false, false, false, false);
    loop {
        buffer.reserve(READ_BYTES);
        let polled = {
            let mut read = pin!(stream.read_buf(&mut buffer));
            let mut has_waited = false;
            let polled = poll_fn(|cx| {
                if let Poll::Ready(read) = read.as_mut().poll(cx) {
                    return Poll::Ready(Some(read));
                }
                // `idle_or_stopping` is polled once on the first wait, which registers this task as its waker, and then only when
                // the task was woken and there was nothing to read. Polling it for every read would cost each request.
                let is_first = !std::mem::replace(&mut has_waited, true);
                if is_ending || (is_first && std::mem::replace(&mut is_watched, true)) {
                    return Poll::Pending;
                }
                idle_or_stopping.as_mut().poll(cx).map(|stopping| {
                    is_stopping = stopping;
                    None
                })
            });
            polled.await
        };
        match polled {
            Some(Ok(1..)) => {}
            // A stop lets a request that has begun finish.
            None if is_stopping && !buffer.is_empty() => {
                is_ending = true;
                continue;
            }
            // The client has closed the connection, or reading failed.
            Some(_) => return None,
            None => return close(stream).await,
        }
        let is_ours = answer_all(&mut answerer, &mut buffer, &mut out, &answered).await;
        if !is_known && answerer.has_known() {
            is_known = true;
            seat.note_known();
        }
        if !out.is_empty() {
            send(&mut stream, seat, &out).await?;
            out.clear();
        }
        if is_ending && buffer.is_empty() {
            return close(stream).await;
        }
        // A request that is still incomplete at this size is for the library, which has bounds of its own.
        if !is_ours || buffer.len() > REQUEST_BYTES_MAX {
            return Some(Rewound::new(buffer.freeze(), stream));
        }
    }
}

/// Sends answers, with the time limit [`WRITE_TIMEOUT`] for a client that does not read. The clock is read only if the
/// first write does not take everything.
async fn send<S>(stream: &mut S, seat: &Seat, out: &[u8]) -> Option<()>
where
    S: AsyncWrite + Unpin,
{
    let at_once = poll_fn(|cx| match Pin::new(&mut *stream).poll_write(cx, out) {
        Poll::Ready(written) => Poll::Ready(Some(written)),
        Poll::Pending => Poll::Ready(None),
    });
    let written = at_once.await.transpose().ok()?.unwrap_or(0);
    let rest = out.get(written..).unwrap_or(&[]);
    // TLS may buffer what the network does not accept at once.
    let flushed = poll_fn(|cx| match Pin::new(&mut *stream).poll_flush(cx) {
        Poll::Ready(flushed) => Poll::Ready(Some(flushed)),
        Poll::Pending => Poll::Ready(None),
    });
    if rest.is_empty() && flushed.await.transpose().ok()?.is_some() {
        return Some(());
    }
    let slowly = async {
        stream.write_all(rest).await?;
        stream.flush().await
    };
    tokio::select! {
        sent = tokio::time::timeout(WRITE_TIMEOUT, slowly) => sent.ok()?.ok(),
        () = seat.evicted() => None,
    }
}

/// Closes the connection, in TLS with its closing message.
async fn close<S>(mut stream: S) -> Option<Rewound<S>>
where
    S: AsyncWrite + Unpin,
{
    // Errors are ignored: the client may be gone.
    drop(tokio::time::timeout(GOODBYE, stream.shutdown()).await);
    None
}

/// Answers the requests at the start of the buffer; false if something else follows.
async fn answer_all(
    answerer: &mut Answerer<'_>,
    buffer: &mut BytesMut,
    out: &mut Vec<u8>,
    answered: &AtomicU64,
) -> bool {
    while !buffer.is_empty() {
        let bytes = match recognise(buffer) {
            Classified::Whole(request) => match answerer.answer(&request, out).await {
                Some(()) => request.bytes,
                None => return false,
            },
            Classified::Partial => return true,
            Classified::Other => return false,
        };
        buffer.advance(bytes);
        answered.fetch_add(1, Ordering::Relaxed);
    }
    true
}

/// Waits until the connection must be closed: the server stops (true), another connection needs the seat, or nothing
/// was answered between two looks. The first look is early, because a client that connects has a request to send.
async fn idle_or_stopping(mut stop: watch::Receiver<bool>, seat: &Seat, answered: &AtomicU64) -> bool {
    let mut stopping = pin!(stop.wait_for(|&stopping| stopping));
    let mut evicted = pin!(seat.evicted());
    let mut patience = FIRST_REQUEST_TIMEOUT;
    let mut before = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(patience) => {}
            () = &mut evicted => return false,
            _ = &mut stopping => return true,
        }
        let now = answered.load(Ordering::Relaxed);
        if now == before {
            return false;
        }
        (before, patience) = (now, IDLE);
    }
}
