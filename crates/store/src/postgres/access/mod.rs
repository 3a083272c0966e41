//! How a database is reached: the connection string and the settings beside it, checked once before anything is opened.
//!
//! A sentence about what is wrong names parameters and settings, and never a value that may be a secret.

mod known;
mod parameters;
mod settle;
#[cfg(test)]
mod tests;
mod tls_part;

use parameters::Pairs;
use std::fmt;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
pub(super) use tls_part::{Authorities, Proof, TlsSettings, TlsUse};
use tokio_postgres::config::Host;

/// Maximum size of the file of `url_file`, in bytes.
const URL_FILE_MAX: u64 = 64 * 1024;

/// Reports why the start waits, and decides whether it continues to.
pub type OnWait = fn(&str) -> ControlFlow<()>;

/// How a database is reached, as the operator gave it.
#[derive(Clone, Default)]
pub struct GivenAccess {
    /// The connection string: a URL or `name=value` pairs.
    pub url: Option<String>,
    /// A file that contains it.
    pub url_file: Option<PathBuf>,
    /// Parameters that were given as settings of their own, by their names in a connection string.
    pub parameters: Vec<(&'static str, String)>,
    /// A command that prints the password.
    pub password_command: Option<String>,
    /// How long to wait at the start for a database that is not up yet; zero is not at all.
    pub wait: Duration,
    /// The variables and the home directory of this process.
    pub environment: LoginEnvironment,
    /// Called at most once a second with the reason for which the start is waiting; it may end the wait.
    pub on_wait: Option<OnWait>,
}

/// What libpq takes from the environment. Empty values count as not set.
#[derive(Clone, Default)]
pub struct LoginEnvironment {
    /// `PGPASSWORD`.
    pub password: Option<String>,
    /// `PGPASSFILE`.
    pub passfile: Option<PathBuf>,
    /// The home directory, which may contain `.pgpass`.
    pub home: Option<PathBuf>,
}

/// How a database is reached: complete, consistent, and not tried yet.
#[derive(Clone)]
pub struct DatabaseAccess(pub(super) Arc<AccessFacts>);

/// The facts of a [`DatabaseAccess`].
pub(super) struct AccessFacts {
    /// In the order in which they are tried.
    pub(super) servers: Vec<Server>,
    pub(super) needs_writable: bool,
    pub(super) database: Option<String>,
    pub(super) options: Option<String>,
    pub(super) application: String,
    /// For one server, from the start to the end of the login.
    pub(super) connect_timeout: Duration,
    pub(super) keepalive: Keepalive,
    pub(super) tls: TlsSettings,
    pub(super) binding: tokio_postgres::config::ChannelBinding,
    pub(super) login: LoginSources,
    pub(super) wait: Duration,
    pub(super) on_wait: Option<OnWait>,
}

/// One of the servers of a connection string.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Server {
    pub(super) host: Host,
    /// The address, if the name is not to be resolved.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
}

impl Server {
    pub(super) const fn is_socket(&self) -> bool {
        matches!(self.host, Host::Unix(_))
    }

    fn is_on_this_machine(&self) -> bool {
        match (&self.host, self.address) {
            (Host::Unix(_), _) => true,
            (_, Some(address)) => address.is_loopback(),
            (Host::Tcp(name), None) => match name.parse::<IpAddr>() {
                Ok(address) => address.is_loopback(),
                Err(_) => name == "localhost",
            },
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Tcp(name) => write!(f, "{name}:{}", self.port),
            Host::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// When this machine notices that a connection is lost in the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Keepalive {
    pub(super) idle: Duration,
    pub(super) interval: Duration,
    pub(super) count: u32,
    pub(super) unacknowledged: Duration,
}

/// Where user and password come from.
#[derive(Clone)]
pub(super) struct LoginSources {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// Read again for each new connection, for its user and password.
    pub(super) url_file: Option<PathBuf>,
    /// Run again for each new connection.
    pub(super) command: Option<String>,
    pub(super) passfile: Option<PathBuf>,
}

/// What an attacker on the network path can do with the connection to a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetworkExposure {
    /// Nothing: the server is on this machine, or its certificate is verified with its name.
    None,
    /// Impersonate the server: it is not verified completely.
    Unverified,
    /// Read and change everything: TLS is not required.
    Unencrypted,
}

impl DatabaseAccess {
    /// Returns what an attacker on the network path can do.
    pub fn exposure(&self) -> NetworkExposure {
        let facts = &self.0;
        match (facts.tls.usage, facts.tls.proof) {
            _ if facts.servers.iter().all(Server::is_on_this_machine) => NetworkExposure::None,
            (TlsUse::Never | TlsUse::IfOffered, _) => NetworkExposure::Unencrypted,
            (TlsUse::Always, Proof::Name) => NetworkExposure::None,
            (TlsUse::Always, Proof::Chain | Proof::Nothing) => NetworkExposure::Unverified,
        }
    }
}

impl fmt::Debug for DatabaseAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.0.servers.iter().map(ToString::to_string).collect();
        f.debug_struct("DatabaseAccess")
            .field("servers", &servers)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for GivenAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenAccess").finish_non_exhaustive()
    }
}

impl fmt::Debug for LoginEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginEnvironment").finish_non_exhaustive()
    }
}

/// Reads a connection string alone, without variables or files.
impl FromStr for DatabaseAccess {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let given = GivenAccess {
            url: Some(url.to_owned()),
            ..GivenAccess::default()
        };
        given.settle()
    }
}

/// Returns the user and the password of a connection string in a file.
pub(super) fn login_in(path: &Path) -> Result<(Option<String>, Option<String>), String> {
    let mut pairs = read_url_file(path)?;
    Ok((pairs.remove("user"), pairs.remove("password")))
}

fn read_url_file(path: &Path) -> Result<Pairs, String> {
    let shown = path.display();
    let text = super::login::read_bounded(path, URL_FILE_MAX)
        .map_err(|error| format!("cannot read the database's URL from {shown}: {error}"))?;
    match text.trim() {
        "" => Err(format!("{shown} is empty: it has to contain the database's URL")),
        text => parameters::parse(text).map_err(|why| format!("{shown}: {why}")),
    }
}
