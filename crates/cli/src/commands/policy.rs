//! `keyreeve policy`: the rules of a tenant for its keys.

use super::connect::{ServerOptions, stdin};
use crate::exit::UsageError;
use crate::output;
use clap::{Args, Subcommand};
use keyreeve_client::Client;
use serde_json::{Value, json};

/// Show and replace a tenant's policy.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  keyreeve policy get -o json\n  keyreeve policy set --preset erase --prefix uspl\n  \
                        keyreeve policy get -o json > policy.json\n  keyreeve policy set --file policy.json"
)]
pub(crate) enum PolicyCommand {
    /// Show the policy
    Get(PolicyGetArgs),
    /// Replace the policy: a preset, and options that override it
    Set(Set),
}

/// Show the policy.
#[derive(Debug, Args)]
pub(crate) struct PolicyGetArgs {
    /// Print only its version, for `keyreeve policy set --if-match`
    #[arg(long)]
    etag: bool,
    /// The tenant [default: the root key's own, or `default`]
    #[arg(long, env = "KEYREEVE_TENANT")]
    tenant: Option<String>,
    #[command(flatten)]
    connection: ServerOptions,
}

/// Replace the policy.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// erase, hold, keep or standard
    #[arg(long)]
    preset: Option<String>,
    /// The prefix of every new secret
    #[arg(long)]
    prefix: Option<String>,
    /// Most keys of one owner
    #[arg(long, value_name = "N")]
    keys_per_subject: Option<u32>,
    /// What happens to a key whose secret leaked: revoke, hold or notify
    #[arg(long, value_name = "ACTION")]
    leaks: Option<String>,
    /// A policy document in JSON; `-` reads it from standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["preset", "prefix", "keys_per_subject", "leaks"])]
    file: Option<String>,
    /// Only if the policy still has the version that `keyreeve policy get --etag` printed
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// The tenant [default: the root key's own, or `default`]
    #[arg(long, env = "KEYREEVE_TENANT")]
    tenant: Option<String>,
    #[command(flatten)]
    connection: ServerOptions,
}

impl PolicyCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Get(get) => get.run().await,
            Self::Set(set) => set.run().await,
        }
    }
}

impl PolicyGetArgs {
    async fn run(self) -> anyhow::Result<()> {
        let tenant = self.tenant.clone();
        if self.etag {
            let read = async |client: Client| Ok(client.for_tenant(tenant).etag("v1/policy").await?);
            output::print(&self.connection.with_server(read).await?);
            return Ok(());
        }
        let policy = self
            .connection
            .with_server(async |client| Ok(client.for_tenant(tenant).get("v1/policy", &[]).await?))
            .await?;
        output::one(self.connection.output, &policy);
        Ok(())
    }
}

impl Set {
    async fn run(self) -> anyhow::Result<()> {
        let wish = self.wish()?;
        let (tenant, etag) = (self.tenant.clone(), self.if_match.clone());
        let put = async |client: Client| Ok(client.for_tenant(tenant).only_if(etag).put("v1/policy", &wish).await?);
        let policy = self.connection.with_server(put).await?;
        let count = policy.pointer("/not_allowed_today/count").and_then(Value::as_u64);
        if let Some(count) = count.filter(|&count| count > 0) {
            output::say(&format!(
                "{count} existing keys would not be allowed today; they keep working (-o json lists them)"
            ));
        }
        output::one(self.connection.output, &policy);
        Ok(())
    }

    fn wish(&self) -> anyhow::Result<Value> {
        let Some(file) = &self.file else {
            let limit = self.keys_per_subject.map(|max| json!({ "keys_per_subject": max }));
            let leaks = self.leaks.as_ref().map(|action| json!({ "action": action }));
            return Ok(json!({ "preset": self.preset, "prefix": self.prefix, "limit": limit, "leaks": leaks }));
        };
        let text = match file.as_str() {
            "-" => stdin()?,
            path => {
                std::fs::read_to_string(path).map_err(|error| UsageError(format!("cannot read {path}: {error}")))?
            }
        };
        let mut wish: Value = serde_json::from_str(&text).map_err(|error| UsageError(format!("not JSON: {error}")))?;
        // The output of `policy set -o json` is accepted as input.
        if let Some(fields) = wish.as_object_mut() {
            fields.remove("not_allowed_today");
        }
        Ok(wish)
    }
}
