//! `keyreeve tenants`: isolation boundaries.

use super::connect::ServerOptions;
use crate::exit::UsageError;
use crate::output;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const COLUMNS: [&str; 5] = ["slug", "name", "preset", "status", "created_at"];

/// Create, list, suspend and remove tenants.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  keyreeve tenants create acme --preset keep\n  keyreeve tenants suspend acme\n  \
                        keyreeve tenants remove acme --yes"
)]
pub(crate) enum Tenants {
    /// Create a tenant; its first root key is shown once
    Create(TenantCreateArgs),
    /// List tenants
    List {
        #[command(flatten)]
        connection: ServerOptions,
    },
    /// Suspend a tenant: all its keys are refused
    Suspend(TenantArgs),
    /// Re-activate a suspended tenant
    Open(TenantArgs),
    /// Remove a tenant: all its keys and root keys end for good
    Remove(TenantRemoveArgs),
}

/// Create a tenant.
#[derive(Debug, Args)]
pub(crate) struct TenantCreateArgs {
    /// Its short name, which never changes
    slug: String,
    /// Its name for people [default: the short name]
    #[arg(long)]
    name: Option<String>,
    /// The preset of its policy: erase, hold, keep or standard
    #[arg(long, default_value = "standard")]
    preset: String,
    /// Print only the first root key on standard output
    #[arg(long)]
    secret_only: bool,
    #[command(flatten)]
    connection: ServerOptions,
}

/// A tenant.
#[derive(Debug, Args)]
pub(crate) struct TenantArgs {
    /// The tenant
    slug: String,
    #[command(flatten)]
    connection: ServerOptions,
}

/// Remove a tenant.
#[derive(Debug, Args)]
pub(crate) struct TenantRemoveArgs {
    /// The tenant
    slug: String,
    /// Confirm the removal
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    connection: ServerOptions,
}

impl Tenants {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List { connection } => {
                let found = connection
                    .with_server(async |client| Ok(client.get("v1/tenants", &[]).await?))
                    .await?;
                output::list(connection.output, &found, &COLUMNS);
                Ok(())
            }
            Self::Suspend(one) => one.set("suspended").await,
            Self::Open(one) => one.set("active").await,
            Self::Remove(remove) => remove.run().await,
        }
    }
}

fn path_of(slug: &str) -> Result<String, UsageError> {
    let is_slug = !slug.is_empty() && slug.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match is_slug {
        true => Ok(format!("v1/tenants/{slug}")),
        false => Err(UsageError(
            "a tenant's short name is lower-case letters, digits and inner hyphens".to_owned(),
        )),
    }
}

impl TenantCreateArgs {
    async fn run(self) -> anyhow::Result<()> {
        let name = self.name.as_ref().unwrap_or(&self.slug);
        let wish = json!({ "slug": self.slug, "name": name, "preset": self.preset });
        let made = self
            .connection
            .with_server(async |client| Ok(client.post("v1/tenants", &wish).await?))
            .await?;
        if self.secret_only {
            let secret = made.pointer("/root_key/secret").and_then(Value::as_str);
            output::print(secret.unwrap_or_default());
        } else {
            output::say("The root key's secret (root_key.secret) is shown this once and not stored: keep it.");
            output::one(self.connection.output, &made);
        }
        Ok(())
    }
}

impl TenantArgs {
    async fn set(self, status: &str) -> anyhow::Result<()> {
        let (path, wish) = (path_of(&self.slug)?, json!({ "status": status }));
        let changed = self
            .connection
            .with_server(async |client| Ok(client.patch(&path, &wish).await?))
            .await?;
        output::one(self.connection.output, &changed);
        Ok(())
    }
}

impl TenantRemoveArgs {
    async fn run(self) -> anyhow::Result<()> {
        if !self.yes {
            let what = format!("removing {} cannot be undone; add --yes to confirm", self.slug);
            return Err(UsageError(what).into());
        }
        let path = path_of(&self.slug)?;
        let removed = self
            .connection
            .with_server(async |client| Ok(client.delete(&path).await?))
            .await?;
        output::one(self.connection.output, &removed);
        Ok(())
    }
}
