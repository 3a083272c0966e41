//! Listening, accepting, and stopping gracefully.

use super::connection::Peer;
use super::guard::{Alarm, Guarded};
use super::service::{Face, serve};
use crate::App;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
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

/// Where to listen.
pub(crate) enum Endpoint {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds a TCP address.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<(Endpoint, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((Endpoint::Tcp(listener), bound))
}

/// Binds the socket in the data directory, for its owner only. One left behind by a killed process is replaced: the
/// directory's lock says that nobody uses it.
pub(crate) fn bind_unix(path: &Path) -> io::Result<Endpoint> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(Endpoint::Unix(listener))
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
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let io = TokioIo::new(Guarded::new(stream, peer.alarm.clone()));
        let (face, app) = (face.clone(), app.clone());
        let service = service_fn(move |request| serve(face.clone(), app.clone(), peer.clone(), request));
        let connection = http.serve_connection(io, service).into_owned();
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that goes away is not worth a line in the log.
            drop(watched.await);
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

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn accept(endpoint: &Endpoint) -> io::Result<(Box<dyn Stream>, Peer)> {
    match endpoint {
        Endpoint::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let peer = Peer {
                address: Some(address.ip()),
                is_operator: false,
                alarm: Alarm::default(),
            };
            Ok((Box::new(stream), peer))
        }
        Endpoint::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            Ok((
                Box::new(stream),
                Peer {
                    address: None,
                    is_operator: true,
                    alarm: Alarm::default(),
                },
            ))
        }
    }
}
