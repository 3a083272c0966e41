//! `keyreeve keys history`, `keyreeve keys usage` and `keyreeve keys limits`.

use super::targets::{KeyCallOptions, path_of};
use crate::output;
use clap::Args;
use serde_json::{Value, json};

/// Show the events of a key, oldest first, also of a deleted one.
#[derive(Debug, Args)]
pub(crate) struct KeyHistoryArgs {
    /// The key
    id: String,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl KeyHistoryArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let path = format!("{}/events", path_of(&self.id)?);
        let mut events = self.common.client()?.get(&path, &[]).await?;
        copy(&mut events, "/actor/id", "by");
        let columns = ["revision", "at", "action", "by", "reason"];
        output::list(self.common.connection.output, &events, &columns);
        Ok(())
    }
}

/// Show the verifications of a key, by hour and outcome.
#[derive(Debug, Args)]
pub(crate) struct KeyUsageArgs {
    /// The key
    id: String,
    /// How many hours back, at most 2160 (90 days)
    #[arg(long, default_value_t = 24)]
    hours: u32,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl KeyUsageArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let path = format!("{}/usage", path_of(&self.id)?);
        let query = [("hours", self.hours.to_string())];
        let mut usage = self.common.client()?.get(&path, &query).await?;
        copy(&mut usage, "/hour", "at");
        output::list(self.common.connection.output, &usage, &["at", "outcome", "count"]);
        Ok(())
    }
}

/// Show the state of a key's limits, or reset their counters.
#[derive(Debug, Args)]
pub(crate) struct KeyLimitsArgs {
    /// The key
    id: String,
    /// Reset the counters: each limit is fully available again
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl KeyLimitsArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let path = format!("{}/limits", path_of(&self.id)?);
        let client = self.common.client()?;
        if self.reset {
            client.post(&format!("{path}/reset"), &json!({})).await?;
        }
        let limits = client.get(&path, &[]).await?;
        let columns = ["name", "limit", "used", "remaining", "reset_seconds"];
        output::list(self.common.connection.output, &limits, &columns);
        Ok(())
    }
}

/// Copies a nested value of each item into a column that a table can show.
fn copy(list: &mut Value, from: &str, to: &str) {
    let items = list.get_mut("data").and_then(Value::as_array_mut);
    for item in items.into_iter().flatten() {
        let value = item.pointer(from).cloned();
        if let (Some(fields), Some(value)) = (item.as_object_mut(), value) {
            fields.insert(to.to_owned(), value);
        }
    }
}
