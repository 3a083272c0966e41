//! `keyreeve keys create`.

use super::targets::Common;
use crate::commands::duration::Duration;
use crate::exit::Usage;
use clap::Args;
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

/// Claims from the command line.
pub(super) fn claims(text: &str) -> Result<Value, Usage> {
    serde_json::from_str(text).map_err(|error| Usage(format!("--claims is not JSON: {error}")))
}
