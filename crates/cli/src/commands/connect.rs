//! Connects a command to a server.

use crate::exit::UsageError;
use crate::output::Format;
use crate::settings::public_url;
use anyhow::Context as _;
use clap::Args;
use keyreeve_client::{Authorities, Client};
use keyreeve_server::founding::EmptyStore;
use keyreeve_server::instance::{Instance, operator_socket};
use keyreeve_server::settings::Settings;
use std::io::Read as _;
use std::path::PathBuf;

/// Options of every command that calls a server.
#[derive(Debug, Args)]
pub(crate) struct ServerOptions {
    /// The server; the root key comes from `KEYREEVE_ROOT_KEY`. Without a root key, the server on this machine is
    /// called through its data directory
    #[arg(long, env = "KEYREEVE_URL", default_value = "http://127.0.0.1:7300", global = true)]
    url: String,
    /// CA certificates in PEM for an https:// address, in place of the system's
    #[arg(long, env = "KEYREEVE_CA_FILE", value_name = "FILE", global = true)]
    ca_file: Option<PathBuf>,
    /// The data directory of a server on this machine
    #[arg(long, env = "KEYREEVE_DATA", default_value = "./keyreeve-data", global = true)]
    data: PathBuf,
    /// The output format
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub(crate) output: Format,
}

/// Reads the root key from the environment. It is never an argument, which every user of the machine could read.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where a client command reads its credential"
)]
fn root_key() -> Option<String> {
    std::env::var("KEYREEVE_ROOT_KEY")
        .ok()
        .map(|key| key.trim().to_owned())
        .filter(|key| !key.is_empty())
}

impl ServerOptions {
    /// Returns a client of the selected server.
    pub(crate) fn client(&self, tenant: Option<String>) -> anyhow::Result<Client> {
        let client = match root_key() {
            Some(root_key) => Client::trusting(&self.url, root_key, self.authorities()?.as_ref())?,
            None => self.local()?,
        };
        Ok(client.for_tenant(tenant))
    }

    /// Returns the CA certificates to trust, if a file was given.
    pub(crate) fn authorities(&self) -> anyhow::Result<Option<Authorities>> {
        let Some(path) = &self.ca_file else { return Ok(None) };
        let unreadable = |error| UsageError(format!("cannot read {}: {error}", path.display()));
        let pem = std::fs::read(path).map_err(unreadable)?;
        let authorities = Authorities::from_pem(&pem).with_context(|| path.display().to_string())?;
        Ok(Some(authorities))
    }

    /// Returns the server's URL and a root key, for connections other than calls.
    pub(crate) fn credential(&self) -> anyhow::Result<(String, String)> {
        let missing = || UsageError(format!("set KEYREEVE_ROOT_KEY to a root key of {}", self.url));
        Ok((self.url.clone(), root_key().ok_or_else(missing)?))
    }

    fn local(&self) -> anyhow::Result<Client> {
        let socket = operator_socket(&self.data);
        if socket.exists() {
            return Ok(Client::over_socket(&socket)?);
        }
        Err(UsageError(format!(
            "set KEYREEVE_ROOT_KEY to a root key of {}, or name the data directory of a server that runs on this \
             machine with --data (there is none in {})",
            self.url,
            self.data.display()
        ))
        .into())
    }

    /// Calls the selected server. If none is running on the data directory, starts one for this call that listens on
    /// loopback only.
    pub(crate) async fn with_server<T>(
        &self,
        action: impl AsyncFnOnce(Client) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        if root_key().is_some() || self.is_running() {
            return action(self.client(None)?).await;
        }
        self.with_own_server(action).await
    }

    async fn with_own_server<T>(&self, action: impl AsyncFnOnce(Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
        if !self.data.join("keyreeve.db").exists() {
            return Err(UsageError(format!(
                "there is no instance in {}; `keyreeve serve` makes one and shows its first root key",
                self.data.display()
            ))
            .into());
        }
        let mut settings = Settings::on_loopback(self.data.clone());
        // The base of links: the address of this temporary instance is gone when the command ends.
        settings.public_url = Some(match public_url()? {
            Some(url) => url,
            None => self.url.trim_end_matches('/').to_owned(),
        });
        let instance = Instance::start(&settings, EmptyStore::refuse()).await?;
        let done = action(Client::over_socket(&operator_socket(&self.data))?).await;
        instance.stop().await;
        done
    }

    /// As [`ServerOptions::with_server`], always through the socket in the data directory: for what only the operator of
    /// the machine may do.
    pub(crate) async fn with_operator<T>(
        &self,
        action: impl AsyncFnOnce(Client) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        match self.is_running() {
            true => action(Client::over_socket(&operator_socket(&self.data))?).await,
            false => self.with_own_server(action).await,
        }
    }

    /// The socket of a killed server does not accept connections.
    fn is_running(&self) -> bool {
        std::os::unix::net::UnixStream::connect(operator_socket(&self.data)).is_ok()
    }
}

/// Most bytes of a secret or a list of ids on standard input.
const STDIN_BYTES_MAX: u64 = 1024 * 1024;

/// Reads all of standard input, for arguments given as `-`.
pub(super) fn stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(STDIN_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
