//! What commands about keys share: the tenant, the selected keys, one result per key.

use crate::commands::connect::{ServerOptions, stdin};
use crate::exit::{self, UsageError};
use crate::output;
use clap::Args;
use keyreeve_client::{Client, ClientError};
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

/// The tenant and the server.
#[derive(Debug, Args)]
pub(super) struct KeyCallOptions {
    /// The tenant [default: the root key's own, or `default`]
    #[arg(long, env = "KEYREEVE_TENANT", global = true)]
    tenant: Option<String>,
    #[command(flatten)]
    pub(super) connection: ServerOptions,
}

impl KeyCallOptions {
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        self.connection.client(self.tenant.clone())
    }

    /// Prints one key.
    pub(super) fn show(&self, key: &Value) {
        output::one(self.connection.output, key);
    }

    /// Prints a key with its new secret, or the secret alone.
    pub(super) fn show_secret(&self, key: &Value, secret_only: bool) {
        if secret_only {
            output::print(key.get("secret").and_then(Value::as_str).unwrap_or_default());
        } else {
            output::say("The secret is shown this once and not stored: keep it.");
            self.show(key);
        }
    }
}

/// The selected keys.
#[derive(Debug, Args)]
pub(super) struct Targets {
    /// Ids of keys; `-` reads them from standard input
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// Returns the path of a key. Only characters of an id may get into a path.
pub(super) fn path_of(id: &str) -> Result<String, UsageError> {
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_id {
        return Err(UsageError("a key's id is ak_ and 32 hex digits".to_owned()));
    }
    if id.contains("_kr1") {
        return Err(UsageError(
            "that is a secret, not an id; ids are safe to type, secrets are not".to_owned(),
        ));
    }
    Ok(format!("v1/api_keys/{id}"))
}

impl Targets {
    /// Asks for confirmation if standard input is a terminal.
    pub(super) fn confirm(&self, what: &str, yes: bool) -> anyhow::Result<()> {
        let reads_stdin = self.ids.iter().any(|id| id == "-");
        if yes || reads_stdin || !std::io::stdin().is_terminal() {
            return Ok(());
        }
        let mut talk = std::io::stderr();
        write!(talk, "{what} {}? Type yes: ", self.ids.join(" "))?;
        talk.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if answer.trim() == "yes" {
            Ok(())
        } else {
            Err(UsageError("nothing was changed".to_owned()).into())
        }
    }

    /// Applies an action to each key and prints one result per key. Fails if any of them failed.
    pub(super) async fn each(
        &self,
        common: &KeyCallOptions,
        done: &str,
        action: impl AsyncFn(&Client, &str) -> Result<Value, ClientError>,
    ) -> anyhow::Result<()> {
        let client = common.client()?;
        let ids = self.ids()?;
        let mut last = None;
        for id in &ids {
            match action(&client, &path_of(id)?).await {
                Ok(key) => {
                    output::say(&format!("{done} {id}"));
                    common.show(&key);
                }
                // With a single key, its error is that of the command.
                Err(error) if ids.len() == 1 => return Err(error.into()),
                Err(error) => {
                    output::say(&format!("{id}: {error}"));
                    last = Some(error);
                }
            }
        }
        match last {
            None => Ok(()),
            Some(_) => Err(anyhow::Error::new(exit::SomeFailed)),
        }
    }

    fn ids(&self) -> anyhow::Result<Vec<String>> {
        let mut ids = Vec::new();
        for id in &self.ids {
            if id == "-" {
                ids.extend(stdin()?.split_whitespace().map(str::to_owned));
            } else {
                ids.push(id.clone());
            }
        }
        Ok(ids)
    }
}
