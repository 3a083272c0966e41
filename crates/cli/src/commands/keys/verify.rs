//! `keyreeve keys verify`.

use super::create::set;
use super::targets::KeyCallOptions;
use crate::commands::connect::stdin;
use crate::exit::{AnswerIsNo, UsageError};
use clap::Args;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Verify a secret. Exit code 3 if it is not accepted.
#[derive(Debug, Args)]
pub(crate) struct KeyVerifyArgs {
    /// Only `-`: the secret is read from standard input, because other users could read arguments
    #[arg(default_value = "-", value_name = "-")]
    from: String,
    /// A scope that the key must hold; repeat for more
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The end user's address, for keys that are restricted to networks
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// The cost in uses of its limits; 0 uses nothing
    #[arg(long, value_name = "N")]
    cost: Option<u32>,
    #[command(flatten)]
    common: KeyCallOptions,
}

impl KeyVerifyArgs {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if self.from != "-" {
            let message = "a secret is not given as an argument, which others on this machine can read. \
                           Do this instead: printf %s \"$KEY\" | keyreeve keys verify -";
            return Err(UsageError(message.to_owned()).into());
        }
        let mut question = json!({ "key": stdin()?.trim() });
        set(
            &mut question,
            "scopes",
            (!self.scopes.is_empty()).then(|| json!(self.scopes)),
        );
        set(&mut question, "ip", self.ip.map(|address| json!(address)));
        set(&mut question, "cost", self.cost.map(|cost| json!(cost)));
        let verdict = self.common.client()?.post("v1/verify", &question).await?;
        self.common.show(&verdict);
        match verdict.get("valid").and_then(Value::as_bool) {
            Some(true) => Ok(()),
            Some(false) | None => Err(AnswerIsNo.into()),
        }
    }
}
