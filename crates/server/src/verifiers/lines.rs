//! Reads a verifier's messages, one JSON document a line.

use super::Stream;
use super::share::Share;
use keyreeve_api::verifiers::{LINE_BYTES_MAX, VerifierMessage};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, ReadHalf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// Lines up to this many bytes are always read. Of longer ones few are read at once per root key and tenant, because
/// each takes memory before its kind is known.
const SHORT_BYTES_MAX: usize = 16 * 1024;
/// A connection without a message for this long is closed.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Time limit for the rest of a long line.
const LONG_LINE_TIMEOUT: Duration = Duration::from_secs(10);

/// Permits of the root key and of the tenant to hold a long line in memory.
pub(super) type LongLine = [OwnedSemaphorePermit; 2];

/// A message of a verifier.
pub(super) struct ReceivedMessage {
    pub(super) what: VerifierMessage,
    /// Held until a long message is processed.
    pub(super) place: Option<LongLine>,
}

pub(super) struct MessageLines {
    stream: BufReader<ReadHalf<Stream>>,
    line: Vec<u8>,
    share: Arc<Share>,
}

impl MessageLines {
    pub(super) fn new(stream: ReadHalf<Stream>, share: Arc<Share>) -> Self {
        Self {
            stream: BufReader::new(stream),
            line: Vec::new(),
            share,
        }
    }

    /// Reads the next message. `None` at the end of the connection, on invalid input or when a time limit passes. Not
    /// cancel-safe: bytes already read would be lost.
    pub(super) async fn next(&mut self) -> Option<ReceivedMessage> {
        self.line.clear();
        self.line.shrink_to(SHORT_BYTES_MAX);
        timeout(SILENCE_MAX, self.read(SHORT_BYTES_MAX)).await.ok()??;
        let mut place = None;
        if !self.is_complete() && self.line.len() >= SHORT_BYTES_MAX {
            let rest = async {
                place = Some(self.share.long_line().await?);
                self.read(LINE_BYTES_MAX).await
            };
            timeout(LONG_LINE_TIMEOUT, rest).await.ok()??;
        }
        let what = self.is_complete().then(|| serde_json::from_slice(&self.line).ok())??;
        Some(ReceivedMessage { what, place })
    }

    fn is_complete(&self) -> bool {
        self.line.ends_with(b"\n")
    }

    /// Reads to the end of the line, or until it has `most` bytes. `None` if the connection has ended.
    async fn read(&mut self, most: usize) -> Option<()> {
        let left = u64::try_from(most.saturating_sub(self.line.len())).unwrap_or(0);
        let mut bounded = (&mut self.stream).take(left);
        let count = bounded.read_until(b'\n', &mut self.line).await.ok()?;
        (count > 0).then_some(())
    }
}
