//! Operations on a copy of the database, without a server.

use crate::checkpoints::{CHECKPOINT_FILE, VERIFIER_KEY_FILE, open_with};
use keyreeve_api::audit::AuditCheck;
use keyreeve_authority::{Failure, check_log};
use keyreeve_core::audit::{Broken, Milestone};
use keyreeve_store::{SqliteStore, StoreError};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a copy could not be verified.
#[derive(Debug, Error)]
pub enum OfflineError {
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Reading failed before the end of the log.
    #[error("the log cannot be read: {0}")]
    Log(#[from] Failure),
    /// The checkpoint is unusable.
    #[error("the checkpoint {path} {why}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Verifies the audit log of a data directory, or of a copy of the database file.
///
/// `checkpoint` and `verifier_key` are files that were stored elsewhere. Without them, those beside the database are
/// used, if there are any.
pub async fn verify_audit(
    database: &Path,
    checkpoint: Option<&Path>,
    verifier_key: Option<&Path>,
) -> Result<AuditCheck, OfflineError> {
    let file = match database.is_dir() {
        true => database.join("keyreeve.db"),
        false => database.to_owned(),
    };
    let beside = file.parent().unwrap_or(Path::new("."));
    let checkpoint = milestone(beside, checkpoint, verifier_key)?;
    let store = SqliteStore::open_to_read(&file).await?;
    let found = check_log(&store, checkpoint).await?;
    Ok(AuditCheck {
        ok: found.broken.is_none(),
        entries: found.sound.revision,
        since: found.since,
        first_broken: found.broken.as_ref().map(Broken::revision),
        why: found.broken.map(|broken| broken.to_string()),
        checkpoint_revision: checkpoint.map(|one| one.revision),
    })
}

/// Returns the revision up to which a data directory's log is signed, or why it cannot be read; `None` if it never was.
pub(crate) fn kept_checkpoint(data: &Path) -> Option<Result<u64, String>> {
    let kept = milestone(data, None, None).transpose()?;
    Some(kept.map(|kept| kept.revision).map_err(|error| error.to_string()))
}

fn milestone(
    beside: &Path,
    checkpoint: Option<&Path>,
    verifier_key: Option<&Path>,
) -> Result<Option<Milestone>, OfflineError> {
    let is_named = checkpoint.is_some();
    let path = checkpoint.map_or_else(|| beside.join(CHECKPOINT_FILE), Path::to_owned);
    if !is_named && !path.exists() {
        return Ok(None);
    }
    let key = verifier_key.map_or_else(|| beside.join(VERIFIER_KEY_FILE), Path::to_owned);
    let refused = |why: String| OfflineError::Checkpoint {
        path: path.clone(),
        why,
    };
    let read = |file: &Path| {
        std::fs::read_to_string(file).map_err(|error| refused(format!("cannot be read ({}): {error}", file.display())))
    };
    open_with(&read(&path)?, &read(&key)?).map(Some).map_err(refused)
}
