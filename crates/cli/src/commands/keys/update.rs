//! `keyreeve keys update`.

use super::create::{claims, limit, listed, set};
use super::targets::{KeyCallOptions, path_of};
use crate::commands::duration::Duration;
use crate::output;
use clap::Args;
use keyreeve_api::limits::KeyLimit;
use serde_json::{Value, json};

/// Change name, description, scopes, limits, claims or expiry. Options that are not given remain unchanged.
#[derive(Debug, Args)]
pub(crate) struct KeyUpdateArgs {
    /// The key
    id: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// A new description; empty removes it
    #[arg(long)]
    description: Option<String>,
    /// New scopes, which replace all others; repeat for more
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// New networks, which replace all others; repeat for more
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// Remove the network allow-list
    #[arg(long, conflicts_with = "networks")]
    no_networks: bool,
    /// New limits, which replace all others; repeat for more
    #[arg(long = "limit", value_name = "LIMIT", value_parser = limit)]
    limits: Vec<KeyLimit>,
    /// Remove all limits
    #[arg(long, conflicts_with = "limits")]
    no_limits: bool,
    /// New claims, as a JSON object or null
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// A new expiry: 90d, 12h, 1h30m, 1w or never
    #[arg(long, value_name = "DURATION")]
    expires: Option<Duration>,
    /// Only if the key still has the version that `keyreeve keys get ID --etag` printed
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl KeyUpdateArgs {
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
        let taken_away = |is_wished: bool| is_wished.then_some(Value::Null);
        set(&mut wish, "scopes", listed(&self.scopes));
        let networks = listed(&self.networks).or(taken_away(self.no_networks));
        set(&mut wish, "allowed_networks", networks);
        set(&mut wish, "limits", listed(&self.limits).or(taken_away(self.no_limits)));
        set(&mut wish, "claims", self.claims.as_deref().map(claims).transpose()?);
        set(
            &mut wish,
            "seconds_until_expiration",
            self.expires.map(|duration| json!(duration.0)),
        );
        let client = self.common.client()?.only_if(self.if_match);
        let key = client.patch(&path_of(&self.id)?, &wish).await?;
        output::say(&format!("updated {}", self.id));
        self.common.show(&key);
        Ok(())
    }
}
