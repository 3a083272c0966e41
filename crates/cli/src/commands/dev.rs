//! `keyreeve dev`: a temporary server with a ready key, to try it out.

use crate::output;
use anyhow::Context as _;
use clap::Args;
use keyreeve_client::Client;
use keyreeve_server::founding::EmptyStore;
use keyreeve_server::instance::{Instance, operator_socket};
use keyreeve_server::listen::Listen;
use keyreeve_server::settings::Settings;
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use tokio::signal::unix::{SignalKind, signal};

/// Run a temporary server with a ready key, and print the curl command that verifies it. Ctrl-C ends it and deletes its
/// data.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Listen address of the API
    #[arg(long, default_value = "127.0.0.1:7300", value_name = "ADDR")]
    listen: SocketAddr,
}

impl Dev {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // Before anything is created, so that an early stop leaves nothing behind either.
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot wait for signals")?;
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let mut settings = Settings::on_loopback(directory.path().to_owned());
        settings.listen = vec![Listen::Tcp(self.listen)];
        let (shows, shown) = std::sync::mpsc::channel();
        let empty = EmptyStore::found(move |_, root_key| shows.send(root_key.to_owned()).map_err(io::Error::other));
        let mut instance = Instance::start(&settings, empty).await?;
        let root_key = shown.recv().context("a new instance has no root key")?;
        let client = Client::over_socket(&operator_socket(directory.path()))?;
        let wish = json!({ "name": "try me", "subject": "user_dev", "scopes": ["read"] });
        let key = client.post("v1/api_keys", &wish).await?;
        let secret = key.get("secret").and_then(Value::as_str).unwrap_or_default();
        let address = instance.addresses.api().unwrap_or(self.listen);
        let url = format!("http://{address}");
        let link = instance.first_admin_link.take();
        output::print(&format!(
            "\
Keyreeve runs at {url}, with nothing in it that outlives this command.

  root key   {root_key}
  API key    {secret}

Verify the key:

  curl -s {url}/v1/verify -H 'Authorization: Bearer {root_key}' \\\n       -H 'Content-Type: application/json' -d '{{\"key\":\"{secret}\"}}'

Use it as its holder would:

  curl -s {url}/v1/me -H 'Authorization: Bearer {secret}'

Open the dashboard, as its first administrator:

  {dashboard}

The API is described at {url}/openapi.json. Ctrl-C ends it.",
            dashboard = link.as_ref().map_or(url.as_str(), |link| link.expose()),
        ));
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot wait for Ctrl-C")?,
            _ = terminate.recv() => {}
            // The terminal was closed: nothing outlives this command.
            _ = hangup.recv() => {}
        }
        instance.stop().await;
        Ok(())
    }
}
