//! Imports an instance into an empty database, in one transaction.

use super::connect::{Link, failed};
use super::prepared::Use;
use super::{PostgresStore, START_DEADLINE};
use crate::copy::{Cell, ColumnKind, Copied, CopiedTable};
use crate::error::StoreError;
use std::fmt::Write as _;
use std::pin::pin;
use tokio::time::Instant;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

const BEGIN: &str = "BEGIN; SELECT set_config('keyreeve.writer', 'on', TRUE), \
     set_config('synchronous_commit', 'on', TRUE); SELECT revision FROM head WHERE id = 1 FOR UPDATE";
const SET_HEAD: &str = "UPDATE head SET (revision, chain) = \
     (SELECT revision, chain FROM log ORDER BY revision DESC LIMIT 1) WHERE EXISTS (SELECT 1 FROM log)";

/// An open import transaction on an empty database.
pub(crate) struct Import {
    link: Link,
}

impl PostgresStore {
    /// Begins an import. Fails if the database holds an instance.
    pub(crate) async fn fill(&self) -> Result<Import, StoreError> {
        let until = Instant::now() + START_DEADLINE;
        let link = Link::open(&self.config, Use::Long, &self.writers, until).await?;
        link.client().batch_execute(BEGIN).await.map_err(failed)?;
        let ask = "SELECT (SELECT count(*) FROM tenants) + (SELECT count(*) FROM log) AS there";
        let row = link.client().query_typed_one(ask, &[]).await.map_err(failed)?;
        match row.try_get::<_, i64>("there").map_err(failed)? {
            0 => Ok(Import { link }),
            _ => Err(StoreError::Disagreement(
                "the Postgres database holds an instance already; name an empty one".to_owned(),
            )),
        }
    }
}

impl Import {
    /// Imports the rows of a table.
    pub(crate) async fn take(&mut self, table: &CopiedTable, rows: &[Vec<Cell>]) -> Result<(), StoreError> {
        let mut statement = format!("COPY {} (", table.name);
        // Writing to a string cannot fail.
        let _written = write!(statement, "{}) FROM STDIN BINARY", table.list());
        let sink = self.link.client().copy_in(&statement).await.map_err(failed)?;
        let types: Vec<Type> = table.columns.iter().map(|(_, kind)| type_of(*kind)).collect();
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
        for row in rows {
            let values: Vec<&(dyn ToSql + Sync)> = row.iter().map(value).collect();
            writer.as_mut().write(&values).await.map_err(failed)?;
        }
        writer.finish().await.map(drop).map_err(failed)
    }

    /// Commits if the row counts of all tables match.
    pub(crate) async fn finish(self, copied: &[Copied]) -> Result<(), StoreError> {
        let client = self.link.client();
        for one in copied {
            let ask = format!("SELECT count(*) AS there FROM {}", one.table);
            let row = client.query_typed_one(&ask, &[]).await.map_err(failed)?;
            let there: i64 = row.try_get("there").map_err(failed)?;
            if u64::try_from(there) != Ok(one.rows) {
                let why = format!("{} rows of {} were copied, and {there} arrived", one.rows, one.table);
                return Err(StoreError::Corrupt(why));
            }
        }
        client.batch_execute(SET_HEAD).await.map_err(failed)?;
        client.batch_execute("COMMIT").await.map_err(failed)
    }
}

fn type_of(kind: ColumnKind) -> Type {
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
