//! Restores a backup into an empty data directory or an empty Postgres database.

use super::RowProgress;
use super::error::BackupError;
use super::sealed::Identities;
use super::unfinished::UnfinishedMark;
use super::verify::{VerifiedBackup, with_rows};
use crate::instance::StartError;
use crate::restored::{self, DenialsFiles, RestoreChoice, RestoreOrder, RestorePlace, RestoreReport, RestoredFrom};
use keyreeve_authority::VerifierMemory;
use keyreeve_core::{Timestamp, bytes_of_hex};
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

/// What happens with a restored instance before it is served.
#[derive(Clone, Debug)]
pub struct FirstSteps {
    /// The operator's choice for the time for which no denial is known; `None` leaves it open, and no key is verified.
    pub choice: Option<RestoreChoice>,
    /// The reason, for the audit log.
    pub reason: String,
    /// Files with denials, besides the one in the data directory.
    pub denials: Vec<PathBuf>,
}

/// Where a backup is restored.
#[derive(Clone, Debug)]
pub enum RestoreTarget {
    /// SQLite in a data directory, which is created if it does not exist.
    Directory(PathBuf),
    /// A Postgres database, and the data directory of the node that will use it.
    Database {
        /// How it is reached.
        access: Box<DatabaseAccess>,
        /// The data directory.
        data: PathBuf,
    },
}

/// Restores a backup, verified, completely or not at all. Rows are loaded while the file is read, so that memory does not
/// grow with it, and committed only when all of it is verified.
///
/// # Errors
/// If the backup is not as it was written, or the target holds an instance. Then nothing was changed. If it fails after the
/// rows were committed, nothing is served from them until a restore was completed.
pub async fn restore(
    backup: BackupToRestore,
    target: &RestoreTarget,
    steps: &FirstSteps,
    progress: Arc<RowProgress>,
) -> Result<(VerifiedBackup, Option<RestoreReport>), BackupError> {
    let data = match target {
        RestoreTarget::Directory(data) | RestoreTarget::Database { data, .. } => data,
    };
    // Before anything is created: a file that cannot be opened changes nothing.
    let _readable = super::sealed::open(&backup.file, &backup.identities)?;
    let lock = DirectoryLock::take(data)?;
    // Before anything is loaded: a file that was named by mistake must not leave a restore unfinished.
    let denials = DenialsFiles::read(data, &steps.denials).await?;
    let mark = UnfinishedMark::set(data)?;
    let mut may_be_committed = false;
    let verified = match load(backup, target, &denials, progress, &mut may_be_committed).await {
        Ok(verified) => verified,
        Err(error) => {
            // The mark of an earlier restore stays: its rows may be here.
            if !may_be_committed && mark.is_new() {
                mark.remove()?;
            }
            return Err(error);
        }
    };
    let report = begin(&verified, target, lock, steps).await?;
    mark.remove()?;
    Ok((verified, report))
}

/// Writes the denials again that the backup lacks, before anything is served from it.
async fn begin(
    verified: &VerifiedBackup,
    target: &RestoreTarget,
    lock: DirectoryLock,
    steps: &FirstSteps,
) -> Result<Option<RestoreReport>, BackupError> {
    let end = verified.manifest.end()?;
    let order = RestoreOrder {
        from: Some(RestoredFrom {
            taken_at: Timestamp::from_millis(verified.manifest.taken_at),
            revision: end.revision,
            chain: end.chain,
        }),
        choice: steps.choice,
        reason: &steps.reason,
        denials: &steps.denials,
    };
    Ok(match target {
        RestoreTarget::Directory(data) => restored::begin(RestorePlace::Directory { data, lock }, order).await?,
        // The lock of the directory is held until all is done.
        RestoreTarget::Database { access, data } => {
            let report = restored::begin(RestorePlace::Database { data, access }, order).await?;
            drop(lock);
            report
        }
    })
}

async fn load(
    backup: BackupToRestore,
    target: &RestoreTarget,
    denials: &DenialsFiles,
    progress: Arc<RowProgress>,
    may_be_committed: &mut bool,
) -> Result<VerifiedBackup, BackupError> {
    let (RestoreTarget::Directory(data) | RestoreTarget::Database { data, .. }) = target;
    let mut load = match target {
        RestoreTarget::Directory(data) => {
            crate::moving::refuse_moved(data)?;
            Load::Embedded(Box::new(SqliteLoad::begin(data).await?))
        }
        RestoreTarget::Database { access, .. } => {
            let store = PostgresStore::open(access, Arc::new(VerifierMemory::new(1))).await?;
            Load::Shared(Box::new(PostgresLoad::begin_restore(&store).await?))
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
    let end = verified.manifest.end()?;
    let head = Head {
        revision: end.revision,
        chain: end.chain,
    };
    if let Some(first) = verified.manifest.instance.as_deref().and_then(bytes_of_hex) {
        denials.require_instance(first)?;
    }
    *may_be_committed = true;
    load.finish(&counts(&verified), head)
        .await
        .map_err(|error| unfinished(error, data))?;
    Ok(verified)
}

fn unfinished(error: keyreeve_store::StoreError, data: &Path) -> BackupError {
    match error {
        keyreeve_store::StoreError::Unavailable(why) => StartError::Unsafe(format!(
            "the backup could not be completed in {}, and nothing is served from it: {why}. Restore it again",
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

#[cfg(test)]
mod tests {
    use super::super::unfinished::refuse_unfinished;
    use super::*;

    fn nothing_chosen() -> FirstSteps {
        FirstSteps {
            choice: None,
            reason: "test".to_owned(),
            denials: Vec::new(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_repeat_does_not_make_an_unfinished_restore_servable() {
        let directory = tempfile::tempdir().unwrap();
        let (data, file) = (directory.path().join("data"), directory.path().join("a.backup"));
        std::fs::create_dir(&data).unwrap();
        std::fs::write(&file, [0; 64]).unwrap();
        let attempt = async || {
            let backup = BackupToRestore {
                file: file.clone(),
                public_key: None,
                identities: Identities::default(),
            };
            let target = RestoreTarget::Directory(data.clone());
            let steps = nothing_chosen();
            restore(backup, &target, &steps, Arc::new(RowProgress::default()))
                .await
                .map(drop)
                .unwrap_err()
        };
        let changed = attempt().await;
        assert!(
            matches!(
                changed,
                BackupError::NotABackup | BackupError::Changed(_) | BackupError::Cut
            ),
            "{changed}"
        );
        refuse_unfinished(&data).unwrap();

        // As after a restore that failed when its rows were committed.
        UnfinishedMark::set(&data).unwrap();
        std::fs::write(data.join("keyreeve.db"), "rows").unwrap();
        let refused = attempt().await;
        assert!(refused.to_string().contains("there is a database"), "{refused}");
        refuse_unfinished(&data).unwrap_err();
    }
}
