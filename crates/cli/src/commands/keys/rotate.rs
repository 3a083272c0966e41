//! `keyreeve keys rotate`.

use super::create::set;
use super::targets::{KeyCallOptions, path_of};
use crate::commands::duration::Duration;
use clap::Args;
use serde_json::{Value, json};

/// Give a key a new secret.
#[derive(Debug, Args)]
pub(crate) struct KeyRotateArgs {
    /// The key
    id: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// A new expiry: 90d, 12h, 1h30m, 1w or never [default: the present one]
    #[arg(long, value_name = "DURATION")]
    expires: Option<Duration>,
    /// How long the old secret is still accepted [default: the policy's]
    #[arg(long, value_name = "DURATION")]
    overlap: Option<Duration>,
    /// Print only the secret on standard output
    #[arg(long)]
    secret_only: bool,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl KeyRotateArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut wish = json!({});
        set(&mut wish, "name", self.name.map(Value::String));
        set(
            &mut wish,
            "seconds_until_expiration",
            self.expires.map(|duration| json!(duration.0)),
        );
        set(
            &mut wish,
            "overlap_seconds",
            self.overlap
                .and_then(|duration| duration.0)
                .map(|seconds| json!(seconds)),
        );
        let path = format!("{}/rotate", path_of(&self.id)?);
        let key = self.common.client()?.post(&path, &wish).await?;
        self.common.show_secret(&key, self.secret_only);
        Ok(())
    }
}
