//! `keyreeve keys create`.

use super::targets::KeyCallOptions;
use crate::commands::duration::Duration;
use crate::exit::UsageError;
use clap::Args;
use keyreeve_api::limits::{KeyLimit, LINE_FORM};
use serde_json::{Value, json};

/// Issue a key; its secret is shown once.
#[derive(Debug, Args)]
pub(crate) struct KeyCreateArgs {
    /// Its name
    name: String,
    /// Its owner, for example user_…
    #[arg(long)]
    subject: String,
    /// A longer description
    #[arg(long)]
    description: Option<String>,
    /// A scope of the key; repeat for more
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A network from which it may be used, such as 192.0.2.0/24; repeat for more
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// A limit: "per-minute 120/60s burst 20 hard" or "monthly 10000/month"; repeat for more
    #[arg(long = "limit", value_name = "LIMIT", value_parser = limit)]
    limits: Vec<KeyLimit>,
    /// Claims, as a JSON object
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// Its expiry: 90d, 12h, 1h30m, 1w or never [default: the policy's]
    #[arg(long, value_name = "DURATION")]
    expires: Option<Duration>,
    /// Print only the secret on standard output
    #[arg(long)]
    secret_only: bool,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl KeyCreateArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut wish = json!({ "name": self.name, "subject": self.subject, "scopes": self.scopes });
        set(&mut wish, "allowed_networks", listed(&self.networks));
        set(&mut wish, "limits", listed(&self.limits));
        set(&mut wish, "description", self.description.map(Value::String));
        set(&mut wish, "claims", self.claims.as_deref().map(claims).transpose()?);
        set(
            &mut wish,
            "seconds_until_expiration",
            self.expires.map(|duration| json!(duration.0)),
        );
        let key = self.common.client()?.post("v1/api_keys", &wish).await?;
        self.common.show_secret(&key, self.secret_only);
        Ok(())
    }
}

/// Adds a field to a request if it has a value.
pub(super) fn set(wish: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (wish.as_object_mut(), value) {
        object.insert(name.to_owned(), value);
    }
}

/// Returns a list, unless it is empty.
pub(super) fn listed(items: &[impl serde::Serialize]) -> Option<Value> {
    (!items.is_empty()).then(|| json!(items))
}

/// Parses a limit.
pub(super) fn limit(line: &str) -> Result<KeyLimit, String> {
    KeyLimit::of_line(line).ok_or_else(|| format!("must be {LINE_FORM}"))
}

/// Parses claims.
pub(super) fn claims(text: &str) -> Result<Value, UsageError> {
    serde_json::from_str(text).map_err(|error| UsageError(format!("--claims is not JSON: {error}")))
}
