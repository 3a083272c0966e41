//! Reads bodies with bounds on size and time. An oversized body is read to its end before it is refused, so that the
//! client can read the refusal.

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use hyper::{HeaderMap, StatusCode};
use keyreeve_api::json::JsonError;
use keyreeve_api::{Code, Problem};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// Largest body of a management call.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most bytes of an oversized body that are read and discarded before it is refused.
const DRAINED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time limit for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bounds for reading a body that no longer affects the answer: as many bytes as a call may send, and only long enough
/// for a body that was already sent.
const UNREAD_BYTES_MAX: usize = BODY_BYTES_MAX;
const UNREAD_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads a body of at most `max` bytes.
pub async fn read<B>(headers: &HeaderMap, body: B, max: usize) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let Ok(read) = tokio::time::timeout(BODY_TIMEOUT, collect(headers, body, max)).await else {
        return Err(too_slow());
    };
    read
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads and discards the body of a request whose answer is known without it, so that the client can send its next
/// request on the same connection. Otherwise the connection is closed, perhaps before the client has read the answer.
///
/// Returns false, and the connection must be closed, for a body that is too large or does not arrive, and with
/// `Expect`: the client then receives the final answer instead of `100 Continue`.
pub async fn drain<B>(headers: &HeaderMap, mut body: B) -> bool
where
    B: Body<Data = Bytes> + Unpin,
{
    let is_too_large = announced(headers).is_some_and(|announced| announced > UNREAD_BYTES_MAX);
    if body.is_end_stream() {
        return true;
    }
    if is_too_large || headers.contains_key(EXPECT) {
        return false;
    }
    let read = async {
        let mut seen = 0_usize;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            seen = seen.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            if seen > UNREAD_BYTES_MAX {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(UNREAD_TIMEOUT, read).await.unwrap_or(false)
}

/// Whether an answer of this status may have been given before the end of the body: it did not arrive in time, or was too
/// long to be read. The connection is closed then, because its next bytes are not a request.
pub fn may_be_unread(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE)
}

/// A body that is lent to another reader. The rest can be read once that reader has dropped its half.
#[derive(Debug)]
pub struct Lent(Arc<Mutex<Incoming>>);

impl Lent {
    /// Returns two handles to one body: one to lend, one to keep.
    pub fn new(body: Incoming) -> (Self, Self) {
        let body = Arc::new(Mutex::new(body));
        (Self(Arc::clone(&body)), Self(body))
    }

    fn body(&self) -> MutexGuard<'_, Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut *self.body()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}

async fn collect<B>(headers: &HeaderMap, mut body: B, max: usize) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut is_too_large = announced(headers).is_some_and(|announced| announced > max);
    let mut first = Bytes::new();
    let mut more = Vec::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            let detail = "The body of the request was cut off before its end. Nothing was changed.";
            return Err(Problem::new(Code::BadRequest, detail));
        };
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        is_too_large |= seen > max;
        if is_too_large {
            if seen > DRAINED_BYTES_MAX {
                break;
            }
        } else if first.is_empty() && more.is_empty() {
            // Nearly every body is one frame; it is used without a copy.
            first = data;
        } else {
            more.extend_from_slice(&std::mem::take(&mut first));
            more.extend_from_slice(&data);
        }
    }
    if is_too_large {
        return Err(too_large(max));
    }
    Ok(if more.is_empty() { first } else { more.into() })
}

/// Returns whether the body has a content type, ignoring parameters; without the header, any type.
#[inline]
pub fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let essence = value.to_str().ok().and_then(|value| value.split(';').next());
    value == wanted || essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

/// Refuses content types other than JSON; without the header, JSON is assumed.
#[inline]
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    if is_of_type(headers, "application/json") {
        return Ok(());
    }
    Err(not_json())
}

/// The problem of a body that did not arrive in time.
pub fn too_slow() -> Problem {
    let detail = "The body of the request did not arrive in 30 seconds. Nothing was changed; try again.";
    Problem::new(Code::RequestTimeout, detail)
}

/// The problem of a body of more than `max` bytes.
pub fn too_large(max: usize) -> Problem {
    let detail = format!("The body of the request has more than {max} bytes. Send fewer items at once.");
    Problem::new(Code::PayloadTooLarge, detail).with("max_bytes", max)
}

/// The problem of a body of another content type than JSON.
pub fn not_json() -> Problem {
    let detail = "The body has another content type than JSON. Send Content-Type: application/json, or leave it out.";
    Problem::new(Code::UnsupportedMediaType, detail)
}

/// Describes to the caller what is wrong with a body.
pub fn refused(error: &JsonError) -> Problem {
    if error.field.is_empty() {
        return Problem::new(Code::BadRequest, format!("The body {}.", error.what));
    }
    Problem::field(&error.field, &error.what)
}
