//! A running server makes backups: one at a time, streamed to a command on this machine or into a file of its own.

use super::RowProgress;
use super::archive::unwritten;
use super::create::{Signer, archive, now};
use super::error::BackupError;
use super::manifest::Manifest;
use super::schedule::Backups;
use crate::log_signer::LogSigner;
use crate::settings::Settings;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::unfold;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use keyreeve_authority::Authority;
use keyreeve_store::copy::{InstanceSnapshot, PostgresSnapshot, SqliteSnapshot};
use keyreeve_store::{PostgresStore, SqliteStore, StoreError};
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The path at which a running server sends a backup, only on the socket in its data directory.
pub const ADDRESS: &str = "/operator/backup";
/// The path at which a command reports that it has stored a backup.
pub const KEPT_ADDRESS: &str = "/operator/backup-kept";
/// Bytes of one piece of a stream, and pieces that wait for the client.
const PIECE_BYTES: usize = 64 * 1024;
const PIECES_WAITING: usize = 8;

/// The database of this server, to take snapshots of.
#[derive(Clone, Debug)]
pub(crate) enum OpenDatabase {
    Embedded(Arc<SqliteStore>),
    Shared(Arc<PostgresStore>),
}

impl OpenDatabase {
    async fn snapshot(&self) -> Result<InstanceSnapshot, StoreError> {
        match self {
            Self::Embedded(store) => match store.halt_reason() {
                Some(why) => Err(StoreError::Unavailable(why)),
                None => Ok(InstanceSnapshot::Embedded(Box::new(
                    SqliteSnapshot::open(store.file()).await?,
                ))),
            },
            Self::Shared(store) => Ok(InstanceSnapshot::Shared(Box::new(PostgresSnapshot::of(store).await?))),
        }
    }
}

/// What makes backups of this server.
#[derive(Debug)]
pub(crate) struct BackupService {
    pub(super) authority: Arc<Authority>,
    pub(super) log_signer: Arc<LogSigner>,
    database: OpenDatabase,
    /// What this process knows of backups.
    pub(crate) known: Backups,
    pub(super) settings: Arc<Settings>,
}

impl BackupService {
    pub(crate) fn new(
        authority: Arc<Authority>,
        log_signer: Arc<LogSigner>,
        database: OpenDatabase,
        settings: Arc<Settings>,
    ) -> Self {
        Self {
            authority,
            log_signer,
            database,
            known: Backups::of_directory(&settings.data),
            settings,
        }
    }
}

/// Writes a backup of this server. Refused while another one is being written: each holds a snapshot of the database.
pub(super) async fn write<W: Write + Send + 'static>(
    service: &Arc<BackupService>,
    out: W,
) -> Result<(Manifest, W), BackupError> {
    let busy = || BackupError::GivenUp("another backup is being made; try again when it is done".to_owned());
    let Ok(_turn) = service.known.turn.try_lock() else {
        return Err(busy());
    };
    let taken_at = now();
    let snapshot = service.database.snapshot().await?;
    archive(
        snapshot,
        taken_at,
        Signer::Server(Arc::clone(service)),
        out,
        Arc::new(RowProgress::default()),
    )
    .await
}

/// Answers with a backup. An error ends the stream with a member that has its reason.
pub(crate) fn serve(service: &Arc<BackupService>) -> Response<Body> {
    let (sender, pieces) = mpsc::channel(PIECES_WAITING);
    let out = BufWriter::with_capacity(PIECE_BYTES, PieceWriter(sender.clone()));
    let service = Arc::clone(service);
    tokio::spawn(async move {
        // The stream ends with the manifest or with the reason; a client that has gone needs neither.
        if let Err(error) = write(&service, out).await {
            tracing::error!(%error, "backup failed");
            drop(sender.send(Ok(given_up(&error))).await);
        }
    });
    let body = unfold(pieces, async |mut pieces: mpsc::Receiver<io::Result<Bytes>>| {
        pieces.recv().await.map(|piece| (piece, pieces))
    });
    let mut response = Response::new(Body::from_stream(body));
    let kind = HeaderValue::from_static("application/x-tar");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Records that a command has stored a backup, for the metrics and `doctor`.
pub(crate) async fn note_kept(service: &Arc<BackupService>) -> Response<Body> {
    let (service, now) = (Arc::clone(service), service.authority.now().millis());
    let noted = tokio::task::spawn_blocking(move || service.known.note_success(&service.settings.data, now));
    // The only failure is a panic, which was logged.
    drop(noted.await);
    Response::new(Body::from("{}"))
}

/// Returns the end of an archive that was given up.
fn given_up(error: &BackupError) -> Bytes {
    let why = error.to_string();
    let mut header = tar::Header::new_ustar();
    header.set_size(u64::try_from(why.len()).unwrap_or(0));
    header.set_mode(0o600);
    let mut archive = tar::Builder::new(Vec::new());
    let appended = archive.append_data(&mut header, super::FAILED_NAME, why.as_bytes());
    let bytes = appended.and_then(|()| archive.into_inner());
    bytes.map_err(unwritten).unwrap_or_default().into()
}

/// Sends what is written as pieces of a stream.
struct PieceWriter(mpsc::Sender<io::Result<Bytes>>);

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone");
        let piece = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(Ok(piece)).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
