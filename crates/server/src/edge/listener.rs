//! Listening, accepting, and stopping gracefully.

use super::connection::{Peer, SocketKind};
use super::direct::{self, Rewound};
use super::guard::Guarded;
use super::handshake;
use super::service::{Face, serve};
use crate::App;
use crate::listen::Listen;
use crate::tls::Tls;
use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Most connections of one listener; more wait to be accepted.
const CONNECTIONS_MAX: usize = 16_384;
/// How long a client may take to send the head of a request, or stay idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// How long requests that are running may go on after a stop was asked for.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// Pause after accepting failed (too many open files), so that it is not tried in a tight loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The socket in the data directory is its owner's; one that was asked for is the group's as well.
const OWNER_MODE: u32 = 0o600;
const SHARED_MODE: u32 = 0o660;

/// Where to listen.
pub(crate) enum Endpoint {
    Tcp(TcpListener),
    Tls(TcpListener, Tls),
    Unix(UnixListener, SocketKind),
}

/// Binds a place, and says where it really is. A Unix socket has no TLS: nobody hears what goes through it.
pub(crate) async fn bind(place: &Listen, tls: Option<&Tls>) -> io::Result<(Endpoint, Listen)> {
    match place {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await?;
            let bound = Listen::Tcp(listener.local_addr()?);
            match tls {
                Some(tls) => Ok((Endpoint::Tls(listener, tls.clone()), bound)),
                None => Ok((Endpoint::Tcp(listener), bound)),
            }
        }
        Listen::Unix(path) => {
            require_unused(path)?;
            let listener = bind_socket(path, SHARED_MODE)?;
            Ok((Endpoint::Unix(listener, SocketKind::Public), place.clone()))
        }
    }
}

/// Binds the socket in the data directory, for its owner only. One left behind by a killed process is replaced: the
/// directory's lock says that nobody uses it.
pub(crate) fn bind_operator(path: &Path) -> io::Result<Endpoint> {
    remove(path)?;
    Ok(Endpoint::Unix(bind_socket(path, OWNER_MODE)?, SocketKind::Operator))
}

fn bind_socket(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// A socket that a killed process left behind makes room; one that somebody listens at does not, nor does any other
/// file.
fn require_unused(path: &Path) -> io::Result<()> {
    let is_socket = match std::fs::symlink_metadata(path) {
        Ok(there) => there.file_type().is_socket(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let is_dead = || {
        let tried = std::os::unix::net::UnixStream::connect(path);
        tried.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    match is_socket && is_dead() {
        true => remove(path),
        false => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) | Ok(()) => Ok(()),
    }
}

/// A listener at work.
#[derive(Debug)]
pub(crate) struct Listening(JoinHandle<()>);

impl Listening {
    /// Starts to accept. `stop` turning true ends it: no new connections, running requests finish.
    pub(crate) fn start(endpoint: Endpoint, face: Face, app: App, stop: watch::Receiver<bool>) -> Self {
        Self(tokio::spawn(run(endpoint, face, app, stop)))
    }

    /// Waits until the last connection is done.
    pub(crate) async fn finished(self) {
        if let Err(error) = self.0.await {
            tracing::error!(%error, "a listener ended badly");
        }
    }
}

async fn run(endpoint: Endpoint, face: Face, app: App, mut stop: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let http = Arc::new(protocol());
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            accepted = accept(&endpoint) => accepted,
            _ = stop.wait_for(|&stopping| stopping) => break,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let line = Line {
            face: face.clone(),
            app: app.clone(),
            http: Arc::clone(&http),
            stop: stop.clone(),
            watcher: graceful.watcher(),
        };
        tokio::spawn(async move {
            match accepted {
                Accepted::Tcp(stream, peer) => line.serve(stream, peer).await,
                // Boxed, so that the task of a plain connection stays small.
                Accepted::Tls(stream, peer, tls) => Box::pin(line.serve_encrypted(stream, peer, tls)).await,
                Accepted::Unix(stream, peer) => line.serve(stream, peer).await,
            }
            drop(place);
        });
    }
    drop(endpoint);
    if tokio::time::timeout(STOP_GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still running at the end of the grace period and were cut off");
    }
}

fn protocol() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(true)
        .pipeline_flush(false);
    http.http2().timer(TokioTimer::new()).max_header_list_size(64 * 1024);
    http
}

/// A connection and who is at its other end.
enum Accepted {
    Tcp(TcpStream, Peer),
    Tls(TcpStream, Peer, Tls),
    Unix(UnixStream, Peer),
}

async fn accept(endpoint: &Endpoint) -> io::Result<Accepted> {
    match endpoint {
        Endpoint::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Accepted::Tcp(stream, Peer::at(address.ip())))
        }
        Endpoint::Tls(listener, tls) => {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let mut peer = Peer::at(address.ip());
            peer.is_encrypted = true;
            Ok(Accepted::Tls(stream, peer, tls.clone()))
        }
        Endpoint::Unix(listener, kind) => {
            let (stream, _) = listener.accept().await?;
            Ok(Accepted::Unix(stream, Peer::on_this_machine(*kind)))
        }
    }
}

/// What serves one connection.
struct Line {
    face: Face,
    app: App,
    http: Arc<auto::Builder<TokioExecutor>>,
    stop: watch::Receiver<bool>,
    /// Stopping waits until it is gone.
    watcher: Watcher,
}

impl Line {
    /// The same behind a handshake. A stop does not wait for one.
    async fn serve_encrypted(mut self, stream: TcpStream, peer: Peer, tls: Tls) {
        let met = tokio::select! {
            met = handshake::meet(stream, &tls) => met,
            _ = self.stop.wait_for(|&stopping| stopping) => None,
        };
        if let Some(stream) = met {
            self.serve(stream, peer).await;
        }
    }

    /// Plain verifications are answered ahead of the HTTP library; what is left is the library's.
    async fn serve<S>(self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let is_direct = !peer.is_operator && !matches!(self.face, Face::Ops);
        let left = match is_direct {
            true => direct::serve(stream, &self.app, self.stop).await,
            false => Some(Rewound::new(Bytes::new(), stream)),
        };
        let Some(stream) = left else { return };
        let io = TokioIo::new(Guarded::new(stream, peer.alarm.clone()));
        let service = service_fn(move |request| serve(self.face.clone(), self.app.clone(), peer.clone(), request));
        let connection = self.http.serve_connection_with_upgrades(io, service).into_owned();
        // A client that goes away is not worth a line in the log.
        drop(self.watcher.watch(connection).await);
    }
}
