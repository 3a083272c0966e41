//! Verifies a backup without a server or a database.

use super::RowProgress;
use super::error::BackupError;
use super::manifest::Manifest;
use super::read::{TakeRows, read};
use super::sealed::{self, Identities};
use crate::checkpoints::{VERIFIER_KEY_FILE, fingerprint};
pub use keyreeve_store::copy::CopyPriority;
use keyreeve_store::copy::on_thread;
use std::path::Path;
use std::sync::Arc;

/// A backup that was read to its end and is as it was written.
#[derive(Clone, Debug)]
pub struct VerifiedBackup {
    /// What is in it.
    pub manifest: Manifest,
    /// The fingerprint of the key that signed it.
    pub fingerprint: String,
    /// Whether it is encrypted.
    pub is_encrypted: bool,
}

/// Verifies a file: its signature, the digests of its parts, the counts of rows, and the chain of the audit log.
///
/// # Errors
/// If anything differs from what was written, or the key from `public_key`.
pub async fn verify(
    file: &Path,
    public_key: Option<String>,
    identities: Identities,
    progress: Arc<RowProgress>,
    priority: CopyPriority,
) -> Result<VerifiedBackup, BackupError> {
    let file = file.to_owned();
    on_thread(priority, move || {
        with_rows(&file, public_key.as_deref(), &identities, &progress, &mut |_| Ok(()))
    })
    .await?
}

/// Verifies a file, and passes its rows on as they are read.
pub(super) fn with_rows(
    file: &Path,
    public_key: Option<&str>,
    identities: &Identities,
    progress: &RowProgress,
    take: TakeRows<'_>,
) -> Result<VerifiedBackup, BackupError> {
    let (from, is_encrypted) = sealed::open(file, identities)?;
    let manifest = read(from, public_key, progress, take)?;
    Ok(VerifiedBackup {
        fingerprint: fingerprint(&manifest.public_key).map_err(BackupError::Changed)?,
        manifest,
        is_encrypted,
    })
}

/// Returns a public key that was given as its text, as a file, or as the data directory that has one.
///
/// # Errors
/// If it cannot be read.
pub fn public_key(given: &str) -> Result<String, BackupError> {
    let path = Path::new(given);
    let text = match path {
        directory if directory.is_dir() => std::fs::read_to_string(directory.join(VERIFIER_KEY_FILE)),
        file if file.is_file() => std::fs::read_to_string(file),
        _ => Ok(given.to_owned()),
    };
    let text = text.map_err(|error| BackupError::PublicKey(format!("{given}: {error}")))?;
    fingerprint(&text).map_err(BackupError::PublicKey)?;
    Ok(text.trim().to_owned())
}
