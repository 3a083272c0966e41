//! Moves an embedded instance into Postgres.

use crate::instance::StartError;
use keyreeve_authority::{VerifierMemory, check_log};
use keyreeve_store::copy::{Copied, copy};
use keyreeve_store::{DirectoryLock, PostgresStore, SqliteStore, Store as _, StoreError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Marks a data directory whose contents have moved.
const MARK: &str = "moved";

/// The result of a move.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Rows by table.
    pub tables: Vec<Copied>,
    /// The end of the log, in both databases.
    pub revision: u64,
}

/// Copies the instance of a data directory into an empty Postgres database, verifies the copy by counts and by the
/// chain of its log, and marks the directory, so that the old data is not served again by mistake. The directory must
/// not be in use: a revocation there after the copy would be lost.
pub async fn move_to_postgres(data: &Path, url: &str) -> Result<Moved, StartError> {
    refuse_moved(data)?;
    if !data.join("keyreeve.db").exists() {
        return Err(StartError::Unsafe(format!(
            "there is no instance in {}; name its directory with --data",
            data.display()
        )));
    }
    let nobody = || Arc::new(VerifierMemory::new(1));
    let lock = DirectoryLock::take(data)?;
    crate::history::require_contained(data).await?;
    let from = SqliteStore::open_locked(data, lock, nobody()).await?;
    let to = PostgresStore::open(url, nobody()).await?;
    let tables = copy(&from, &to).await?;
    let (there, here) = (from.head().await?, to.head().await?);
    let check = check_log(&to, None).await?;
    if there != here || check.broken.is_some() {
        let why = format!(
            "the copied log ends at {} instead of {}, or its chain is broken; nothing was marked as moved. Empty the \
             database and try again",
            here.revision, there.revision
        );
        return Err(StoreError::Corrupt(why).into());
    }
    mark(data)?;
    from.close().await;
    to.close().await;
    Ok(Moved {
        tables,
        revision: here.revision,
    })
}

fn mark_of(data: &Path) -> PathBuf {
    data.join(MARK)
}

fn mark(data: &Path) -> Result<(), StartError> {
    let text = "This data has moved to Postgres. Serving it again would revive keys that were revoked since.\n";
    let written = std::fs::write(mark_of(data), text);
    written.map_err(|error| StartError::Unsafe(format!("the copy is good, but {MARK} cannot be written: {error}")))
}

/// Refuses a directory whose contents have moved.
pub(crate) fn refuse_moved(data: &Path) -> Result<(), StartError> {
    if !mark_of(data).exists() {
        return Ok(());
    }
    Err(StartError::Unsafe(format!(
        "the data in {} was moved to Postgres; start with --database. Keys that were revoked since are still valid \
         here; to serve this data in spite of that, remove {}",
        data.display(),
        mark_of(data).display()
    )))
}
