//! `keyreeve tenants`: isolation boundaries.

use super::connect::Connection;
use crate::exit::Usage;
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
    Create(Create),
    /// List tenants
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Suspend a tenant: all its keys are refused
    Suspend(One),
    /// Re-activate a suspended tenant
    Open(One),
    /// Remove a tenant: all its keys and root keys end for good
    Remove(Remove),
}

/// Create a tenant.
#[derive(Debug, Args)]
pub(crate) struct Create {
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
    connection: Connection,
}

/// A tenant.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The tenant
    slug: String,
    #[command(flatten)]
    connection: Connection,
}

/// Remove a tenant.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The tenant
    slug: String,
    /// Confirm the removal
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
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

fn path_of(slug: &str) -> Result<String, Usage> {
    let is_slug = !slug.is_empty() && slug.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match is_slug {
        true => Ok(format!("v1/tenants/{slug}")),
        false => Err(Usage(
            "a tenant's short name is lower-case letters, digits and inner hyphens".to_owned(),
        )),
    }
}

impl Create {
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

impl One {
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

impl Remove {
    async fn run(self) -> anyhow::Result<()> {
        if !self.yes {
            let what = format!("removing {} cannot be undone; add --yes to confirm", self.slug);
            return Err(Usage(what).into());
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
