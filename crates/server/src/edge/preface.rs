//! Reads the first bytes of a connection: the HTTP/2 preface, or anything else, which is HTTP/1. The HTTP library
//! distinguishes them itself, but waits for them without a time limit.

use super::direct::Rewound;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The preface of an HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until the protocol is certain; `None` if the connection ends before. The caller bounds the time.
pub(super) async fn settled<S>(mut stream: Rewound<S>) -> Option<Rewound<Rewound<S>>>
where
    S: AsyncRead + Unpin,
{
    let mut seen = BytesMut::with_capacity(PREFACE.len());
    while !is_certain(&seen) {
        if stream.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
    }
    Some(Rewound::new(seen.freeze(), stream))
}

fn is_certain(seen: &[u8]) -> bool {
    !seen.is_empty() && (seen.len() >= PREFACE.len() || !PREFACE.starts_with(seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_of_the_preface_is_waited_for_and_nothing_else() {
        for end in 0..PREFACE.len() {
            assert!(!is_certain(&PREFACE[..end]), "{end}");
        }
        for certain in [PREFACE, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", b"G", b"POST", b"PRJ"] {
            assert!(is_certain(certain));
        }
    }
}
