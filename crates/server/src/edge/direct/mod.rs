//! Verification straight from a connection's buffer, ahead of the HTTP library.
//!
//! Most connections of a verifier carry nothing but small, whole, plain verification requests. Those are answered here:
//! nothing is allocated for one of them, and one write answers everything that one read brought. Whatever is unusual in
//! the slightest, and whatever would be refused, is not answered here: from then on the connection is the library's,
//! with all bytes that were not answered (docs/decisions/0004-fast.md).

mod answer;
mod request;
mod rewound;

pub(super) use rewound::Rewound;

use super::Peer;
use super::activity::{FIRST_REQUEST_TIMEOUT, WRITE_TIMEOUT};
use super::seats::Seat;
use crate::App;
use answer::Answerer;
use bytes::{Buf as _, BytesMut};
use request::{Seen, recognise};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

/// Largest request that is waited for here.
const REQUEST_BYTES_MAX: usize = 32 * 1024;
/// How much is read at once.
const READ_BYTES: usize = 4 * 1024;
/// A connection on which nothing was answered for this long, or up to twice as long, is closed.
const IDLE: Duration = Duration::from_secs(75);
/// How long the end of a connection may take to be said.
const GOODBYE: Duration = Duration::from_secs(1);

/// Answers what is ours, until the connection ends (`None`) or something else is asked. `by_tls_only`: whether answers say
/// that browsers are to come by TLS only.
pub(super) async fn serve<S>(
    mut stream: S,
    app: &App,
    peer: &Peer,
    by_tls_only: bool,
    stop: watch::Receiver<bool>,
) -> Option<Rewound<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let seat = &peer.seat;
    let mut answerer = Answerer::new(app, peer.address, by_tls_only);
    let (mut buffer, mut out) = (BytesMut::new(), Vec::new());
    let answered = AtomicU64::new(0);
    let mut tired = pin!(tired(stop, seat, &answered));
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
                // Whoever would wake us for the end was told of this task when it last waited for it. It is asked again
                // only when we were woken and there was nothing to read.
                let is_first = !std::mem::replace(&mut has_waited, true);
                if is_ending || (is_first && std::mem::replace(&mut is_watched, true)) {
                    return Poll::Pending;
                }
                tired.as_mut().poll(cx).map(|stopping| {
                    is_stopping = stopping;
                    None
                })
            });
            polled.await
        };
        match polled {
            Some(Ok(1..)) => {}
            // A stop lets a request that has begun be finished.
            None if is_stopping && !buffer.is_empty() => {
                is_ending = true;
                continue;
            }
            // The other end has closed.
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
        if !is_ours || buffer.len() > REQUEST_BYTES_MAX {
            return Some(Rewound::new(buffer.freeze(), stream));
        }
    }
}

/// Sends answers. A client that does not take them has time until [`WRITE_TIMEOUT`]; the clock is read only if it does not
/// take them at once.
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
    // TLS may hold back what the network does not take at once.
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

/// Says that this is the end, which in TLS is a message of its own, and ends it.
async fn close<S>(mut stream: S) -> Option<Rewound<S>>
where
    S: AsyncWrite + Unpin,
{
    // Whoever does not listen any more need not be told.
    drop(tokio::time::timeout(GOODBYE, stream.shutdown()).await);
    None
}

/// Answers the requests that the buffer begins with; false if it begins with something else then.
async fn answer_all(
    answerer: &mut Answerer<'_>,
    buffer: &mut BytesMut,
    out: &mut Vec<u8>,
    answered: &AtomicU64,
) -> bool {
    while !buffer.is_empty() {
        let bytes = match recognise(buffer) {
            Seen::Whole(request) => match answerer.answer(&request, out).await {
                Some(()) => request.bytes,
                None => return false,
            },
            Seen::Partial => return true,
            Seen::Other => return false,
        };
        buffer.advance(bytes);
        answered.fetch_add(1, Ordering::Relaxed);
    }
    true
}

/// Waits until the connection is to end: the server stops (true), another connection needs the place, or nothing was
/// answered from one look to the next. The first look is early: a client that connects has something to ask.
async fn tired(mut stop: watch::Receiver<bool>, seat: &Seat, answered: &AtomicU64) -> bool {
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
