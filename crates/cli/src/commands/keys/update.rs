//! `keyreeve keys update`.

use super::create::{claims, set};
use super::targets::{Common, path_of};
use crate::commands::duration::Duration;
use crate::output;
use clap::Args;
use serde_json::{Value, json};

/// Change name, description, scopes, claims or expiry. What is not named stays as it is.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The key
    id: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// A new description; empty takes it away
    #[arg(long)]
    description: Option<String>,
    /// New scopes in place of the old ones; repeat for more
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// New claims, as a JSON object or null
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// A new expiry: 90d, 12h, 30m, 45s or never
    #[arg(long, value_name = "DURATION")]
    expires: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

impl Update {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut wish = json!({});
        let description = self.description.map(|text| {
            if text.is_empty() {
                Value::Null
            } else {
                Value::String(text)
            }
        });
        set(&mut wish, "name", self.name.map(Value::String));
        set(&mut wish, "description", description);
        set(
            &mut wish,
            "scopes",
            (!self.scopes.is_empty()).then(|| json!(self.scopes)),
        );
        set(&mut wish, "claims", self.claims.as_deref().map(claims).transpose()?);
        set(
            &mut wish,
            "seconds_until_expiration",
            self.expires.map(|duration| json!(duration.0)),
        );
        let key = self.common.client()?.patch(&path_of(&self.id)?, &wish).await?;
        output::say(&format!("updated {}", self.id));
        self.common.show(&key);
        Ok(())
    }
}
