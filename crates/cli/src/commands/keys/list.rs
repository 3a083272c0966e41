//! `keyreeve keys list`.

use super::targets::KeyCallOptions;
use crate::commands::duration::Duration;
use crate::output;
use clap::Args;
use serde_json::Value;

const COLUMNS: [&str; 9] = [
    "id",
    "name",
    "subject",
    "state",
    "owner_blocked",
    "last_four",
    "expiration",
    "last_used_at",
    "created_at",
];

/// List keys, newest first.
#[derive(Debug, Args)]
pub(crate) struct KeyListArgs {
    /// Only keys of this owner
    #[arg(long)]
    subject: Option<String>,
    /// Only keys in this state: active, disabled, expired or revoked
    #[arg(long)]
    state: Option<String>,
    /// Only keys that are denied because their owner is suspended or removed (true), or only the others (false)
    #[arg(long, value_name = "BOOL")]
    owner_blocked: Option<bool>,
    /// Also revoked and expired keys, whatever the policy's default is
    #[arg(long)]
    all: bool,
    /// Only active keys that expire within 30d, 2w, 12h, …
    #[arg(long, value_name = "DURATION")]
    expiring: Option<Duration>,
    /// Only keys whose name contains this text
    #[arg(long)]
    query: Option<String>,
    /// Keys on a page
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Print all pages; `--all` selects keys, not pages
    #[arg(long)]
    all_pages: bool,
    /// Start of the page: the `next_cursor` of the previous one
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl KeyListArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let given = [
            ("subject", self.subject),
            ("state", self.state),
            ("owner_blocked", self.owner_blocked.map(|wanted| wanted.to_string())),
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
        let mut query: Vec<_> = given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        let client = self.common.client()?;
        let mut page = client.get("v1/api_keys", &query).await?;
        while self.all_pages
            && let Some(cursor) = cursor_of(&page)
        {
            query.retain(|(name, _)| *name != "cursor");
            query.push(("cursor", cursor));
            let next = client.get("v1/api_keys", &query).await?;
            append(&mut page, next);
        }
        output::list(self.common.connection.output, &page, &COLUMNS);
        if let Some(cursor) = cursor_of(&page) {
            output::say(&format!("more keys exist: --cursor {cursor}, or --all-pages"));
        }
        Ok(())
    }
}

fn cursor_of(page: &Value) -> Option<String> {
    page.get("next_cursor").and_then(Value::as_str).map(str::to_owned)
}

/// Appends the keys of the next page and takes over its cursor. The total remains that of the first page.
fn append(page: &mut Value, mut next: Value) {
    let Some(fields) = page.as_object_mut() else { return };
    match next.get_mut("next_cursor").map(Value::take) {
        Some(cursor) => drop(fields.insert("next_cursor".to_owned(), cursor)),
        None => drop(fields.remove("next_cursor")),
    }
    let more = next.get_mut("data").and_then(Value::as_array_mut);
    if let (Some(keys), Some(more)) = (fields.get_mut("data").and_then(Value::as_array_mut), more) {
        keys.append(more);
    }
}
