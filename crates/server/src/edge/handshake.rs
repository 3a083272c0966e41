//! The beginning of an encrypted connection. It has a bound in time; whoever speaks plain HTTP is told so.

use crate::tls::{Handshake, Tls};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How a TLS connection begins: a record of a handshake (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 0x16;
/// What is said to whoever speaks plain HTTP.
const NOT_PLAIN: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 73\r\n\
      connection: close\r\n\r\nThis port speaks TLS: write https:// in place of http:// in the address.\n";
/// How long, and how many bytes, a refused caller may go on speaking before the connection is cut.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_BYTES: u64 = 64 * 1024;

/// Shakes hands; `None` if that did not come about.
pub(super) async fn meet(stream: TcpStream, tls: &Tls) -> Option<TlsStream<TcpStream>> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, shake(stream, tls)).await {
        Ok(met) => met,
        Err(_) => {
            tls.note(Handshake::TimedOut);
            None
        }
    }
}

async fn shake(stream: TcpStream, tls: &Tls) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    // Whoever only looked whether somebody listens has said nothing.
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first != [HANDSHAKE_RECORD] {
        tls.note(Handshake::Plain);
        refuse(stream).await;
        return None;
    }
    match TlsAcceptor::from(tls.config()).accept(stream).await {
        Ok(stream) => {
            tls.note(Handshake::Done);
            Some(stream)
        }
        Err(error) => {
            tls.note(Handshake::Failed);
            // Anybody can cause as many of these as they like.
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
    }
}

/// Answers, and reads on for a moment: a connection that is cut with bytes unread loses the answer.
async fn refuse(mut stream: TcpStream) {
    let told = async {
        stream.write_all(NOT_PLAIN).await?;
        stream.shutdown().await?;
        let mut rest = (&mut stream).take(PATIENCE_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // They may be gone already.
    drop(tokio::time::timeout(PATIENCE, told).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_how_long_it_is() {
        let text = std::str::from_utf8(NOT_PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
    }
}
