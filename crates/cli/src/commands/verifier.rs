//! `keyreeve verifier`: verifies keys from its own memory, as an application does.

use super::connect::ServerOptions;
use crate::output;
use anyhow::Context as _;
use clap::Args;
use keyreeve_client::verifier::CAPACITY_DEFAULT;
use keyreeve_client::{ClientError, Verdict, Verifier};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::time::Duration;
use tokio::sync::mpsc;

const EXAMPLES: &str = "\
Examples:
  printf '%s\\n' \"$KEY\" | keyreeve verifier
  keyreeve verifier < keys.txt | jq -r .code

One line of standard input is a key, with scopes after it if it must hold any; one line of standard output is its verdict,
or {\"revoked\": \"ak_…\"} when a key that was verified is revoked. The end of the input hands the lease back.";

/// Verify keys line by line from its own memory, with a lease that revocations wait for: what `keyreeve-client` does
/// inside an application. The root key comes from `KEYREEVE_ROOT_KEY`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunVerifier {
    /// Most secrets to remember
    #[arg(long, default_value_t = CAPACITY_DEFAULT, value_name = "N")]
    capacity: usize,
    #[command(flatten)]
    connection: ServerOptions,
}

impl RunVerifier {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let verifier = self.connected().await?;
        let mut lines = lines();
        while let Some(line) = lines.recv().await {
            let line = line.context("cannot read standard input")?;
            let mut words = line.split_whitespace();
            let key = words.next().unwrap_or("");
            let scopes: Vec<_> = words.collect();
            let is_remembered = verifier.remembered(key, &scopes);
            let source = if is_remembered.is_some() { "memory" } else { "node" };
            let verdict = match is_remembered {
                Some(verdict) => verdict,
                None => verifier.verify_for(key, &scopes).await,
            };
            output::print(&shown(&verdict, source));
        }
        verifier.close().await;
        Ok(())
    }

    /// Connects, with retries while the node answers 503: it may have just started, or its database is restarting.
    async fn connected(&self) -> anyhow::Result<Verifier> {
        let (url, root_key) = self.connection.credential()?;
        let told = |key: &str| output::print(&json!({ "revoked": key }).to_string());
        let mut pauses = CONNECT_PAUSES_MS.into_iter();
        loop {
            let mut builder = Verifier::builder(&url, &root_key);
            if let Some(authorities) = self.connection.authorities()? {
                builder = builder.authorities(authorities);
            }
            let error = match builder.capacity(self.capacity).on_revoked(told).connect().await {
                Ok(verifier) => return Ok(verifier),
                Err(error) => error,
            };
            let pause = pauses.next().filter(|_| is_for_now(&error));
            let Some(pause) = pause else { return Err(error.into()) };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}

/// Pauses between attempts to connect, in milliseconds.
const CONNECT_PAUSES_MS: [u64; 5] = [200, 500, 1_000, 2_000, 4_000];

/// Returns whether a node refused only because it is unavailable now.
fn is_for_now(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(refusal) if refusal.status == 503)
}

fn shown(verdict: &Verdict, source: &str) -> String {
    json!({
        "valid": verdict.is_valid(),
        "code": verdict.code(),
        "status": verdict.status(),
        "reason": verdict.reason(),
        "tenant": verdict.tenant(),
        "key_id": verdict.key_id(),
        "subject": verdict.subject(),
        "scopes": verdict.scopes().collect::<Vec<_>>(),
        "revision": verdict.revision(),
        "source": source,
        "headers": verdict.headers().collect::<BTreeMap<_, _>>(),
    })
    .to_string()
}

/// Reads standard input on a separate thread, because a read can block for ever.
fn lines() -> mpsc::Receiver<std::io::Result<String>> {
    let (send, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if send.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}
