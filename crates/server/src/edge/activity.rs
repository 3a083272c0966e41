//! Tracks the activity of a connection in the HTTP library, and decides when an inactive one is closed.

use super::seats::{Busy, Seat};
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Time limit from the first byte, or from the end of the TLS handshake, to the end of the head of the first request.
/// Between two requests the limit is longer.
pub(super) const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without progress of an answer after which the connection is closed: between this and twice as long.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that the protocol itself may write between two looks without a request (HTTP/2 pings).
const QUIET_BYTES: u64 = 1_024;
/// Looks at one answer of which bytes are written, but no further part is taken: ten minutes. An HTTP/2 client that takes
/// nothing can make the protocol write as many bytes as it likes, by PING.
const SLOW_LOOKS: u32 = 20;
/// Looks without a request after which a connection is idle: 90 to 120 s. HTTP/1.1 ends after 75 s.
const IDLE_LOOKS: u32 = 3;

/// Activity of one connection.
#[derive(Debug, Default)]
pub(super) struct ConnectionActivity {
    /// Requests that were begun.
    begun: AtomicU64,
    /// Counts requests, their ends, and frames of answers that were sent.
    moves: AtomicU64,
    /// Answers that are not completely sent.
    answering: AtomicUsize,
    /// Whether bytes wait for the client to receive them.
    is_writing: AtomicBool,
    /// Bytes that were written.
    written_bytes: AtomicU64,
}

impl ConnectionActivity {
    /// Counts the beginning of a request.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.moved();
    }

    /// Counts any progress.
    fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Records the result of a write.
    pub(super) fn note_write(&self, written: &Poll<std::io::Result<usize>>) {
        // Relaxed: this is looked at once in 30 s, and nothing depends on its order.
        self.is_writing.store(written.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(bytes)) = written {
            let bytes = u64::try_from(*bytes).unwrap_or(u64::MAX);
            self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Records that written bytes are not flushed yet.
    pub(super) fn note_flush_pending(&self) {
        self.is_writing.store(true, Ordering::Relaxed);
    }

    /// Waits until the connection must be closed: its first request is late, an answer makes no progress, or there was
    /// no request for too long.
    pub(super) async fn idle_or_stopping(&self, seat: &Seat) {
        tokio::time::sleep(FIRST_REQUEST_TIMEOUT).await;
        if self.begun.load(Ordering::Relaxed) == 0 {
            return;
        }
        let (mut quiet_looks, mut slow_looks) = (0, 0);
        loop {
            let before = self.look();
            tokio::time::sleep(WRITE_TIMEOUT).await;
            let now = self.look();
            // The counter may wrap; the difference is right nevertheless.
            let written = now.1.wrapping_sub(before.1);
            if self.is_writing.load(Ordering::Relaxed) && written == 0 {
                return;
            }
            // What the protocol itself writes, such as acknowledgements of PING, is no progress.
            let is_answering = self.answering.load(Ordering::Relaxed) > 0;
            if now.0 != before.0 || seat.is_busy() {
                (quiet_looks, slow_looks) = (0, 0);
                continue;
            }
            if is_answering && written > QUIET_BYTES && slow_looks < SLOW_LOOKS {
                slow_looks += 1;
                continue;
            }
            quiet_looks += 1;
            // An answer makes no progress although the connection accepts bytes: an HTTP/2 client that opens no
            // flow-control window.
            if quiet_looks == IDLE_LOOKS || is_answering {
                return;
            }
        }
    }

    fn look(&self) -> (u64, u64) {
        (
            self.moves.load(Ordering::Relaxed),
            self.written_bytes.load(Ordering::Relaxed),
        )
    }
}

/// The body of an answer that is being sent.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: Body,
    activity: Option<Arc<ConnectionActivity>>,
}

impl AnswerBody {
    /// Wraps the body of a completed request. Drops `busy`: an unread answer does not protect its connection from
    /// eviction.
    pub(super) fn new(body: Body, activity: &Arc<ConnectionActivity>, busy: Busy) -> Self {
        drop(busy);
        activity.moved();
        let is_empty = body.is_end_stream();
        let activity = (!is_empty).then(|| Arc::clone(activity));
        if let Some(activity) = &activity {
            activity.answering.fetch_add(1, Ordering::Relaxed);
        }
        Self { body, activity }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(activity) = &self.activity {
            activity.answering.fetch_sub(1, Ordering::Relaxed);
            activity.moved();
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(_), Some(activity)) = (&polled, &self.activity) {
            activity.moved();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::super::seats::{SeatLimits, Seats};
    use super::*;
    use tokio::time::Instant;

    fn seat() -> Seat {
        Seats::new(SeatLimits::reserved()).take(None).unwrap()
    }

    /// Returns the seconds after which a connection ends whose last activity was `happens`.
    async fn ends_after(happens: impl FnOnce(&Arc<ConnectionActivity>, &Seat)) -> u64 {
        let (activity, seat) = (Arc::new(ConnectionActivity::default()), seat());
        let began = Instant::now();
        happens(&activity, &seat);
        activity.idle_or_stopping(&seat).await;
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_ends_soon_and_an_idle_one_later() {
        assert_eq!(ends_after(|_, _| {}).await, 10);
        let idle = |activity: &Arc<ConnectionActivity>, seat: &Seat| {
            activity.begin();
            drop(AnswerBody::new(Body::empty(), activity, seat.busy()));
        };
        assert_eq!(ends_after(idle).await, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_ends_the_connection() {
        let by_window = |activity: &Arc<ConnectionActivity>, seat: &Seat| {
            activity.begin();
            Box::leak(Box::new(AnswerBody::new(Body::from("text"), activity, seat.busy())));
        };
        assert_eq!(ends_after(by_window).await, 40);
        let by_bytes = |activity: &Arc<ConnectionActivity>, _: &Seat| {
            activity.begin();
            activity.note_write(&Poll::Ready(Ok(100_000)));
            activity.note_write(&Poll::Pending);
        };
        assert_eq!(ends_after(by_bytes).await, 40);
    }

    #[tokio::test(start_paused = true)]
    async fn acknowledged_pings_keep_no_idle_connection_open() {
        let (activity, seat) = (Arc::new(ConnectionActivity::default()), seat());
        activity.begin();
        drop(AnswerBody::new(Body::empty(), &activity, seat.busy()));
        let pings = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                activity.note_write(&Poll::Ready(Ok(170)));
            }
        };
        let began = Instant::now();
        tokio::select! {
            () = activity.idle_or_stopping(&seat) => {}
            () = pings => {}
        }
        assert_eq!(began.elapsed().as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn pings_keep_no_connection_open_whose_answer_is_not_taken() {
        let (activity, seat) = (Arc::new(ConnectionActivity::default()), seat());
        activity.begin();
        Box::leak(Box::new(AnswerBody::new(Body::from("text"), &activity, seat.busy())));
        let pings = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                activity.note_write(&Poll::Ready(Ok(1_700)));
            }
        };
        let ended = async {
            tokio::select! {
                () = activity.idle_or_stopping(&seat) => {}
                () = pings => {}
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(660), ended).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_long_is_waited_for() {
        let (activity, seat) = (Arc::new(ConnectionActivity::default()), seat());
        activity.begin();
        let busy = seat.busy();
        let ended = tokio::time::timeout(Duration::from_secs(3_600), activity.idle_or_stopping(&seat));
        assert!(ended.await.is_err());
        drop(busy);
    }
}
