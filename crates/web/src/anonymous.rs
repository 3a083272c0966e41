//! Bodies of requests without a credential. Their bytes are bounded per address and in total while they are read.

use crate::address_rate_limits::place;
use crate::body;
use crate::capacity::{Capacity, Reservation};
use crate::respond::RETRY_AFTER_SECONDS;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use keyreeve_api::{Code, Problem};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Most bytes of bodies without a credential that are held at once.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most of them from one address. The largest body is 8 MiB.
const BYTES_OF_ADDRESS_MAX: usize = 16 * 1024 * 1024;
/// Seconds that a client should wait when there is no room for a body.
const RETRY_SECONDS: u64 = 5;

/// The byte budget of all bodies without a credential. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct AnonymousBytes(Capacity<Option<IpAddr>>);

impl Default for AnonymousBytes {
    fn default() -> Self {
        Self(Capacity::new(BYTES_OF_ADDRESS_MAX, BYTES_MAX))
    }
}

impl AnonymousBytes {
    /// Wraps a body from an address, whose bytes are counted as they arrive.
    pub fn count<B>(&self, address: Option<IpAddr>, body: B) -> CountedBody<B> {
        CountedBody {
            body,
            reserved: self.0.reserve(address.map(place)),
            is_refused: false,
        }
    }

    /// Reads a body of at most `max` bytes. Its bytes count until the returned body is dropped.
    pub async fn read<B>(
        &self,
        address: Option<IpAddr>,
        headers: &HeaderMap,
        incoming: B,
        max: usize,
    ) -> Result<AnonymousBody, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut counted = self.count(address, incoming);
        let read = body::read(headers, &mut counted, max).await;
        match (read, counted.is_refused) {
            (_, true) => Err(no_room()),
            (Ok(bytes), false) => Ok(AnonymousBody {
                bytes,
                _reserved: counted.reserved,
            }),
            (Err(problem), false) => Err(problem),
        }
    }
}

/// A body of a client without a credential.
#[derive(Debug)]
pub struct AnonymousBody {
    /// The complete body.
    pub bytes: Bytes,
    _reserved: Reservation<Option<IpAddr>>,
}

/// A body whose bytes are counted. Reading fails when there is no room for them.
#[derive(Debug)]
pub struct CountedBody<B> {
    body: B,
    reserved: Reservation<Option<IpAddr>>,
    is_refused: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Body for CountedBody<B> {
    type Data = Bytes;
    type Error = NoRoom;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, NoRoom>>> {
        let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Poll::Ready(Some(Err(NoRoom))),
            None => return Poll::Ready(None),
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if bytes > 0 && !self.reserved.grow(bytes) {
            self.is_refused = true;
            return Poll::Ready(Some(Err(NoRoom)));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body ended early, or there is no room for it.
#[derive(Debug, thiserror::Error)]
#[error("the body was cut off, or there is no room for it now")]
pub struct NoRoom;

fn no_room() -> Problem {
    let detail = "Clients without a credential are sending too much at the moment. Wait, then try again.";
    Problem::new(Code::RateLimited, detail).with(RETRY_AFTER_SECONDS, RETRY_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum_core::body::Body as Sent;

    const MIB: usize = 1024 * 1024;

    async fn read(bytes: &AnonymousBytes, address: u8, size: usize) -> Result<AnonymousBody, Code> {
        let address = Some([192, 0, 2, address].into());
        let headers = HeaderMap::new();
        let read = bytes.read(address, &headers, Sent::from(vec![0; size]), 8 * MIB);
        read.await.map_err(|problem| problem.code)
    }

    #[tokio::test]
    async fn bodies_without_a_credential_share_one_budget_and_an_address_half_of_it() {
        let bytes = AnonymousBytes::default();
        let (first, second) = (read(&bytes, 1, 8 * MIB).await, read(&bytes, 1, 8 * MIB).await);
        assert_eq!(first.as_ref().map(|body| body.bytes.len()), Ok(8 * MIB));
        assert_eq!(read(&bytes, 1, 1).await.err(), Some(Code::RateLimited));
        let others = (read(&bytes, 2, 8 * MIB).await, read(&bytes, 3, 8 * MIB).await);
        assert!(others.0.is_ok() && others.1.is_ok());
        assert_eq!(read(&bytes, 4, 1).await.err(), Some(Code::RateLimited));
        drop((first, second, others));
        assert!(read(&bytes, 1, MIB).await.is_ok());
    }
}
