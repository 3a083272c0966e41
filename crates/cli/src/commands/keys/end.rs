//! `keyreeve keys revoke`, `finalize`, `delete` and `purge`.

use super::create::set;
use super::targets::{KeyCallOptions, Targets};
use crate::commands::duration::Duration;
use crate::exit::UsageError;
use clap::Args;
use serde_json::{Value, json};

/// Revoke keys, as the tenant's policy defines it. When the command ends, no verifier accepts them.
#[derive(Debug, Args)]
pub(crate) struct KeyRevokeArgs {
    #[command(flatten)]
    targets: Targets,
    /// The reason, in words
    #[arg(long)]
    reason: Option<String>,
    /// The reason, as a code: `unspecified`, `key_compromise`, `leaked`, `superseded`, `affiliation_changed`,
    /// `cessation` or `privilege_withdrawn`
    #[arg(long, value_name = "CODE")]
    reason_code: Option<String>,
    /// Skip the confirmation
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl KeyRevokeArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        self.targets.confirm("Revoke", self.yes)?;
        let mut wish = json!({});
        set(&mut wish, "revocation_reason", self.reason.map(Value::String));
        set(&mut wish, "reason_code", self.reason_code.map(Value::String));
        let revoke =
            async |client: &keyreeve_client::Client, path: &str| client.post(&format!("{path}/revoke"), &wish).await;
        self.targets.each(&self.common, "revoked", revoke).await
    }
}

/// Delete the records of keys. The audit log keeps its entries.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    targets: Targets,
    /// Skip the confirmation
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl Delete {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        self.targets.confirm("Delete", self.yes)?;
        let delete = async |client: &keyreeve_client::Client, path: &str| client.delete(path).await;
        self.targets.each(&self.common, "deleted", delete).await
    }
}

/// Finalize revocations that can still be undone.
#[derive(Debug, Args)]
pub(crate) struct Finalize {
    #[command(flatten)]
    targets: Targets,
    /// Skip the confirmation
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl Finalize {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        self.targets.confirm("Finalize", self.yes)?;
        let finalize = async |client: &keyreeve_client::Client, path: &str| {
            client.post(&format!("{path}/finalize"), &json!({})).await
        };
        self.targets.each(&self.common, "finalized", finalize).await
    }
}

/// Delete the records of keys that were revoked, or that expired, long ago. Their secrets remain refused, and the audit
/// log keeps its entries.
#[derive(Debug, Args)]
pub(crate) struct Purge {
    /// Keys that were revoked longer ago than this: 400d, 52w, …
    #[arg(long, value_name = "DURATION", required_unless_present = "expired_before")]
    revoked_before: Option<Duration>,
    /// Keys that expired longer ago than this and are not disabled
    #[arg(long, value_name = "DURATION")]
    expired_before: Option<Duration>,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl Purge {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let before = |wish: Option<Duration>| {
            let seconds = wish.map(|wish| {
                wish.0
                    .ok_or_else(|| UsageError("name a duration such as 400d".to_owned()))
            });
            seconds.transpose().map(|seconds| seconds.map(crate::output::ago))
        };
        let (revoked, expired) = (before(self.revoked_before)?, before(self.expired_before)?);
        let wish = json!({ "revoked_before": revoked, "expired_before": expired });
        let client = self.common.client()?;
        loop {
            let purged = client.post("v1/api_keys/purge", &wish).await?;
            self.common.show(&purged);
            if purged.get("has_more").and_then(Value::as_bool) != Some(true) {
                return Ok(());
            }
        }
    }
}
