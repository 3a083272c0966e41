//! Fills an empty Postgres database, in one transaction.

use super::PostgresStore;
use super::connect::{Link, failed};
use super::prepared::Use;
use super::{NO_TIMEOUTS, START_DEADLINE};
use crate::copy::{Cell, ColumnKind, Copied, RowBatch, ends_elsewhere, listed, miscounted};
use crate::error::StoreError;
use crate::model::Head;
use std::fmt::{self, Write as _};
use std::pin::pin;
use tokio::time::Instant;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

const BEGIN: &str = "BEGIN; SELECT set_config('keyreeve.writer', 'on', TRUE), \
     set_config('synchronous_commit', 'on', TRUE); SELECT revision FROM head WHERE id = 1 FOR UPDATE";
const SET_HEAD: &str = "UPDATE head SET (revision, chain) = \
     (SELECT revision, chain FROM log ORDER BY revision DESC LIMIT 1) WHERE EXISTS (SELECT 1 FROM log)";
/// Committed together with the rows, so that no node serves them before lost denials are written again.
const SET_RESTORING: &str = "CREATE TABLE IF NOT EXISTS keyreeve_restoring ()";
const END_RESTORING: &str = "DROP TABLE IF EXISTS keyreeve_restoring";
pub(super) const IS_RESTORING: &str = "SELECT to_regclass('keyreeve_restoring') IS NOT NULL AS is_restoring";
const HEAD: &str = "SELECT revision, chain FROM head WHERE id = 1";

/// An open transaction that fills an empty database. Dropped before it is finished, it is rolled back.
pub struct PostgresLoad {
    link: Link,
}

impl PostgresLoad {
    /// Begins to fill a database.
    ///
    /// # Errors
    /// [`StoreError::Disagreement`] if it holds an instance.
    pub async fn begin(store: &PostgresStore) -> Result<Self, StoreError> {
        let until = Instant::now() + START_DEADLINE;
        let link = Link::open(&store.connector, Use::Long, &store.copiers, until).await?;
        link.client().batch_execute(BEGIN).await.map_err(failed)?;
        link.client().batch_execute(NO_TIMEOUTS).await.map_err(failed)?;
        let ask = "SELECT (SELECT count(*) FROM tenants) + (SELECT count(*) FROM log) AS there";
        let row = link.client().query_typed_one(ask, &[]).await.map_err(failed)?;
        match row.try_get::<_, i64>("there").map_err(failed)? {
            0 => Ok(Self { link }),
            _ => Err(StoreError::Disagreement(
                "the Postgres database holds an instance already, and nothing was changed; name an empty one"
                    .to_owned(),
            )),
        }
    }

    /// Begins to fill a database from a backup. From the commit until [`PostgresStore::end_restoring`] no node starts on
    /// it. The role must have the right to create a table, as the owner has.
    ///
    /// # Errors
    /// As [`PostgresLoad::begin`], and if the table cannot be created.
    pub async fn begin_restore(store: &PostgresStore) -> Result<Self, StoreError> {
        let load = Self::begin(store).await?;
        load.link.client().batch_execute(SET_RESTORING).await.map_err(failed)?;
        Ok(load)
    }

    pub(crate) async fn take(&mut self, batch: &RowBatch) -> Result<(), StoreError> {
        let mut statement = format!("COPY {} (", batch.table.name);
        // Writing to a string cannot fail.
        let _written = write!(statement, "{}) FROM STDIN BINARY", listed(&batch.columns));
        let sink = self.link.client().copy_in(&statement).await.map_err(failed)?;
        let types: Vec<Type> = batch.columns.iter().map(|(_, kind)| type_of(*kind)).collect();
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
        for row in &batch.rows {
            let values: Vec<&(dyn ToSql + Sync)> = row.iter().map(value).collect();
            writer.as_mut().write(&values).await.map_err(failed)?;
        }
        writer.finish().await.map(drop).map_err(failed)
    }

    pub(crate) async fn finish(self, copied: &[Copied], head: Head) -> Result<(), StoreError> {
        let client = self.link.client();
        for one in copied {
            let ask = format!("SELECT count(*) AS there FROM {}", one.table);
            let row = client.query_typed_one(&ask, &[]).await.map_err(failed)?;
            let there: i64 = row.try_get("there").map_err(failed)?;
            if u64::try_from(there) != Ok(one.rows) {
                return Err(miscounted(one, there));
            }
        }
        client.batch_execute(SET_HEAD).await.map_err(failed)?;
        let end = client.query_typed_one(HEAD, &[]).await.map_err(failed)?;
        let revision: i64 = end.try_get("revision").map_err(failed)?;
        let chain: Vec<u8> = end.try_get("chain").map_err(failed)?;
        if u64::try_from(revision) != Ok(head.revision) || chain != head.chain {
            return Err(ends_elsewhere(head));
        }
        client.batch_execute("COMMIT").await.map_err(failed)
    }
}

impl PostgresStore {
    /// Returns whether a backup was restored into the database and what it has lost is not written again yet.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn is_restoring(&self) -> Result<bool, StoreError> {
        let link = self.link_for_restore().await?;
        let row = link.client().query_typed_one(IS_RESTORING, &[]).await.map_err(failed)?;
        row.try_get("is_restoring").map_err(failed)
    }

    /// Lets nodes start: what the restored database had lost is written again.
    ///
    /// # Errors
    /// If the database does not answer, or the role may not remove the table.
    pub async fn end_restoring(&self) -> Result<(), StoreError> {
        let link = self.link_for_restore().await?;
        link.client().batch_execute(END_RESTORING).await.map_err(failed)
    }

    async fn link_for_restore(&self) -> Result<Link, StoreError> {
        let until = Instant::now() + START_DEADLINE;
        Link::open(&self.connector, Use::Long, &self.copiers, until).await
    }
}

/// Returns the type of a column.
pub(super) fn type_of(kind: ColumnKind) -> Type {
    match kind {
        ColumnKind::Int => Type::INT8,
        ColumnKind::Text => Type::TEXT,
        ColumnKind::Blob => Type::BYTEA,
        ColumnKind::Flag => Type::BOOL,
    }
}

fn value(cell: &Cell) -> &(dyn ToSql + Sync) {
    match cell {
        Cell::Int(value) => value,
        Cell::Text(value) => value,
        Cell::Blob(value) => value,
        Cell::Flag(value) => value,
    }
}

impl fmt::Debug for PostgresLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLoad").finish_non_exhaustive()
    }
}
