//! `keyreeve keys disable` and `keyreeve keys reactivate`.

use super::create::set;
use super::targets::{Common, Targets};
use clap::Args;
use serde_json::{Value, json};

/// Disable keys.
#[derive(Debug, Args)]
pub(crate) struct Disable {
    #[command(flatten)]
    hold: Hold,
}

/// Re-activate keys: the same secrets are accepted again.
#[derive(Debug, Args)]
pub(crate) struct Reactivate {
    #[command(flatten)]
    hold: Hold,
}

#[derive(Debug, Args)]
struct Hold {
    #[command(flatten)]
    targets: Targets,
    /// The reason, in words
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Disable {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        self.hold.run("disable", "disabled").await
    }
}

impl Reactivate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        self.hold.run("reactivate", "re-activated").await
    }
}

impl Hold {
    async fn run(self, verb: &str, done: &str) -> anyhow::Result<()> {
        let mut wish = json!({});
        set(&mut wish, "reason", self.reason.map(Value::String));
        let change =
            async |client: &keyreeve_client::Client, path: &str| client.post(&format!("{path}/{verb}"), &wish).await;
        self.targets.each(&self.common, done, change).await
    }
}
