//! Makes a backup: from the database, or from what a running server sends.

use super::archive::{ArchiveWriter, rows_of_part, unwritten};
use super::error::BackupError;
use super::file::{BackupFile, StoredBackup};
use super::manifest::{ArchiveHead, Manifest};
use super::read::member;
use super::sealed::{Recipients, Sealed};
use super::serve::BackupService;
use super::unfinished::refuse_unfinished;
use super::{FAILED_NAME, HEAD_NAME, MANIFEST_NAME, RowProgress, SIGNATURE_NAME};
use crate::checkpoints::Checkpoints;
use crate::instance::StartError;
use crate::world::WallClock;
use bytes::{Buf as _, Bytes};
use futures_util::future::join;
use keyreeve_authority::env::Clock as _;
use keyreeve_store::copy::{
    BATCHES_WAITING, CopyPriority, InstanceSnapshot, PostgresSnapshot, RowBatch, SqliteSnapshot, on_thread,
};
use keyreeve_store::{DATABASE_FILE, DatabaseAccess, DirectoryLock};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Makes a backup without a server: of the SQLite database in a data directory, or of a Postgres database, signed with the
/// key in the data directory. A directory that a server uses is refused.
///
/// # Errors
/// If the database or the directory cannot be read, or the file cannot be written. Then no file is left.
pub async fn offline(
    data: &Path,
    database: Option<&DatabaseAccess>,
    out: BackupFile,
    recipients: Recipients,
    progress: Arc<RowProgress>,
) -> Result<(Manifest, StoredBackup), BackupError> {
    if !data.is_dir() {
        let why = format!("there is no data directory {}; name it with --data", data.display());
        return Err(StartError::Unsafe(why).into());
    }
    let _lock = DirectoryLock::take(data)?;
    refuse_unfinished(data)?;
    let taken_at = now();
    let snapshot = match database {
        None => {
            crate::moving::refuse_moved(data)?;
            crate::history::require_contained(data).await?;
            let file = data.join(DATABASE_FILE);
            if !file.exists() {
                return Err(StartError::Empty(data.to_owned()).into());
            }
            InstanceSnapshot::Embedded(Box::new(SqliteSnapshot::open(&file).await?))
        }
        Some(access) => InstanceSnapshot::Shared(Box::new(PostgresSnapshot::open(access).await?)),
    };
    let signer = crate::history::checkpoints(data)?;
    let out = Sealed::begin(out, &recipients)?;
    let (manifest, out) = archive(snapshot, taken_at, Signer::Own(Box::new(signer)), out, progress).await?;
    let written = on_thread(CopyPriority::Usual, move || out.finish().map_err(unwritten)?.finish()).await??;
    Ok((manifest, written))
}

/// Returns the time. A backup has the one before its snapshot was opened: what is denied after that may be missing in it.
pub(super) fn now() -> i64 {
    WallClock.now().millis()
}

/// What signs a backup.
pub(super) enum Signer {
    /// The key of a directory without a server.
    Own(Box<Checkpoints>),
    /// The key of this server.
    Server(Arc<BackupService>),
}

impl Signer {
    /// A server does other work, too.
    const fn priority(&self) -> CopyPriority {
        match self {
            Self::Own(_) => CopyPriority::Usual,
            Self::Server(_) => CopyPriority::Low,
        }
    }

    fn checkpoints(&self) -> &Checkpoints {
        match self {
            Self::Own(checkpoints) => checkpoints,
            Self::Server(service) => service.log_signer.checkpoints(),
        }
    }
}

/// Writes a snapshot as an archive; `taken_at` is a time before the snapshot was opened. One thread reads and another one
/// compresses and writes, in a server both with a low priority, and a few batches are in memory.
pub(super) async fn archive<W: Write + Send + 'static>(
    snapshot: InstanceSnapshot,
    taken_at: i64,
    signer: Signer,
    out: W,
    progress: Arc<RowProgress>,
) -> Result<(Manifest, W), BackupError> {
    let facts = snapshot.facts().clone();
    progress.expect(facts.rows.iter().map(|table| table.rows).sum());
    let (sender, batches) = mpsc::channel(BATCHES_WAITING);
    let (end, ended) = oneshot::channel::<Option<String>>();
    let priority = signer.priority();
    let write = on_thread(priority, move || {
        let public_key = signer.checkpoints().verifier_key();
        let archive = ArchiveWriter::begin(out, &facts, taken_at, public_key).map_err(unwritten)?;
        write(archive, batches, ended, &signer, &progress)
    });
    let read = async {
        let sent = snapshot.send(sender, priority).await;
        // An error means that the writer has failed, and has its reason.
        drop(end.send(sent.as_ref().err().map(ToString::to_string)));
        sent
    };
    let (sent, written) = join(read, write).await;
    sent?;
    written?
}

fn write<W: Write>(
    mut archive: ArchiveWriter<W>,
    mut batches: mpsc::Receiver<RowBatch>,
    ended: oneshot::Receiver<Option<String>>,
    signer: &Signer,
    progress: &RowProgress,
) -> Result<(Manifest, W), BackupError> {
    while let Some(batch) = batches.blocking_recv() {
        archive.add(&batch).map_err(unwritten)?;
        progress.add(u64::try_from(batch.rows.len()).unwrap_or(0));
    }
    match ended.blocking_recv() {
        Ok(None) => {
            let (manifest, mut out) = archive.finish(signer.checkpoints())?;
            out.flush().map_err(unwritten)?;
            Ok((manifest, out))
        }
        Ok(Some(why)) => {
            archive.give_up(&why);
            Err(BackupError::GivenUp(why))
        }
        Err(_) => Err(BackupError::Interrupted),
    }
}

/// Writes an archive that a running server sends in pieces. The pieces end with an error if the connection is lost.
///
/// # Errors
/// If the server gave up, the connection ended early, or the file cannot be written. Then no file is left.
pub async fn receive(
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    out: BackupFile,
    recipients: Recipients,
    progress: Arc<RowProgress>,
) -> Result<(Manifest, StoredBackup), BackupError> {
    let received = on_thread(CopyPriority::Usual, move || {
        let out = Sealed::begin(out, &recipients)?;
        let mut copied = Copying {
            from: Pieces {
                pieces,
                rest: Bytes::new(),
            },
            out,
            failure: None,
        };
        let manifest = follow(&mut copied, &progress);
        if let Some(error) = copied.failure {
            return Err(unwritten(error));
        }
        let manifest = manifest?;
        let written = copied.out.finish().map_err(unwritten)?.finish()?;
        Ok((manifest, written))
    });
    received.await?
}

/// Reads an archive up to its end without unpacking it, and returns its manifest. It is not verified.
fn follow(from: &mut impl Read, progress: &RowProgress) -> Result<Manifest, BackupError> {
    let mut archive = tar::Archive::new(&mut *from);
    let (mut manifest, mut is_complete) = (None, false);
    for entry in archive.entries().map_err(BackupError::of_reading)?.raw(true) {
        let mut entry = entry.map_err(BackupError::of_reading)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match name.as_str() {
            HEAD_NAME => {
                let head: ArchiveHead =
                    serde_json::from_slice(&member(&mut entry)?).map_err(|_| BackupError::NotABackup)?;
                progress.expect(head.rows);
            }
            FAILED_NAME => {
                return Err(BackupError::GivenUp(
                    String::from_utf8_lossy(&member(&mut entry)?).into_owned(),
                ));
            }
            MANIFEST_NAME => manifest = serde_json::from_slice(&member(&mut entry)?).ok(),
            SIGNATURE_NAME => is_complete = true,
            other => progress.add(rows_of_part(other).unwrap_or(0)),
        }
    }
    // The zeros at the end belong to the file.
    io::copy(from, &mut io::sink()).map_err(BackupError::of_reading)?;
    manifest.filter(|_| is_complete).ok_or(BackupError::Cut)
}

/// Reads, and writes everything that was read. A failure to write ends the reading, and is kept: the reader must not take
/// it for one of the archive.
struct Copying<R, W> {
    from: R,
    out: W,
    failure: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Copying<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        if let Err(error) = self.out.write_all(buffer.get(..length).unwrap_or_default()) {
            self.failure = Some(error);
            return Err(io::Error::other("not written"));
        }
        Ok(length)
    }
}

/// Reads the pieces of a channel.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.rest = piece?,
            }
        }
        let length = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(buffer.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}
