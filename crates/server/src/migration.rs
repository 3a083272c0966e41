//! Migrates the database of several nodes without starting a node.

use crate::instance::StartError;
use keyreeve_store::{PostgresStore, SchemaChange};

/// Brings a Postgres database to the schema of this version, as the role in `url`. Running nodes of the version before
/// keep working. Creates no instance.
///
/// # Errors
/// [`StartError::Store`] if the database cannot be reached, is of a newer version, or the role may not change it.
pub async fn migrate_database(url: &str) -> Result<SchemaChange, StartError> {
    Ok(PostgresStore::migrate(url).await?)
}
