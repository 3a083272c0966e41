//! Migrates the database of several nodes without starting a node.

use crate::instance::StartError;
use keyreeve_store::PostgresStore;

/// The version of the schema before and after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SchemaVersions {
    /// The version that was found. 0: the database was empty.
    pub from: i64,
    /// The version that it has now.
    pub to: i64,
}

/// Brings a Postgres database to the schema of this version, as the role in `url`. Running nodes of the version before
/// keep working. Creates no instance.
///
/// # Errors
/// [`StartError::Store`] if the database cannot be reached, is of a newer version, or the role may not change it.
pub async fn migrate_database(url: &str) -> Result<SchemaVersions, StartError> {
    let change = PostgresStore::migrate(url).await?;
    Ok(SchemaVersions {
        from: change.from,
        to: change.to,
    })
}
