//! Reading bodies: bounded in size and time, and read to the end before they are refused, so that the caller gets to
//! see the refusal.

use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::{Body, Bytes};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use keyreeve_api::json::JsonError;
use keyreeve_api::{Code, Problem};
use std::time::Duration;

/// Largest body of a management call.
pub(crate) const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most bytes of a body that is too large that are read and thrown away before it is refused.
const DRAINED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a body of at most `max` bytes.
pub(crate) async fn read<B>(headers: &HeaderMap, body: B, max: usize) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let Ok(read) = tokio::time::timeout(BODY_TIMEOUT, collect(headers, body, max)).await else {
        let detail = "The body of the request did not arrive in 30 seconds. Nothing was changed; try again.";
        return Err(Problem::new(Code::RequestTimeout, detail));
    };
    read
}

async fn collect<B>(headers: &HeaderMap, mut body: B, max: usize) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut is_too_large = announced.is_some_and(|announced| announced > max);
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
            // Nearly every body is one piece, and is used where it lies.
            first = data;
        } else {
            more.extend_from_slice(&std::mem::take(&mut first));
            more.extend_from_slice(&data);
        }
    }
    if is_too_large {
        let detail = format!("The body of the request has more than {max} bytes. Send fewer items at once.");
        return Err(Problem::new(Code::PayloadTooLarge, detail).with("max_bytes", max));
    }
    Ok(if more.is_empty() { first } else { more.into() })
}

/// Whether the body is said to be of a type, whatever parameters it has; nothing said is any type.
pub(crate) fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let essence = value.to_str().ok().and_then(|value| value.split(';').next());
    value == wanted || essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

/// Refuses a content type other than JSON; none at all counts as JSON.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    if is_of_type(headers, "application/json") {
        return Ok(());
    }
    let detail = "The body has another content type than JSON. Send Content-Type: application/json, or leave it out.";
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

/// What is wrong with a body, for the caller.
pub(crate) fn refused(error: &JsonError) -> Problem {
    if error.field.is_empty() {
        return Problem::new(Code::BadRequest, format!("The body {}.", error.what));
    }
    Problem::field(&error.field, &error.what)
}
