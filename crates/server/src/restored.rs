//! The first steps of an instance that was restored from a backup.

use crate::instance::StartError;
use keyreeve_core::Timestamp;
use keyreeve_core::audit::Milestone;
use keyreeve_store::{DatabaseAccess, DirectoryLock};
use std::path::Path;

/// The backup that an instance was restored from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RestoredFrom {
    /// When the backup was taken.
    pub(crate) taken_at: Timestamp,
    /// The end of its audit log.
    pub(crate) end: Milestone,
    /// The chain hash of the first entry of its audit log, in hexadecimal.
    pub(crate) instance: Option<String>,
    /// The fingerprint of the key that signed it.
    pub(crate) signed_by: String,
}

/// Begins the life of a restored instance, before it is served. All rows are in the database, and nothing was served
/// from it yet. `database` is Postgres; without one, the database is in the data directory.
#[expect(clippy::unused_async, reason = "what it has to do needs the store")]
pub(crate) async fn begin(
    data: &Path,
    lock: DirectoryLock,
    database: Option<&DatabaseAccess>,
    from: &RestoredFrom,
) -> Result<(), StartError> {
    let is_shared = database.is_some();
    tracing::info!(data = %data.display(), is_shared, revision = from.end.revision, "restored");
    drop(lock);
    Ok(())
}
