//! A consistent view of Postgres: one transaction (repeatable read, read only) on a connection of its own.

use super::connect::{Link, Slots, failed};
use super::load::{IS_RESTORING, type_of};
use super::prepared::Use;
use super::{Connector, DatabaseAccess, NO_TIMEOUTS, START_DEADLINE, migrate};
use crate::copy::{
    BATCH_ROWS, BATCH_WAIT_MAX, Cell, ColumnKind, Copied, CopiedTable, RowBatch, SnapshotFacts, TABLES, listed,
    not_taken,
};
use crate::error::StoreError;
use crate::model::Head;
use crate::postgres::PostgresStore;
use futures_util::StreamExt as _;
use std::fmt;
use std::pin::pin;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_postgres::binary_copy::{BinaryCopyOutRow, BinaryCopyOutStream};
use tokio_postgres::types::Type;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const IS_OURS: &str =
    "SELECT to_regclass('keyreeve_migrations') IS NOT NULL AND to_regclass('head') IS NOT NULL AS is_ours";
const HEAD: &str = "SELECT revision, chain, (SELECT chain FROM log WHERE revision = 1) AS first, \
     (SELECT timeline FROM cluster WHERE id = 1) AS timeline FROM head WHERE id = 1";

/// An open transaction.
pub struct PostgresSnapshot {
    link: Link,
    facts: SnapshotFacts,
}

impl PostgresSnapshot {
    /// Opens a snapshot of a database without a server. Nothing is changed or migrated.
    ///
    /// # Errors
    /// If it cannot be reached, or has no instance of this version.
    pub async fn open(access: &DatabaseAccess) -> Result<Self, StoreError> {
        Self::begin(&Connector::new(access.clone()), &Slots::new(1)).await
    }

    /// Opens a snapshot of the database of an open store.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub async fn of(store: &PostgresStore) -> Result<Self, StoreError> {
        Self::begin(&store.connector, &store.copiers).await
    }

    async fn begin(connector: &Connector, slots: &Slots) -> Result<Self, StoreError> {
        let until = Instant::now() + START_DEADLINE;
        let link = Link::open(connector, Use::Long, slots, until).await?;
        link.client().batch_execute(BEGIN).await.map_err(failed)?;
        link.client().batch_execute(NO_TIMEOUTS).await.map_err(failed)?;
        let facts = facts(&link).await?;
        Ok(Self { link, facts })
    }

    /// Returns what it is a snapshot of.
    pub const fn facts(&self) -> &SnapshotFacts {
        &self.facts
    }

    pub(crate) async fn send(self, to: &mpsc::Sender<RowBatch>) -> Result<(), StoreError> {
        for table in &TABLES {
            if !self.send_table(table, to).await? {
                // Cancels the statement, whose rows are not read any more.
                self.link.cancel();
                return Ok(());
            }
        }
        self.link.client().batch_execute("COMMIT").await.map_err(failed)
    }

    /// Sends the rows of a table. Returns false if the receiver was dropped.
    async fn send_table(&self, table: &'static CopiedTable, to: &mpsc::Sender<RowBatch>) -> Result<bool, StoreError> {
        let order = if table.name == "log" { " ORDER BY revision" } else { "" };
        let sql = format!(
            "COPY (SELECT {} FROM {}{order}) TO STDOUT BINARY",
            listed(table.columns),
            table.name
        );
        let stream = self.link.client().copy_out(&sql).await.map_err(failed)?;
        let types: Vec<Type> = table.columns.iter().map(|(_, kind)| type_of(*kind)).collect();
        let mut rows = pin!(BinaryCopyOutStream::new(stream, &types));
        let mut batch = Vec::with_capacity(BATCH_ROWS);
        while let Some(row) = rows.next().await {
            batch.push(cells(&row.map_err(failed)?, table)?);
            if batch.len() == BATCH_ROWS {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ROWS));
                if !send_batch(RowBatch::complete(table, full), to).await? {
                    return Ok(false);
                }
            }
        }
        Ok(batch.is_empty() || send_batch(RowBatch::complete(table, batch), to).await?)
    }
}

/// Sends a batch, and waits for a bounded time until it is taken. Returns false if the receiver was dropped.
async fn send_batch(batch: RowBatch, to: &mpsc::Sender<RowBatch>) -> Result<bool, StoreError> {
    let sent = timeout(BATCH_WAIT_MAX, to.send(batch)).await;
    sent.map(|sent| sent.is_ok()).map_err(|_| not_taken())
}

async fn facts(link: &Link) -> Result<SnapshotFacts, StoreError> {
    let client = link.client();
    let found = client.query_typed_one(IS_OURS, &[]).await.map_err(failed)?;
    if !found.try_get::<_, bool>("is_ours").map_err(failed)? {
        return Err(StoreError::Disagreement(
            "there is no instance of Keyreeve in the Postgres database".to_owned(),
        ));
    }
    let restoring = client.query_typed_one(IS_RESTORING, &[]).await.map_err(failed)?;
    if restoring.try_get::<_, bool>("is_restoring").map_err(failed)? {
        return Err(StoreError::Disagreement(
            "a backup is being restored into the Postgres database, or that was interrupted: a copy would lack what was \
             denied since"
                .to_owned(),
        ));
    }
    let schema = migrate::require_newest(link).await?;
    let row = client.query_typed_one(HEAD, &[]).await.map_err(failed)?;
    let chain = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).map_err(|_| StoreError::Corrupt("chain".to_owned()));
    let revision: i64 = row.try_get("revision").map_err(failed)?;
    let first: Option<Vec<u8>> = row.try_get("first").map_err(failed)?;
    let mut rows = Vec::new();
    for table in &TABLES {
        let ask = format!("SELECT count(*) AS there FROM {}", table.name);
        let count = client.query_typed_one(&ask, &[]).await.map_err(failed)?;
        let count: i64 = count.try_get("there").map_err(failed)?;
        rows.push(Copied {
            table: table.name,
            rows: u64::try_from(count).unwrap_or(0),
        });
    }
    Ok(SnapshotFacts {
        database: "postgres",
        schema,
        head: Head {
            revision: u64::try_from(revision).unwrap_or(0),
            chain: chain(row.try_get("chain").map_err(failed)?)?,
        },
        first: first.map(chain).transpose()?,
        timeline: row.try_get("timeline").map_err(failed)?,
        rows,
    })
}

fn cells(row: &BinaryCopyOutRow, table: &CopiedTable) -> Result<Vec<Cell>, StoreError> {
    let cell = |(place, (_, kind)): (usize, &(&'static str, ColumnKind))| {
        Ok(match kind {
            ColumnKind::Int => Cell::Int(row.try_get(place).map_err(failed)?),
            ColumnKind::Text => Cell::Text(row.try_get(place).map_err(failed)?),
            ColumnKind::Blob => Cell::Blob(row.try_get(place).map_err(failed)?),
            ColumnKind::Flag => Cell::Flag(row.try_get(place).map_err(failed)?),
        })
    };
    table.columns.iter().enumerate().map(cell).collect()
}

impl fmt::Debug for PostgresSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSnapshot").finish_non_exhaustive()
    }
}
