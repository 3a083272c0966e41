//! Connects to one of the servers of a connection string: the one that was good last, then the others in their order.
//!
//! So a connection that is opened after the primary has moved finds it, and a server that is away delays one connection
//! and not each.

use super::access::{DatabaseAccess, Proof, Server, TlsUse};
use super::connect::is_gone;
use super::login::{LoginFinder, UserAndPassword};
use super::refusal::{self, Explained};
use super::tls::{Encrypted, Handshakes, TlsFilesInUse};
use crate::error::StoreError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::timeout;
use tokio_postgres::config::{ChannelBinding, Host, SslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client, Config, Connection, Socket};

/// A new connection, which is not driven yet.
pub(super) struct NewConnection {
    pub(super) client: Client,
    pub(super) connection: Connection<Socket, Encrypted<Socket>>,
    /// What makes the handshake of a request to cancel a statement on it.
    pub(super) handshakes: Handshakes,
}

/// Why no connection was made.
#[derive(Debug)]
pub(super) struct NotConnected {
    pub(super) why: String,
    /// Whether it stays so until an operator changes something.
    pub(super) is_final: bool,
    /// Whether every server of the cluster refuses it for this reason.
    pub(super) is_everywhere: bool,
    /// Whether no server holds a connection of this attempt.
    pub(super) is_gone: bool,
}

impl NotConnected {
    /// A failure that may be over soon, and after which a server may still hold a connection.
    pub(super) fn passing(error: StoreError) -> Self {
        let why = match error {
            StoreError::Unavailable(why) => why,
            other => other.to_string(),
        };
        Self {
            why,
            is_final: false,
            is_everywhere: false,
            is_gone: false,
        }
    }
}

/// Opens connections to one database.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    access: DatabaseAccess,
    tls: TlsFilesInUse,
    login: LoginFinder,
    /// The server that was good last, by its place in the connection string.
    last_good: AtomicUsize,
}

impl Connector {
    pub(super) fn new(access: DatabaseAccess) -> Self {
        Self(Arc::new(Inner {
            tls: TlsFilesInUse::new(access.0.tls.clone()),
            login: LoginFinder::new(access.0.login.clone()),
            last_good: AtomicUsize::new(0),
            access,
        }))
    }

    /// Connects and logs in.
    pub(super) async fn connect(&self) -> Result<NewConnection, NotConnected> {
        let servers = &self.0.access.0.servers;
        let first = self.0.last_good.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for step in 0..servers.len() {
            let place = (first + step) % servers.len();
            match self.connect_to(place).await {
                Ok(connected) => {
                    self.0.last_good.store(place, Ordering::Relaxed);
                    return Ok(connected);
                }
                Err(failure) => failures.push((place, failure)),
            }
        }
        Err(self.of_all(&failures))
    }

    /// Returns one reason for the failures of all servers.
    fn of_all(&self, failures: &[(usize, NotConnected)]) -> NotConnected {
        let is_only = failures.len() == 1;
        let whys = failures
            .iter()
            .map(|(place, failure)| match self.0.access.0.servers.get(*place) {
                Some(server) if !is_only => format!("{server}: {}", failure.why),
                Some(_) | None => failure.why.clone(),
            });
        NotConnected {
            why: whys.collect::<Vec<_>>().join("; "),
            is_final: is_final(&failures.iter().map(|(_, failure)| failure).collect::<Vec<_>>()),
            is_everywhere: failures.iter().any(|(_, failure)| failure.is_everywhere),
            is_gone: failures.iter().all(|(_, failure)| failure.is_gone),
        }
    }

    /// Whether a server that refuses the login with TLS is asked again without: where TLS is used only if it is offered,
    /// and nothing depends on it.
    fn may_go_plain(&self, place: usize) -> bool {
        let facts = &self.0.access.0;
        let is_socket = facts.servers.get(place).is_none_or(Server::is_socket);
        !is_socket
            && facts.tls.usage == TlsUse::IfOffered
            && facts.tls.proof == Proof::Nothing
            && facts.binding != ChannelBinding::Require
    }

    async fn connect_to(&self, place: usize) -> Result<NewConnection, NotConnected> {
        let here = |why: String, is_final: bool| NotConnected {
            why,
            is_final,
            // What is read here is the same for all of them.
            is_everywhere: true,
            is_gone: true,
        };
        let inner = Arc::clone(&self.0);
        let prepared = tokio::task::spawn_blocking(move || inner.prepare(place)).await;
        let prepared = prepared.map_err(|_| here("the login cannot be prepared".to_owned(), false))?;
        let (config, handshakes, login) = prepared.map_err(|why| here(why, true))?;
        let facts = &self.0.access.0;
        let may_go_plain = self.may_go_plain(place);
        let connecting = log_in(config, &handshakes, may_go_plain);
        let connected = match facts.servers.len() {
            // The caller has a deadline of its own, and the connection keeps its slot.
            1 => connecting.await,
            // One that accepts connections and does not answer must not keep the others from being tried.
            _ => timeout(facts.connect_timeout, connecting)
                .await
                .map_err(|_| NotConnected {
                    why: "it does not answer in time".to_owned(),
                    is_final: false,
                    is_everywhere: false,
                    is_gone: false,
                })?,
        };
        match connected {
            Ok((client, connection)) => Ok(NewConnection {
                client,
                connection,
                handshakes,
            }),
            Err(error) => {
                let Explained {
                    text,
                    is_final,
                    is_everywhere,
                } = refusal::explain(&error, facts, &login);
                Err(NotConnected {
                    why: text,
                    is_final,
                    is_everywhere,
                    is_gone: is_gone(&error),
                })
            }
        }
    }
}

/// Logs in. With `may_go_plain` a refusal by the server's rules is tried once again without TLS, as libpq does: they may
/// admit connections without it only. If that fails too, the first failure is returned.
async fn log_in(
    mut config: Config,
    handshakes: &Handshakes,
    may_go_plain: bool,
) -> Result<(Client, Connection<Socket, Encrypted<Socket>>), tokio_postgres::Error> {
    let refused = match config.connect(handshakes.clone()).await {
        Err(error) if may_go_plain && error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => error,
        other => return other,
    };
    config.ssl_mode(SslMode::Disable);
    config.connect(handshakes.clone()).await.map_err(|_| refused)
}

/// Whether waiting cannot help: no server can become good without an operator, or one has refused what all refuse.
fn is_final(failures: &[&NotConnected]) -> bool {
    let is_refused = |failure: &NotConnected| failure.is_final && failure.is_everywhere;
    failures.iter().copied().any(is_refused) || failures.iter().all(|failure| failure.is_final)
}

impl Inner {
    /// Returns all that a connection to a server needs. Blocks: it reads files, and may run a command.
    fn prepare(&self, place: usize) -> Result<(Config, Handshakes, UserAndPassword), String> {
        let facts = &self.access.0;
        let server = facts.servers.get(place).ok_or("the URL names no host")?;
        let login = self.login.find(server, facts.database.as_deref())?;
        Ok((self.config(server, &login), self.tls.handshakes()?, login))
    }

    fn config(&self, server: &Server, login: &UserAndPassword) -> Config {
        let facts = &self.access.0;
        let mut config = Config::new();
        match &server.host {
            Host::Tcp(name) => config.host(name),
            Host::Unix(path) => config.host_path(path),
        };
        if let (Some(address), false) = (server.address, server.is_socket()) {
            config.hostaddr(address);
        }
        config
            .port(server.port)
            .application_name(&facts.application)
            .connect_timeout(facts.connect_timeout)
            .keepalives_idle(facts.keepalive.idle)
            .keepalives_interval(facts.keepalive.interval)
            .keepalives_retries(facts.keepalive.count)
            .tcp_user_timeout(facts.keepalive.unacknowledged)
            .channel_binding(facts.binding)
            .ssl_mode(match facts.tls.usage {
                // A socket has no TLS, as with libpq.
                _ if server.is_socket() => SslMode::Disable,
                TlsUse::Never => SslMode::Disable,
                TlsUse::IfOffered => SslMode::Prefer,
                TlsUse::Always => SslMode::Require,
            })
            .ssl_negotiation(match facts.tls.is_direct {
                true => SslNegotiation::Direct,
                false => SslNegotiation::Postgres,
            })
            .target_session_attrs(match facts.needs_writable {
                true => TargetSessionAttrs::ReadWrite,
                false => TargetSessionAttrs::Any,
            });
        if let Some(database) = &facts.database {
            config.dbname(database);
        }
        if let Some(options) = &facts.options {
            config.options(options);
        }
        if let Some(user) = &login.user {
            config.user(user);
        }
        if let Some(password) = &login.password {
            config.password(password);
        }
        config
    }
}

/// Asks the server to cancel the statement of a connection, through TLS if the connection has it.
pub(super) async fn cancel(token: CancelToken, handshakes: Handshakes) {
    // The statement's timeout ends it otherwise.
    drop(token.cancel_query(handshakes).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of several hosts may have an expired certificate or other rules while the primary is only not up yet.
    #[test]
    fn a_failure_of_one_server_ends_the_wait_only_if_all_have_it() {
        let failure = |is_final, is_everywhere| NotConnected {
            why: String::new(),
            is_final,
            is_everywhere,
            is_gone: true,
        };
        let (passing, here, everywhere) = (
            || failure(false, false),
            || failure(true, false),
            || failure(true, true),
        );
        for (failures, expected) in [
            (vec![passing(), here()], false),
            (vec![passing(), everywhere()], true),
            (vec![here(), here()], true),
            (vec![here()], true),
            (vec![passing()], false),
        ] {
            assert_eq!(is_final(&failures.iter().collect::<Vec<_>>()), expected, "{failures:?}");
        }
    }
}
