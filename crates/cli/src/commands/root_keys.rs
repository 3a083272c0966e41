//! `keyreeve root-keys`: the credentials of the management API. On the server's machine it works without a root key.

use super::connect::ServerOptions;
use crate::exit::UsageError;
use crate::output;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const COLUMNS: [&str; 6] = ["id", "name", "tenant", "permissions", "created_at", "revoked_at"];
const ALL: [&str; 10] = [
    "keys:read",
    "keys:write",
    "keys:verify",
    "policy:read",
    "policy:write",
    "users:write",
    "users:act",
    "audit:read",
    "tenants:write",
    "root_keys:write",
];

/// Create, list and revoke root keys.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  keyreeve root-keys create verifier --permission keys:verify --secret-only\n  \
                        keyreeve root-keys create --tenant acme\n  keyreeve root-keys revoke rk_…"
)]
pub(crate) enum RootKeys {
    /// Create a root key; without `--permission` it gets every permission that its reach allows
    Create(RootKeyCreateArgs),
    /// List root keys
    List {
        #[command(flatten)]
        connection: ServerOptions,
    },
    /// Revoke a root key
    Revoke {
        /// The root key
        id: String,
        #[command(flatten)]
        connection: ServerOptions,
    },
}

/// Create a root key.
#[derive(Debug, Args)]
pub(crate) struct RootKeyCreateArgs {
    /// Its name
    #[arg(default_value = "made by command line")]
    name: String,
    /// Bind it to this tenant; without one it is for the instance
    #[arg(long, env = "KEYREEVE_TENANT")]
    tenant: Option<String>,
    /// A permission, for example keys:read; repeat for more
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Vec<String>,
    /// Print only the secret on standard output
    #[arg(long)]
    secret_only: bool,
    #[command(flatten)]
    connection: ServerOptions,
}

impl RootKeys {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List { connection } => {
                let found = connection
                    .with_server(async |client| Ok(client.get("v1/root_keys", &[]).await?))
                    .await?;
                output::list(connection.output, &found, &COLUMNS);
                Ok(())
            }
            Self::Revoke { id, connection } => {
                if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                    return Err(UsageError("a root key's id is rk_ and 32 hex digits".to_owned()).into());
                }
                let path = format!("v1/root_keys/{id}");
                let revoked = connection
                    .with_server(async |client| Ok(client.delete(&path).await?))
                    .await?;
                output::say(&format!("revoked {id}"));
                output::one(connection.output, &revoked);
                Ok(())
            }
        }
    }
}

impl RootKeyCreateArgs {
    async fn run(self) -> anyhow::Result<()> {
        let is_bound = self.tenant.is_some();
        let permissions = match self.permissions.is_empty() {
            false => self.permissions,
            true => ALL
                .iter()
                .filter(|&&one| !is_bound || one != "tenants:write")
                .map(|&one| one.to_owned())
                .collect(),
        };
        let wish = json!({ "name": self.name, "tenant": self.tenant, "permissions": permissions });
        let made = self
            .connection
            .with_server(async |client| Ok(client.post("v1/root_keys", &wish).await?))
            .await?;
        if self.secret_only {
            output::print(made.get("secret").and_then(Value::as_str).unwrap_or_default());
        } else {
            output::say("The secret is shown this once and not stored: keep it.");
            output::one(self.connection.output, &made);
        }
        Ok(())
    }
}
