//! Migrates the database of several nodes without starting a node.

use crate::instance::StartError;
use keyreeve_store::{DatabaseAccess, PostgresStore, SchemaChange};

/// Brings a Postgres database to the schema of this version, as the role in `access`. Running nodes of the version before
/// keep working. Creates no instance.
///
/// # Errors
/// [`StartError::Store`] if the database cannot be reached, is of a newer version, or the role may not change it.
pub async fn migrate_database(access: &DatabaseAccess) -> Result<SchemaChange, StartError> {
    Ok(PostgresStore::migrate(access).await?)
}
