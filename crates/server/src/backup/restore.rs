//! Restores a backup into an empty data directory or an empty Postgres database.

use super::RowProgress;
use super::error::BackupError;
use super::sealed::Identities;
use super::verify::{VerifiedBackup, with_rows};
use crate::instance::StartError;
use crate::restored::{self, RestoredFrom};
use keyreeve_authority::VerifierMemory;
use keyreeve_core::Timestamp;
use keyreeve_core::audit::Milestone;
use keyreeve_store::copy::{BATCHES_WAITING, Copied, CopyPriority, Load, PostgresLoad, SqliteLoad, TABLES, on_thread};
use keyreeve_store::model::Head;
use keyreeve_store::{DatabaseAccess, DirectoryLock, PostgresStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A backup to restore.
#[derive(Debug)]
pub struct BackupToRestore {
    /// The file.
    pub file: PathBuf,
    /// The public key that must have signed it, if one was given.
    pub public_key: Option<String>,
    /// What opens it, if it is encrypted.
    pub identities: Identities,
}

/// Where a backup is restored.
#[derive(Clone, Debug)]
pub enum RestoreTarget {
    /// SQLite in a data directory, which is created if it does not exist.
    Directory(PathBuf),
    /// A Postgres database, and the data directory of the node that will use it.
    Database {
        /// The URL.
        access: Box<DatabaseAccess>,
        /// The data directory.
        data: PathBuf,
    },
}

/// Restores a backup, verified, completely or not at all. Rows are loaded while the file is read, so that memory does not
/// grow with it, and committed only when all of it is verified.
///
/// # Errors
/// If the backup is not as it was written, or the target holds an instance. Then nothing was changed.
pub async fn restore(
    backup: BackupToRestore,
    target: &RestoreTarget,
    progress: Arc<RowProgress>,
) -> Result<VerifiedBackup, BackupError> {
    let data = match target {
        RestoreTarget::Directory(data) | RestoreTarget::Database { data, .. } => data,
    };
    // Before anything is created: a file that cannot be opened changes nothing.
    let _readable = super::sealed::open(&backup.file, &backup.identities)?;
    let lock = DirectoryLock::take(data)?;
    let verified = load(backup, target, data, progress).await?;
    let manifest = &verified.manifest;
    let from = RestoredFrom {
        taken_at: Timestamp::from_millis(manifest.taken_at),
        end: manifest.end()?,
        instance: manifest.instance.clone(),
        signed_by: verified.fingerprint.clone(),
    };
    let access = match target {
        RestoreTarget::Directory(_) => None,
        RestoreTarget::Database { access, .. } => Some(&**access),
    };
    restored::begin(data, lock, access, &from).await?;
    Ok(verified)
}

async fn load(
    backup: BackupToRestore,
    target: &RestoreTarget,
    data: &Path,
    progress: Arc<RowProgress>,
) -> Result<VerifiedBackup, BackupError> {
    let mut load = match target {
        RestoreTarget::Directory(data) => {
            crate::moving::refuse_moved(data)?;
            Load::Embedded(Box::new(SqliteLoad::begin(data).await?))
        }
        RestoreTarget::Database { access, .. } => {
            let store = PostgresStore::open(access, Arc::new(VerifierMemory::new(1))).await?;
            Load::Shared(Box::new(PostgresLoad::begin(&store).await?))
        }
    };
    let (sender, mut batches) = mpsc::channel(BATCHES_WAITING);
    let read = on_thread(CopyPriority::Usual, move || {
        let mut take = |batch| sender.blocking_send(batch).map_err(|_| BackupError::Interrupted);
        let key = backup.public_key.as_deref();
        with_rows(&backup.file, key, &backup.identities, &progress, &mut take)
    });
    let take = async move {
        while let Some(batch) = batches.recv().await {
            // An error drops the receiver, and then the reader ends too.
            load.take(batch).await?;
        }
        Ok::<_, BackupError>(load)
    };
    let (verified, load) = tokio::join!(read, take);
    // The load's error first: the reader's is then that it was interrupted.
    let load = load?;
    let verified = verified??;
    let Milestone { revision, chain } = verified.manifest.end()?;
    load.finish(&counts(&verified), Head { revision, chain })
        .await
        .map_err(|error| unfinished(error, data))?;
    Ok(verified)
}

fn unfinished(error: keyreeve_store::StoreError, data: &Path) -> BackupError {
    match error {
        keyreeve_store::StoreError::Unavailable(why) => StartError::Unsafe(format!(
            "the backup could not be completed in {}, and nothing was restored: {why}",
            data.display()
        ))
        .into(),
        other => other.into(),
    }
}

fn counts(verified: &VerifiedBackup) -> Vec<Copied> {
    let rows = |name: &str| verified.manifest.tables.iter().find(|table| table.name == name);
    let counts = TABLES.iter().map(|table| Copied {
        table: table.name,
        rows: rows(table.name).map_or(0, |found| found.rows),
    });
    counts.collect()
}
