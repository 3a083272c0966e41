//! `keyreeve users`: people that can sign in. On the server's machine it works without a root key.

use super::connect::{ServerOptions, stdin};
use crate::exit::UsageError;
use crate::output;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use keyreeve_client::Client;
use serde_json::{Value, json};

const COLUMNS: [&str; 6] = ["id", "email", "name", "role", "status", "created_at"];

/// Create, list, change and remove users.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  keyreeve users create ada@example.com --role admin          prints a link that works once\n  \
                        keyreeve users create bob@example.com --password-stdin < password\n  \
                        keyreeve users invite user_…\n  keyreeve users suspend user_…\n  \
                        keyreeve users remove user_… --yes"
)]
pub(crate) enum Users {
    /// Create a user; without a password, print a one-time link for setting one
    Create(UserCreateArgs),
    /// Print a new one-time link by which a user sets a password
    Invite(UserArgs),
    /// List users
    List(UserListArgs),
    /// Change a user's name, role or password
    Update(UserUpdateArgs),
    /// Suspend a user: all their keys are refused
    Suspend(UserArgs),
    /// Re-activate a suspended user
    Open(UserArgs),
    /// Remove a user; all their keys are blocked for good
    Remove(UserRemoveArgs),
}

/// The tenant and the server.
#[derive(Debug, Args)]
pub(crate) struct UserCallOptions {
    /// The tenant [default: the root key's own, or `default`]
    #[arg(long, env = "KEYREEVE_TENANT")]
    tenant: Option<String>,
    #[command(flatten)]
    connection: ServerOptions,
}

/// Create a user.
#[derive(Debug, Args)]
pub(crate) struct UserCreateArgs {
    /// The e-mail address for signing in
    email: String,
    /// The user's name
    #[arg(long)]
    name: Option<String>,
    /// member, admin or auditor
    #[arg(long, default_value = "member")]
    role: String,
    /// Read a password from standard input (never an argument, which other users of the machine could read); only on
    /// the server's own machine (--data)
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    common: UserCallOptions,
}

/// List users.
#[derive(Debug, Args)]
pub(crate) struct UserListArgs {
    #[command(flatten)]
    common: UserCallOptions,
}

/// Change a user.
#[derive(Debug, Args)]
pub(crate) struct UserUpdateArgs {
    /// The user
    id: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// A new role
    #[arg(long)]
    role: Option<String>,
    /// Read a new password from standard input; only on the server's own machine (--data)
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    common: UserCallOptions,
}

/// A user.
#[derive(Debug, Args)]
pub(crate) struct UserArgs {
    /// The user
    id: String,
    #[command(flatten)]
    common: UserCallOptions,
}

/// Remove a user.
#[derive(Debug, Args)]
pub(crate) struct UserRemoveArgs {
    /// The user
    id: String,
    /// Confirm the removal
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    common: UserCallOptions,
}

impl Users {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run().await,
            Self::Invite(one) => one.invite().await,
            Self::List(list) => list.run().await,
            Self::Update(update) => update.run().await,
            Self::Suspend(one) => one.common.patch(&one.id, &json!({ "status": "suspended" })).await,
            Self::Open(one) => one.common.patch(&one.id, &json!({ "status": "active" })).await,
            Self::Remove(remove) => remove.run().await,
        }
    }
}

fn path_of(id: &str) -> Result<String, UsageError> {
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match is_id {
        true => Ok(format!("v1/users/{id}")),
        false => Err(UsageError("a user's id is user_ and 32 hex digits".to_owned())),
    }
}

/// Reads the password, without the line end of a terminal or `echo`.
fn password(is_asked_for: bool) -> anyhow::Result<Option<String>> {
    match is_asked_for {
        true => Ok(Some(stdin()?.trim_end_matches(['\r', '\n']).to_owned())),
        false => Ok(None),
    }
}

impl UserCallOptions {
    async fn patch(&self, id: &str, wish: &Value) -> anyhow::Result<()> {
        let (path, tenant) = (path_of(id)?, self.tenant.clone());
        let changed = self
            .connection
            .with_server(async |client| Ok(client.for_tenant(tenant).patch(&path, wish).await?))
            .await?;
        output::one(self.connection.output, &changed);
        Ok(())
    }
}

impl UserCreateArgs {
    async fn run(self) -> anyhow::Result<()> {
        let password = password(self.password_stdin)?;
        let wish = json!({ "email": self.email, "name": self.name, "role": self.role, "password": password });
        let tenant = self.common.tenant.clone();
        let connection = &self.common.connection;
        let make = async |client: Client| {
            let client = client.for_tenant(tenant);
            let mut made = client.post("v1/users", &wish).await?;
            if !self.password_stdin {
                let id = made.get("id").and_then(Value::as_str).unwrap_or_default();
                let invited = invite(&client, id).await;
                let invitation =
                    invited.with_context(|| format!("the user was created; try again: keyreeve users invite {id}"))?;
                add(&mut made, &invitation);
            }
            Ok(made)
        };
        let made = connection.with_server(make).await?;
        output::one(connection.output, &made);
        Ok(())
    }
}

/// Creates a link by which a user sets a password.
async fn invite(client: &Client, id: &str) -> anyhow::Result<Value> {
    let path = format!("{}/invite", path_of(id)?);
    let invitation = client.post(&path, &json!({})).await?;
    output::say("The link sets the user's password. It works once, and is not shown again.");
    Ok(invitation)
}

/// Adds a link to the user that it is for.
fn add(user: &mut Value, invitation: &Value) {
    for (name, field) in [("link", "link"), ("link_expires_at", "expires_at")] {
        if let (Some(fields), Some(value)) = (user.as_object_mut(), invitation.get(field)) {
            fields.insert(name.to_owned(), value.clone());
        }
    }
}

impl UserArgs {
    async fn invite(self) -> anyhow::Result<()> {
        let tenant = self.common.tenant.clone();
        let connection = &self.common.connection;
        let invitation = connection
            .with_server(async |client| invite(&client.for_tenant(tenant), &self.id).await)
            .await?;
        output::one(connection.output, &invitation);
        Ok(())
    }
}

impl UserListArgs {
    async fn run(self) -> anyhow::Result<()> {
        let tenant = self.common.tenant.clone();
        let connection = &self.common.connection;
        let found = connection
            .with_server(async |client| Ok(client.for_tenant(tenant).get("v1/users", &[]).await?))
            .await?;
        output::list(connection.output, &found, &COLUMNS);
        Ok(())
    }
}

impl UserUpdateArgs {
    async fn run(self) -> anyhow::Result<()> {
        let mut wish = json!({});
        let password = password(self.password_stdin)?;
        for (field, value) in [("name", self.name), ("role", self.role), ("password", password)] {
            if let (Some(value), Some(fields)) = (value, wish.as_object_mut()) {
                fields.insert(field.to_owned(), Value::String(value));
            }
        }
        self.common.patch(&self.id, &wish).await
    }
}

impl UserRemoveArgs {
    async fn run(self) -> anyhow::Result<()> {
        if !self.yes {
            let what = format!("removing {} cannot be undone; add --yes to confirm", self.id);
            return Err(UsageError(what).into());
        }
        let (path, tenant) = (path_of(&self.id)?, self.common.tenant.clone());
        let connection = &self.common.connection;
        let removed = connection
            .with_server(async |client| Ok(client.for_tenant(tenant).delete(&path).await?))
            .await?;
        output::one(connection.output, &removed);
        Ok(())
    }
}
