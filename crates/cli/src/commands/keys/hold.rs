//! `keyreeve keys disable` and `keyreeve keys reactivate`.

use super::create::set;
use super::targets::{KeyCallOptions, Targets};
use clap::Args;
use serde_json::{Value, json};

/// Disable keys.
#[derive(Debug, Args)]
pub(crate) struct Disable {
    #[command(flatten)]
    hold: KeyHoldArgs,
}

/// Re-activate keys: the same secrets are accepted again.
#[derive(Debug, Args)]
pub(crate) struct KeyReactivateArgs {
    #[command(flatten)]
    hold: KeyHoldArgs,
}

#[derive(Debug, Args)]
struct KeyHoldArgs {
    #[command(flatten)]
    targets: Targets,
    /// The reason, in words
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl Disable {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        self.hold.run("disable", "disabled").await
    }
}

impl KeyReactivateArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        self.hold.run("reactivate", "re-activated").await
    }
}

impl KeyHoldArgs {
    async fn run(self, verb: &str, done: &str) -> anyhow::Result<()> {
        let mut wish = json!({});
        set(&mut wish, "reason", self.reason.map(Value::String));
        let change =
            async |client: &keyreeve_client::Client, path: &str| client.post(&format!("{path}/{verb}"), &wish).await;
        self.targets.each(&self.common, done, change).await
    }
}
