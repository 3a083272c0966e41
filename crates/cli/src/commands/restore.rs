//! `keyreeve restore`: what an operator decides after a restore.

use super::connect::ServerOptions;
use super::moment::PointInTime;
use super::restore_choice::{ChoiceOptions, time};
use crate::exit::UsageError;
use crate::output;
use anyhow::bail;
use clap::{Args, Subcommand};
use keyreeve_client::Client;
use keyreeve_server::restored::{ADDRESS, RestoreChoice};
use serde_json::{Value, json};
use std::time::Duration;

/// Interval at which the work of the server is watched.
const WATCH_EVERY: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  keyreeve restore status
  keyreeve restore decide --hold-all --reason \"disk lost, backup of Tuesday\"
  keyreeve restore release --tenant acme --created-before 2026-11-01T00:00:00Z
  keyreeve restore release --all

They use the socket in the data directory, and work with and without a running server.";

/// Decide what happens with keys after a restore, and release keys that it has put on hold.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Restore {
    /// Show whether a decision is awaited, and for which time no denial is known
    Status {
        #[command(flatten)]
        connection: ServerOptions,
    },
    /// Decide about the keys that may have been denied in that time
    Decide(Decide),
    /// Re-activate keys that the restore has put on hold, by a filter
    Release(ReleaseHeld),
}

/// Decide about the keys that may have been denied in the time for which no denial is known.
#[derive(Debug, Args)]
pub(crate) struct Decide {
    #[command(flatten)]
    choice: ChoiceOptions,
    /// The reason, for the audit log
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    connection: ServerOptions,
}

/// Re-activate keys that the restore has put on hold. Keys that were on hold before, or that were denied again, are not
/// selected.
#[derive(Debug, Args)]
pub(crate) struct ReleaseHeld {
    /// Only keys of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only keys of this owner
    #[arg(long)]
    subject: Option<String>,
    /// Only this key
    #[arg(long)]
    id: Option<String>,
    /// Only keys with this scope
    #[arg(long)]
    scope: Option<String>,
    /// Only keys issued before this time
    #[arg(long, value_name = "TIME")]
    created_before: Option<PointInTime>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Only count them
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: ServerOptions,
}

impl Restore {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Status { connection } => {
                let state = connection
                    .with_operator(async |client| Ok(client.get(ADDRESS, &[]).await?))
                    .await?;
                output::one(connection.output, &readable(state));
                Ok(())
            }
            Self::Decide(decide) => decide.run().await,
            Self::Release(release) => release.run().await,
        }
    }
}

/// Returns the state with times as text.
fn readable(mut state: Value) -> Value {
    for name in ["copy_taken_at", "unknown_since", "unknown_until"] {
        if let Some(at) = state.get_mut(name)
            && let Some(millis) = at.as_i64()
        {
            *at = json!(time(millis));
        }
    }
    state
}

impl Decide {
    async fn run(self) -> anyhow::Result<()> {
        let Some(choice) = self.choice.choice() else {
            return Err(UsageError("name --hold-all, --hold-since TIME or --accept".to_owned()).into());
        };
        let mut query = vec![("choice", choice.as_str().to_owned()), ("reason", self.reason)];
        if let RestoreChoice::HoldSince(since) = choice {
            query.push(("since", since.millis().to_string()));
        }
        let done = self
            .connection
            .with_operator(async |client| work(&client, &query).await)
            .await?;
        output::one(self.connection.output, &done);
        let held = done.get("held").and_then(Value::as_u64).unwrap_or(0);
        output::say(&format!("Decided: {held} keys were put on hold."));
        Ok(())
    }
}

impl ReleaseHeld {
    async fn run(self) -> anyhow::Result<()> {
        let filters = [
            ("tenant", self.tenant),
            ("subject", self.subject),
            ("id", self.id),
            ("scope", self.scope),
            ("created_before", self.created_before.map(|time| time.0.to_string())),
        ];
        let filters = filters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let mut query: Vec<_> = filters.collect();
        if query.is_empty() != self.all {
            return Err(UsageError("name at least one filter, or --all".to_owned()).into());
        }
        query.push(("release", "1".to_owned()));
        if self.dry_run {
            query.push(("dry_run", "1".to_owned()));
        }
        let done = self
            .connection
            .with_operator(async |client| work(&client, &query).await)
            .await?;
        output::one(self.connection.output, &done);
        Ok(())
    }
}

/// Starts work of the server, and waits for its end. It goes on if this command is ended.
async fn work(client: &Client, query: &[(&str, String)]) -> anyhow::Result<Value> {
    let pairs: Vec<_> = query
        .iter()
        .map(|(name, value)| format!("{name}={}", percent(value)))
        .collect();
    client
        .post(&format!("{ADDRESS}?{}", pairs.join("&")), &json!({}))
        .await?;
    loop {
        let state = client.get(ADDRESS, &[]).await?;
        let work = state.get("work").cloned().unwrap_or_default();
        if work.get("is_running").and_then(Value::as_bool) != Some(true) {
            if let Some(why) = work.get("error").and_then(Value::as_str) {
                bail!("{why}. It can be repeated");
            }
            return Ok(work.get("result").cloned().unwrap_or_default());
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// Returns a text as a value in a query.
fn percent(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}
