//! `keyreeve check-policies`: what gateways require of keys.

use super::connect::ServerOptions;
use crate::exit::UsageError;
use crate::output;
use clap::{Args, Subcommand};
use keyreeve_client::Client;
use serde_json::{Map, Value, json};

const COLUMNS: [&str; 6] = [
    "name",
    "scopes",
    "key_headers",
    "gateway_credential",
    "cache_max_age_seconds",
    "updated_at",
];

/// Manage what gateways require of keys.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  keyreeve check-policies list\n  keyreeve check-policies create orders --scope orders:read\n  \
                        keyreeve check-policies change orders --key-header X-API-Key --meta true\n  \
                        keyreeve check-policies remove orders"
)]
pub(crate) enum CheckPolicies {
    /// List check policies, including `default`
    List(All),
    /// Show a check policy
    Get(CheckPolicyArgs),
    /// Create a check policy
    Create(Write),
    /// Change a check policy, including `default`; options that are not given remain unchanged
    Change(Write),
    /// Remove a check policy: gateways that still name it let no request through; `default` gets its initial form
    Remove(CheckPolicyArgs),
}

/// Options for all commands.
#[derive(Debug, Args)]
pub(crate) struct All {
    /// The tenant [default: the root key's own, or `default`]
    #[arg(long, env = "KEYREEVE_TENANT")]
    tenant: Option<String>,
    #[command(flatten)]
    connection: ServerOptions,
}

/// One check policy.
#[derive(Debug, Args)]
pub(crate) struct CheckPolicyArgs {
    /// The name that gateways use
    name: String,
    #[command(flatten)]
    all: All,
}

/// Options to create or change a check policy.
#[derive(Debug, Args)]
pub(crate) struct Write {
    #[command(flatten)]
    one: CheckPolicyArgs,
    /// A scope that a key must hold; repeat for more
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Require no scope
    #[arg(long, conflicts_with = "scopes")]
    no_scopes: bool,
    /// A header that may contain the key; repeat for more, in order
    #[arg(long = "key-header", value_name = "NAME")]
    key_headers: Vec<String>,
    /// Whether the key's claims are passed on in X-Keyreeve-Meta
    #[arg(long, value_name = "true|false")]
    meta: Option<bool>,
    /// Seconds for which a gateway may cache an answer that lets a request through
    #[arg(long, value_name = "SECONDS")]
    cache_max_age_seconds: Option<u32>,
    /// The realm of a 401
    #[arg(long)]
    realm: Option<String>,
    /// Whether the gateway must send a root key: none or required
    #[arg(long, value_name = "none|required")]
    gateway_credential: Option<String>,
}

impl CheckPolicies {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(all) => {
                let found = all.ask(async |client| Ok(client.get("v1/check_policies", &[]).await?));
                output::list(all.connection.output, &found.await?, &COLUMNS);
                Ok(())
            }
            Self::Get(one) => {
                let path = path_of(&one.name)?;
                let found = one.all.ask(async |client| Ok(client.get(&path, &[]).await?)).await?;
                output::one(one.all.connection.output, &found);
                Ok(())
            }
            Self::Create(write) => write.create().await,
            Self::Change(write) => write.change().await,
            Self::Remove(one) => {
                let path = path_of(&one.name)?;
                let removed = one.all.ask(async |client| Ok(client.delete(&path).await?)).await?;
                output::say(&format!(
                    "removed {}; gateways that name it deny every request",
                    one.name
                ));
                output::one(one.all.connection.output, &removed);
                Ok(())
            }
        }
    }
}

fn path_of(name: &str) -> Result<String, UsageError> {
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match is_name {
        true => Ok(format!("v1/check_policies/{name}")),
        false => Err(UsageError(
            "a check policy's name is lower-case letters, digits and inner hyphens".to_owned(),
        )),
    }
}

impl All {
    async fn ask(&self, call: impl AsyncFnOnce(Client) -> anyhow::Result<Value>) -> anyhow::Result<Value> {
        let tenant = self.tenant.clone();
        self.connection
            .with_server(async |client| call(client.for_tenant(tenant)).await)
            .await
    }
}

impl Write {
    async fn create(self) -> anyhow::Result<()> {
        let mut wish = self.wish();
        wish.insert("name".to_owned(), json!(self.one.name));
        let wish = Value::Object(wish);
        let all = &self.one.all;
        let made = all
            .ask(async |client| Ok(client.post("v1/check_policies", &wish).await?))
            .await?;
        output::say(&format!(
            "created {0}; a gateway's configuration: keyreeve gateways snippet nginx --policy {0}",
            self.one.name
        ));
        output::one(all.connection.output, &made);
        Ok(())
    }

    async fn change(self) -> anyhow::Result<()> {
        let (path, wish) = (path_of(&self.one.name)?, Value::Object(self.wish()));
        let all = &self.one.all;
        let changed = all.ask(async |client| Ok(client.patch(&path, &wish).await?)).await?;
        output::say(&format!("changed {}", self.one.name));
        output::one(all.connection.output, &changed);
        Ok(())
    }

    /// Returns the fields that were given.
    fn wish(&self) -> Map<String, Value> {
        let scopes = (!self.scopes.is_empty() || self.no_scopes).then_some(&self.scopes);
        let key_headers = (!self.key_headers.is_empty()).then_some(&self.key_headers);
        let fields = [
            ("scopes", scopes.map(|scopes| json!(scopes))),
            ("key_headers", key_headers.map(|headers| json!(headers))),
            ("meta", self.meta.map(|meta| json!(meta))),
            (
                "cache_max_age_seconds",
                self.cache_max_age_seconds.map(|seconds| json!(seconds)),
            ),
            ("realm", self.realm.as_ref().map(|realm| json!(realm))),
            (
                "gateway_credential",
                self.gateway_credential.as_ref().map(|word| json!(word)),
            ),
        ];
        let named = fields.into_iter();
        named
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}
