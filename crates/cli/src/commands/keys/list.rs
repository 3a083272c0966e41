//! `keyreeve keys list`.

use super::targets::Common;
use crate::commands::duration::Duration;
use crate::output;
use clap::Args;

const COLUMNS: [&str; 8] = [
    "id",
    "name",
    "subject",
    "state",
    "last_four",
    "expiration",
    "last_used_at",
    "created_at",
];

/// List keys, newest first.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this owner's
    #[arg(long)]
    subject: Option<String>,
    /// Only keys that stand so: active, disabled, expired or revoked
    #[arg(long)]
    state: Option<String>,
    /// Also revoked and expired keys, whatever the policy shows
    #[arg(long)]
    all: bool,
    /// Only active keys that expire within 30d, 12h, …
    #[arg(long, value_name = "DURATION")]
    expiring: Option<Duration>,
    /// Only keys whose name contains this
    #[arg(long)]
    query: Option<String>,
    /// Keys on a page
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Where the page begins: the `next_cursor` of the one before
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl List {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let given = [
            ("subject", self.subject),
            ("state", self.state),
            (
                "expiring_within",
                self.expiring
                    .and_then(|within| within.0)
                    .map(|seconds| seconds.to_string()),
            ),
            ("query", self.query),
            ("cursor", self.cursor),
            ("include_invalid", self.all.then(|| "true".to_owned())),
            ("limit", Some(self.limit.to_string())),
        ];
        let query: Vec<_> = given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        let page = self.common.client()?.get("v1/api_keys", &query).await?;
        output::list(self.common.connection.output, &page, &COLUMNS);
        if let Some(cursor) = page.get("next_cursor").and_then(|cursor| cursor.as_str()) {
            output::say(&format!("there are more: --cursor {cursor}"));
        }
        Ok(())
    }
}
