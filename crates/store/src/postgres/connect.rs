//! Connections, and what their failures mean.

use super::engine::{Driver, slow};
use super::prepared::Session;
use crate::error::StoreError;
use std::error::Error;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::Severity;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Socket};

/// How long connecting may take.
const CONNECT_DEADLINE: Duration = Duration::from_millis(1_500);

/// The whole of an error: the driver says only `db error` and keeps the rest in the cause.
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

/// What a failed statement means. Only what the database itself says of its contents is corrupt.
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

/// A connection of our own, with what the server says unasked.
pub(super) struct Link {
    pub(super) session: Session,
    has_warned: Arc<AtomicBool>,
    hint: Arc<Notify>,
    driver: JoinHandle<()>,
}

impl Link {
    pub(super) async fn open(config: &Config) -> Result<Self, StoreError> {
        Self::connect(config, async |client| Ok(Session::of(client))).await
    }

    /// One that stays, and prepares its statements if it may.
    pub(super) async fn open_to_stay(config: &Config) -> Result<Self, StoreError> {
        Self::connect(config, Session::of_its_own).await
    }

    async fn connect(
        config: &Config,
        session: impl AsyncFnOnce(Client) -> Driver<Session>,
    ) -> Result<Self, StoreError> {
        let connecting = timeout(CONNECT_DEADLINE, config.connect(NoTls)).await;
        let (client, connection) = connecting.map_err(|_| slow())?.map_err(failed)?;
        let has_warned = Arc::new(AtomicBool::new(false));
        let hint = Arc::new(Notify::new());
        let driver = tokio::spawn(drive(connection, Arc::clone(&has_warned), Arc::clone(&hint)));
        let looking = timeout(CONNECT_DEADLINE, session(client)).await;
        let session = looking.map_err(|_| slow())?.map_err(failed)?;
        Ok(Self {
            session,
            has_warned,
            hint,
            driver,
        })
    }

    pub(super) const fn client(&self) -> &Client {
        self.session.client()
    }

    pub(super) fn forget_warnings(&self) {
        self.has_warned.store(false, Ordering::Release);
    }

    /// Whether the server has warned since. The driver reads in order: a warning that came with an answer is noted
    /// before the answer is handed on.
    pub(super) fn has_warned(&self) -> bool {
        self.has_warned.load(Ordering::Acquire)
    }

    /// Told of every notification, and of the end of the connection.
    pub(super) fn hint(&self) -> Arc<Notify> {
        Arc::clone(&self.hint)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The socket is closed at once, whatever is under way: the server rolls back.
        self.driver.abort();
    }
}

async fn drive(
    mut connection: tokio_postgres::Connection<Socket, NoTlsStream>,
    has_warned: Arc<AtomicBool>,
    hint: Arc<Notify>,
) {
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) => {
                if !matches!(
                    notice.parsed_severity(),
                    Some(Severity::Debug | Severity::Info | Severity::Log)
                ) {
                    has_warned.store(true, Ordering::Release);
                }
            }
            Ok(AsyncMessage::Notification(_)) => hint.notify_one(),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    hint.notify_one();
}
