//! Connections, their bound, and what their failures mean.
//!
//! A server continues with a statement after the client has given up. So a connection occupies its slot until the
//! server has closed it for certain: giving up a connection cancels its statement and keeps the slot until the server
//! has answered, or until the timeouts that were set on the server have passed. However long a database does not
//! respond, this process has no more connections there than slots.

use super::engine::{Driver, slow};
use super::prepared::{PreparedSession, Use};
use crate::error::StoreError;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::error::Severity;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Socket};

/// How long the server may take to read the message that ends the connection.
const GOODBYE: Duration = Duration::from_millis(200);
/// How long the server may still hold a connection that was lost in the network, after this side has given it up. The
/// server notices at the latest when a statement's time is over (4 s) and its answer was not acknowledged for another
/// 5 s; this side has waited 5 s of that itself (see `prepared::Use`).
const LOST: Duration = Duration::from_secs(5);
/// How long a request to cancel a statement may take.
const CANCEL_DEADLINE: Duration = Duration::from_secs(1);

/// Returns an error with all its causes: the driver's own text is only `db error`.
pub(super) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

/// Returns what a failed statement means. Only what the database itself reports about its contents is `Corrupt`.
#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
pub(super) fn failed(error: tokio_postgres::Error) -> StoreError {
    let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
    match code.as_str() {
        "23505" => StoreError::Corrupt(reason(&error)),
        "" if error
            .source()
            .is_some_and(|cause| cause.is::<tokio_postgres::types::WasNull>()) =>
        {
            StoreError::Corrupt(reason(&error))
        }
        "25006" => StoreError::Unavailable("it is read-only: name the primary, not a replica".to_owned()),
        _ => StoreError::Unavailable(reason(&error)),
    }
}

/// Every slot is occupied by a connection that the server still holds.
pub(super) fn hung() -> StoreError {
    StoreError::Unavailable("the database has not let go of earlier connections yet".to_owned())
}

/// Slots for connections of one purpose.
#[derive(Clone, Debug)]
pub(super) struct Slots(Arc<Semaphore>);

/// The slot of one connection.
pub(super) type Slot = OwnedSemaphorePermit;

impl Slots {
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }

    /// Waits for a free slot.
    pub(super) async fn take(&self) -> Result<Slot, StoreError> {
        let closed = |_| StoreError::Unavailable("the store is closed".to_owned());
        Arc::clone(&self.0).acquire_owned().await.map_err(closed)
    }

    /// The same, with a deadline.
    async fn take_until(&self, until: Instant) -> Result<Slot, StoreError> {
        timeout_at(until, self.take()).await.map_err(|_| hung())?
    }
}

/// A connection, with the notices and notifications that the server sends unasked.
pub(super) struct Link {
    pub(super) session: PreparedSession,
    has_warned: Arc<AtomicBool>,
    hint: Arc<Notify>,
}

impl Link {
    /// Opens a connection as soon as a slot is free, until a deadline.
    pub(super) async fn open(config: &Config, purpose: Use, slots: &Slots, until: Instant) -> Result<Self, StoreError> {
        let slot = slots.take_until(until).await?;
        Self::open_in(config, purpose, slot, until).await
    }

    /// Opens a connection in a slot that is already taken.
    pub(super) async fn open_in(config: &Config, purpose: Use, slot: Slot, until: Instant) -> Result<Self, StoreError> {
        // In a task of its own: a server that has not answered yet may have accepted the connection. The slot is
        // released when the server has answered, not when the caller gives up.
        let (sender, connecting) = oneshot::channel();
        let connect = connected(config.clone(), purpose, slot);
        tokio::spawn(async move {
            if let Err(Ok(late)) = sender.send(connect.await) {
                late.retire().await;
            }
        });
        let connected = timeout_at(until, connecting).await.map_err(|_| slow())?;
        let ended = |_| StoreError::Unavailable("the connection is lost".to_owned());
        connected.map_err(ended)?.map_err(failed)
    }

    pub(super) const fn client(&self) -> &Client {
        self.session.client()
    }

    pub(super) fn forget_warnings(&self) {
        self.has_warned.store(false, Ordering::Release);
    }

    /// Whether the server has warned since. The driver reads in order: a warning that came with an answer is noted
    /// before the answer is returned.
    pub(super) fn has_warned(&self) -> bool {
        self.has_warned.load(Ordering::Acquire)
    }

    /// Returns what is notified at every notification and at the end of the connection.
    pub(super) fn hint(&self) -> Arc<Notify> {
        Arc::clone(&self.hint)
    }

    /// Gives up a connection on which a statement is not answered in time, and asks the server to cancel the statement.
    /// Not for a commit: one that waits for a standby would be completed without it.
    ///
    /// Behind a pooler only the statement's timeout ends it: `PgBouncer` 1.18 may crash on a cancel request of a client
    /// that is not served yet.
    pub(super) fn cancel(self) {
        tokio::spawn(async move {
            if self.session.is_own() {
                let token = self.client().cancel_token();
                drop(timeout(CANCEL_DEADLINE, token.cancel_query(NoTls)).await);
            }
            self.retire().await;
        });
    }

    /// Gives up a connection on which no statement is to be cancelled.
    pub(super) fn release(self) {
        tokio::spawn(self.retire());
    }

    /// Closes a connection once its server process has answered again. A process that is stopped would not read the
    /// message that ends the connection, and would still exist when the slot is used again.
    async fn retire(self) {
        drop(self.client().simple_query("").await);
    }
}

/// Connects. The task that drives the connection holds its slot.
async fn connected(config: Config, purpose: Use, slot: Slot) -> Driver<Link> {
    let (client, connection) = match config.connect(NoTls).await {
        Ok(connected) => connected,
        Err(error) => {
            if !is_surely_gone(&error) {
                tokio::spawn(keep(slot, LOST));
            }
            return Err(error);
        }
    };
    let has_warned = Arc::new(AtomicBool::new(false));
    let hint = Arc::new(Notify::new());
    tokio::spawn(drive(connection, Arc::clone(&has_warned), Arc::clone(&hint), slot));
    let session = PreparedSession::open(client, purpose).await?;
    Ok(Link {
        session,
        has_warned,
        hint,
    })
}

async fn keep(slot: Slot, time: Duration) {
    sleep(time).await;
    drop(slot);
}

/// Drives the connection until it ends: when its [`Link`] is dropped and everything that was sent is answered, or when
/// the other end has closed it.
async fn drive(
    mut connection: tokio_postgres::Connection<Socket, NoTlsStream>,
    has_warned: Arc<AtomicBool>,
    hint: Arc<Notify>,
    slot: Slot,
) {
    let rest = loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notice(notice))) => {
                if !matches!(
                    notice.parsed_severity(),
                    Some(Severity::Debug | Severity::Info | Severity::Log)
                ) {
                    has_warned.store(true, Ordering::Release);
                }
            }
            Some(Ok(AsyncMessage::Notification(_))) => hint.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) if is_surely_gone(&error) => break Duration::ZERO,
            Some(Err(_)) => break LOST,
            None => break GOODBYE,
        }
    };
    drop(connection);
    hint.notify_one();
    keep(slot, rest).await;
}

/// Whether the server has certainly closed a connection that failed like this: it has reported so itself, or it was
/// never reached. An error of this machine's network alone may be wrong.
fn is_surely_gone(error: &tokio_postgres::Error) -> bool {
    // The driver has no other sign of a failure before the first message.
    if error.is_closed() || error.to_string().starts_with("error connecting to server") {
        return true;
    }
    let network = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    network.is_none_or(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_was_never_reached_holds_nothing() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let config: Config = format!("postgres://nobody@127.0.0.1:{port}/none")
            .parse()
            .expect("a URL");
        let error = config.connect(NoTls).await.err().expect("nobody listens");
        assert!(is_surely_gone(&error), "{error}");
    }

    /// The server accepts the connection and never sends anything.
    #[tokio::test]
    async fn a_connection_keeps_its_place_as_long_as_the_server_may_hold_it() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = server.local_addr().expect("an address").port();
        let config: Config = format!("postgres://nobody@127.0.0.1:{port}/none")
            .parse()
            .expect("a URL");
        let slots = Slots::new(2);
        let open = async || {
            let until = Instant::now() + Duration::from_millis(300);
            Link::open(&config, Use::Reads, &slots, until).await.map(drop)
        };
        let mut held = Vec::new();
        for _ in 0..2 {
            assert!(matches!(open().await, Err(StoreError::Unavailable(_))));
            held.push(server.accept().await.expect("a connection"));
        }
        for _ in 0..3 {
            let refused = open().await.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(refused.contains("has not let go"), "{refused}");
        }
        drop(held.pop());
        assert!(open().await.is_err());
        let third = timeout(Duration::from_secs(5), server.accept()).await;
        assert!(
            third.is_ok(),
            "the server has closed one, so there is a place for another"
        );
    }
}
