//! The TLS handshake of a connection, with a time limit. A client that sends plain HTTP gets an explanation.

use crate::tls::{Handshake, Tls};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Time limit of a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// First byte of a TLS connection: a handshake record (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 0x16;
/// The answer to a client that sends plain HTTP.
const NOT_PLAIN: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 73\r\n\
      connection: close\r\n\r\nThis port speaks TLS: write https:// in place of http:// in the address.\n";
/// How long, and how many bytes, a refused client may still send before the connection is closed.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_BYTES: u64 = 64 * 1024;

/// Performs the handshake; `None` if it fails.
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
    // `peek` leaves the byte to the handshake.
    // A client that only probed the port sends nothing. It is not counted as a failure.
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
            // At debug level: any client can cause these at will.
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
    }
}

/// Answers, and reads for a moment: closing with unread bytes resets the connection, and the answer is lost.
async fn refuse(mut stream: TcpStream) {
    let told = async {
        stream.write_all(NOT_PLAIN).await?;
        stream.shutdown().await?;
        let mut rest = (&mut stream).take(PATIENCE_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Errors are ignored: the client may be gone.
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
