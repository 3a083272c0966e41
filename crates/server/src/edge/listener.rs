//! Binds listeners, accepts connections, and stops gracefully.

use super::activity::{ConnectionActivity, FIRST_REQUEST_TIMEOUT};
use super::connection::{Peer, SocketKind};
use super::descriptors::AllSeats;
use super::direct::{self, Rewound};
use super::guard::Guarded;
use super::handshake;
use super::preface;
use super::seats::Seats;
use super::service::{Face, FaceService, serve};
use crate::listen::Listen;
use crate::tls::Tls;
use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::net::sockopt::set_tcp_user_timeout;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Time limit for an HTTP/1.1 client from the end of one request to the end of the head of the next.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The same in HTTP/2.
const HTTP2_HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 256;
/// How long running requests may continue after a stop was requested.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// Concurrent requests of one HTTP/2 connection. A gateway sends the checks of all its clients on one connection.
const STREAMS_MAX: u32 = 256;
/// Flow-control windows of HTTP/2: unread bytes of one request's body, and of all bodies of a connection.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes of an answer that the HTTP library buffers.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// Streams that a client may reset before they were answered, and that may be reset for its errors. Above that the
/// connection is closed (CVE-2023-44487).
const RESET_STREAMS_MAX: usize = 32;
const ERROR_RESETS_MAX: usize = 256;
/// Interval of HTTP/2 pings, and time limit for their acknowledgement.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an HTTP/2 client may take to close the connection after GOAWAY.
const GOODBYE: Duration = Duration::from_secs(2);
/// Evicted connections whose descriptors are still open, above which no connection is accepted.
const LEAVING_MAX: usize = 32;
/// Pause until they are closed.
const LEAVING_PAUSE: Duration = Duration::from_millis(2);
/// How long the kernel keeps bytes that the client does not receive or acknowledge (RFC 5482).
const UNTAKEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after a failed accept (too many open files), to avoid a tight loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The socket in the data directory is for its owner; configured sockets are also for the group.
const OWNER_MODE: u32 = 0o600;
const SHARED_MODE: u32 = 0o660;

/// A bound listener.
pub(crate) enum Endpoint {
    Tcp(TcpListener),
    Tls(TcpListener, Tls),
    Unix(UnixListener, SocketKind),
}

/// Binds a listener and returns its actual address. A Unix socket has no TLS: its bytes do not leave the machine.
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

/// Binds the socket in the data directory, for its owner only. The socket of a killed process is replaced: the lock of
/// the directory proves that it is unused.
pub(crate) fn bind_operator(path: &Path) -> io::Result<Endpoint> {
    remove(path)?;
    Ok(Endpoint::Unix(bind_socket(path, OWNER_MODE)?, SocketKind::Operator))
}

fn bind_socket(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Removes the socket of a killed process. A socket that accepts connections, and any other file, is an error.
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

/// A running listener.
#[derive(Debug)]
pub(crate) struct Listening(JoinHandle<()>);

impl Listening {
    /// Starts to accept. When `stop` turns true, it accepts no more connections and running requests finish.
    pub(crate) fn start(
        endpoint: Endpoint,
        service: Arc<FaceService>,
        seats: &AllSeats,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let seats = seats_of(&endpoint, &service.face, seats).clone();
        Self(tokio::spawn(run(endpoint, service, seats, stop)))
    }

    /// Waits until the last connection is closed.
    pub(crate) async fn finished(self) {
        if let Err(error) = self.0.await {
            tracing::error!(%error, "a listener failed");
        }
    }
}

/// Returns the seats of an endpoint.
fn seats_of<'a>(endpoint: &Endpoint, face: &Face, seats: &'a AllSeats) -> &'a Seats {
    match (endpoint, face) {
        (Endpoint::Unix(_, SocketKind::Operator), _) => &seats.operator,
        (_, Face::Api(_)) => &seats.api,
        (_, Face::Check) => &seats.check,
        (_, Face::Ops) => &seats.ops,
    }
}

async fn run(endpoint: Endpoint, service: Arc<FaceService>, seats: Seats, mut stop: watch::Receiver<bool>) {
    // Every connection holds a receiver: the channel is closed when all of them are done.
    let (running, is_running) = watch::channel(());
    let http = Arc::new(protocol());
    loop {
        let accepted = tokio::select! {
            accepted = accept(&endpoint, &seats) => accepted,
            _ = stop.wait_for(|&stopping| stopping) => break,
        };
        let accepted = match accepted {
            Ok(Some(accepted)) => accepted,
            // There is no seat for it, so it was closed.
            Ok(None) => continue,
            Err(error) => {
                // Without descriptors, the connection stays in the queue of the kernel: without a pause this is a busy
                // loop.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let line = ConnectionTask {
            service: Arc::clone(&service),
            http: Arc::clone(&http),
            stop: stop.clone(),
            _running: is_running.clone(),
        };
        tokio::spawn(async move {
            match accepted {
                AcceptedConnection::Tcp(stream, peer) => line.serve(stream, peer).await,
                // Boxed to keep the task of a plain connection small.
                AcceptedConnection::Tls(stream, peer, tls) => Box::pin(line.serve_encrypted(stream, peer, tls)).await,
                AcceptedConnection::Unix(stream, peer) => line.serve(stream, peer).await,
            }
        });
        // An evicted connection has its descriptor until its task ends. Accepting faster than they end would use up
        // all.
        while seats.leaving() > LEAVING_MAX {
            tokio::time::sleep(LEAVING_PAUSE).await;
        }
    }
    // The listening socket closes now, so that clients connect elsewhere. The own receiver would keep the channel open.
    drop((endpoint, is_running));
    if tokio::time::timeout(STOP_GRACE, running.closed()).await.is_err() {
        tracing::warn!("shutdown timeout reached; running requests were aborted");
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
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HTTP2_HEAD_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(ERROR_RESETS_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    http
}

/// A connection and its client.
enum AcceptedConnection {
    Tcp(TcpStream, Peer),
    Tls(TcpStream, Peer, Tls),
    Unix(UnixStream, Peer),
}

/// Accepts a connection; `None` if there is no seat for it.
async fn accept(endpoint: &Endpoint, seats: &Seats) -> io::Result<Option<AcceptedConnection>> {
    match endpoint {
        Endpoint::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            let Some(seat) = seats.take(Some(address.ip())) else {
                return Ok(None);
            };
            prepare(&stream)?;
            Ok(Some(AcceptedConnection::Tcp(stream, Peer::at(address.ip(), seat))))
        }
        Endpoint::Tls(listener, tls) => {
            let (stream, address) = listener.accept().await?;
            let Some(seat) = seats.take(Some(address.ip())) else {
                return Ok(None);
            };
            prepare(&stream)?;
            let mut peer = Peer::at(address.ip(), seat);
            peer.is_encrypted = true;
            Ok(Some(AcceptedConnection::Tls(stream, peer, tls.clone())))
        }
        Endpoint::Unix(listener, kind) => {
            let (stream, _) = listener.accept().await?;
            let seat = seats.take(None);
            Ok(seat.map(|seat| AcceptedConnection::Unix(stream, Peer::on_this_machine(*kind, seat))))
        }
    }
}

/// Sends answers without delay, and bounds how long the kernel keeps unacknowledged bytes, also after the close.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let timeout = u32::try_from(UNTAKEN_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    Ok(set_tcp_user_timeout(stream, timeout)?)
}

/// Serves one connection.
struct ConnectionTask {
    service: Arc<FaceService>,
    http: Arc<auto::Builder<TokioExecutor>>,
    stop: watch::Receiver<bool>,
    /// A stop waits until it is dropped.
    _running: watch::Receiver<()>,
}

impl ConnectionTask {
    /// Serves a TLS connection. A stop does not wait for its handshake.
    async fn serve_encrypted(mut self, stream: TcpStream, peer: Peer, tls: Tls) {
        let met = tokio::select! {
            met = handshake::meet(stream, &tls) => met,
            () = peer.seat.evicted() => None,
            () = stopping(&mut self.stop) => None,
        };
        if let Some(stream) = met {
            self.serve(stream, peer).await;
        }
    }

    /// Answers plain verifications first; the HTTP library gets the rest.
    async fn serve<S>(self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let is_direct = !peer.is_operator && !matches!(self.service.face, Face::Ops);
        let left = match is_direct {
            true => {
                let by_tls_only = self.service.is_by_tls_only(&peer);
                direct::serve(stream, &self.service.verdicts, &peer, by_tls_only, self.stop.clone()).await
            }
            false => Some(Rewound::new(Bytes::new(), stream)),
        };
        if let Some(stream) = left {
            self.serve_by_library(stream, peer).await;
        }
    }

    async fn serve_by_library<S>(mut self, stream: Rewound<S>, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let settled = tokio::select! {
            settled = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, preface::settled(stream)) => settled.ok().flatten(),
            () = peer.seat.evicted() => None,
            () = stopping(&mut self.stop) => None,
        };
        let Some(stream) = settled else { return };
        let (activity, seat) = (Arc::new(ConnectionActivity::default()), peer.seat.clone());
        let io = TokioIo::new(Guarded::new(stream, peer.alarm.clone(), Arc::clone(&activity)));
        let noted = Arc::clone(&activity);
        let service =
            service_fn(move |request| serve(Arc::clone(&self.service), peer.clone(), Arc::clone(&noted), request));
        let mut connection = pin!(self.http.serve_connection_with_upgrades(io, service));
        let mut idle_or_stopping = pin!(activity.idle_or_stopping(&seat));
        // The end of a connection by its client is not logged.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = &mut idle_or_stopping => {
                connection.as_mut().graceful_shutdown();
                drop(tokio::time::timeout(GOODBYE, connection).await);
                return;
            }
            () = seat.evicted() => return,
            () = stopping(&mut self.stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            () = idle_or_stopping => {}
        }
    }
}

/// Waits until the server stops.
async fn stopping(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|&stopping| stopping).await);
}
