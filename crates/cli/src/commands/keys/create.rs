//! `keyreeve keys create`.

use super::targets::Common;
use crate::commands::duration::Duration;
use crate::exit::Usage;
use clap::Args;
use keyreeve_api::limits::{KeyLimit, LINE_FORM};
use serde_json::{Value, json};

/// Issue a key; its secret is shown once.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What to call it
    name: String,
    /// Who owns it, for example user_…
    #[arg(long)]
    subject: String,
    /// A longer remark
    #[arg(long)]
    description: Option<String>,
    /// What it may be used for; repeat for more
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// From where it may be used, such as 192.0.2.0/24; repeat for more
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// How often: "per-minute 120/60s burst 20 hard" or "monthly 10000/month"; repeat for more
    #[arg(long = "limit", value_name = "LIMIT", value_parser = limit)]
    limits: Vec<KeyLimit>,
    /// Claims, as a JSON object
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// When it expires: 90d, 12h, 30m, 45s or never [default: what the policy says]
    #[arg(long, value_name = "DURATION")]
    expires: Option<Duration>,
    /// Print the secret and nothing else on standard output
    #[arg(long)]
    secret_only: bool,
    #[command(flatten)]
    common: Common,
}

impl Create {
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

/// Puts a field into a wish if it was given.
pub(super) fn set(wish: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (wish.as_object_mut(), value) {
        object.insert(name.to_owned(), value);
    }
}

/// A list, if anything is in it.
pub(super) fn listed(items: &[impl serde::Serialize]) -> Option<Value> {
    (!items.is_empty()).then(|| json!(items))
}

/// A limit from the command line.
pub(super) fn limit(line: &str) -> Result<KeyLimit, String> {
    KeyLimit::of_line(line).ok_or_else(|| format!("must be {LINE_FORM}"))
}

/// Claims from the command line.
pub(super) fn claims(text: &str) -> Result<Value, Usage> {
    serde_json::from_str(text).map_err(|error| Usage(format!("--claims is not JSON: {error}")))
}
