//! `keyreeve root-keys`: the credentials of the management API. On the server's machine it works without a root key.

use super::connect::ServerOptions;
use super::duration::{Duration, fixed};
use crate::exit::UsageError;
use crate::output;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const COLUMNS: [&str; 8] = [
    "id",
    "name",
    "tenant",
    "permissions",
    "created_at",
    "last_used_at",
    "expires_at",
    "revoked_at",
];
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

/// Create, list, rotate and revoke root keys.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  keyreeve root-keys create verifier --permission keys:verify --secret-only\n  \
                  keyreeve root-keys create --tenant acme --expires 52w --network 192.0.2.0/24\n  \
                  keyreeve root-keys rotate rk_… --overlap 1h\n  keyreeve root-keys revoke rk_…"
)]
pub(crate) enum RootKeys {
    /// Create a root key; without `--permission` it gets every permission that its reach allows
    Create(RootKeyCreateArgs),
    /// List root keys
    List {
        #[command(flatten)]
        connection: ServerOptions,
    },
    /// Give a root key a new secret
    Rotate(Rotate),
    /// End the overlap of a rotation now
    FinishRotation {
        /// The root key
        id: String,
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
    /// Its expiry: 90d, 12h, 1h30m, 52w or never [default: that of the root key that creates it]
    #[arg(long, value_name = "DURATION")]
    expires: Option<Duration>,
    /// A network from which it may be used, such as 192.0.2.0/24; repeat for more [default: any]
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// Print only the secret on standard output
    #[arg(long)]
    secret_only: bool,
    #[command(flatten)]
    connection: ServerOptions,
}

/// Give a root key a new secret.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// The root key
    id: String,
    /// How long the present secret is still accepted: 1h, 1d; 0 is not at all
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = overlap)]
    overlap: u64,
    /// A new expiry: 90d, 12h, 52w or never [default: the present one]
    #[arg(long, value_name = "DURATION")]
    expires: Option<Duration>,
    /// Print only the secret on standard output
    #[arg(long)]
    secret_only: bool,
    #[command(flatten)]
    connection: ServerOptions,
}

/// Parses an overlap, in seconds.
fn overlap(text: &str) -> Result<u64, String> {
    match text {
        "0" => Ok(0),
        _ => Ok(fixed(text).map_err(|why| format!("{why}; or 0"))?.as_secs()),
    }
}

/// Returns the path of a root key. Only characters of an id may get into a path.
fn path_of(id: &str) -> Result<String, UsageError> {
    match id.starts_with("rk_") && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        true => Ok(format!("v1/root_keys/{id}")),
        false => Err(UsageError("a root key's id is rk_ and 32 hex digits".to_owned())),
    }
}

fn show_secret(root_key: &Value, secret_only: bool, connection: &ServerOptions) {
    if secret_only {
        output::print(root_key.get("secret").and_then(Value::as_str).unwrap_or_default());
    } else {
        output::say("The secret is shown this once and not stored: keep it.");
        output::one(connection.output, root_key);
    }
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
            Self::Rotate(rotate) => rotate.run().await,
            Self::FinishRotation { id, connection } => {
                let path = format!("{}/rotate/finish", path_of(&id)?);
                let finished = connection
                    .with_server(async |client| Ok(client.post(&path, &json!({})).await?))
                    .await?;
                output::one(connection.output, &finished);
                Ok(())
            }
            Self::Revoke { id, connection } => {
                let path = path_of(&id)?;
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
        let mut wish = json!({ "name": self.name, "tenant": self.tenant, "permissions": permissions });
        if let Some(expires) = self.expires {
            insert(&mut wish, "seconds_until_expiration", json!(expires.0));
        }
        if !self.networks.is_empty() {
            insert(&mut wish, "allowed_networks", json!(self.networks));
        }
        let made = self
            .connection
            .with_server(async |client| Ok(client.post("v1/root_keys", &wish).await?))
            .await?;
        show_secret(&made, self.secret_only, &self.connection);
        Ok(())
    }
}

impl Rotate {
    async fn run(self) -> anyhow::Result<()> {
        let path = format!("{}/rotate", path_of(&self.id)?);
        let mut wish = json!({ "overlap_seconds": self.overlap });
        if let Some(expires) = self.expires {
            insert(&mut wish, "seconds_until_expiration", json!(expires.0));
        }
        let rotated = self
            .connection
            .with_server(async |client| Ok(client.post(&path, &wish).await?))
            .await?;
        show_secret(&rotated, self.secret_only, &self.connection);
        Ok(())
    }
}

fn insert(wish: &mut Value, name: &str, value: Value) {
    if let Some(fields) = wish.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}
