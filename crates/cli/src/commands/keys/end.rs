//! `keyreeve keys revoke` and `keyreeve keys delete`.

use super::create::set;
use super::targets::{Common, Targets};
use clap::Args;
use serde_json::{Value, json};

/// End keys, as the tenant's policy says. When it is answered, no verifier accepts them.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    targets: Targets,
    /// Why, in words
    #[arg(long)]
    reason: Option<String>,
    /// Why, as a code: `unspecified`, `key_compromise`, `leaked`, `superseded`, `affiliation_changed`, `cessation` or
    /// `privilege_withdrawn`
    #[arg(long, value_name = "CODE")]
    reason_code: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    common: Common,
}

impl Revoke {
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

/// Destroy the records of keys. The audit log stays.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    targets: Targets,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    common: Common,
}

impl Delete {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        self.targets.confirm("Delete", self.yes)?;
        let delete = async |client: &keyreeve_client::Client, path: &str| client.delete(path).await;
        self.targets.each(&self.common, "deleted", delete).await
    }
}
