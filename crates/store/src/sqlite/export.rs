//! Exports every row of a table from SQLite.

use super::SqliteStore;
use super::engine::{SqliteReaders, SqliteRow, each_row};
use crate::copy::{Cell, ColumnKind, CopiedTable};
use crate::error::StoreError;
use crate::postgres::Import;
use crate::sql::Columns as _;
use tokio::sync::mpsc;

/// Rows in one batch.
const ROWS: usize = 2_000;

impl SqliteStore {
    /// Exports every row of a table to `target`. Returns their number.
    pub(crate) async fn export_table(
        &self,
        table: &'static CopiedTable,
        target: &mut Import,
    ) -> Result<u64, StoreError> {
        // One batch is written while the next one is read.
        let (sender, mut batches) = mpsc::channel(1);
        let readers = SqliteReaders {
            pool: &self.readers,
            watch: &self.watch,
        };
        let read = readers.with(move |connection| read(connection, table, &sender));
        let take = async {
            let mut count = 0_u64;
            while let Some(batch) = batches.recv().await {
                target.take(table, &batch).await?;
                count += u64::try_from(batch.len()).unwrap_or(u64::MAX);
            }
            Ok(count)
        };
        let ((), count) = futures_util::future::try_join(read, take).await?;
        Ok(count)
    }
}

fn read(
    connection: &rusqlite::Connection,
    table: &CopiedTable,
    target: &mpsc::Sender<Vec<Vec<Cell>>>,
) -> Result<(), StoreError> {
    let sql = format!("SELECT {} FROM {}", table.list(), table.name);
    let mut batch = Vec::with_capacity(ROWS);
    each_row(connection, &sql, &[0_i64; 0], |row| {
        batch.push(cells(&row, table)?);
        let is_full = batch.len() == ROWS;
        // False if the receiver was dropped. It has failed, and its error is returned.
        Ok(!is_full || target.blocking_send(std::mem::take(&mut batch)).is_ok())
    })?;
    if !batch.is_empty() {
        drop(target.blocking_send(batch));
    }
    Ok(())
}

fn cells(row: &SqliteRow, table: &CopiedTable) -> Result<Vec<Cell>, StoreError> {
    let cell = |(name, kind): &(&'static str, ColumnKind)| {
        Ok(match kind {
            ColumnKind::Int => Cell::Int(row.int(name)?),
            ColumnKind::Text => Cell::Text(row.text(name)?.map(str::to_owned)),
            ColumnKind::Blob => Cell::Blob(row.blob(name)?.map(<[u8]>::to_vec)),
            ColumnKind::Flag => Cell::Flag(row.flag(name)?),
        })
    };
    table.columns.iter().map(cell).collect()
}
