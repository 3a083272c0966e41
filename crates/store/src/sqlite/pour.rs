//! Reading every row of a table out of SQLite.

use super::SqliteStore;
use super::engine::failed;
use crate::copy::{Cell, Kind, Table};
use crate::error::StoreError;
use crate::postgres::Filling;
use crate::sql::Columns as _;
use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

/// Rows handed over at a time.
const ROWS: usize = 2_000;

impl SqliteStore {
    /// Hands every row of a table over, and gives how many.
    pub(crate) async fn pour(&self, table: &Table, target: &mut Filling) -> Result<u64, StoreError> {
        // Names of tables and columns come from this program alone.
        let statement = AssertSqlSafe(format!("SELECT {} FROM {}", table.list(), table.name)).into_sql_str();
        let mut rows = sqlx::query(statement).fetch(&self.readers);
        let (mut batch, mut count) = (Vec::with_capacity(ROWS), 0_u64);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            batch.push(cells(&row, table)?);
            count += 1;
            if batch.len() == ROWS {
                target.take(table, &batch).await?;
                batch.clear();
            }
        }
        if !batch.is_empty() {
            target.take(table, &batch).await?;
        }
        Ok(count)
    }
}

fn cells(row: &SqliteRow, table: &Table) -> Result<Vec<Cell>, StoreError> {
    let cell = |(name, kind): &(&'static str, Kind)| {
        Ok(match kind {
            Kind::Int => Cell::Int(row.int(name)?),
            Kind::Text => Cell::Text(row.text(name)?.map(str::to_owned)),
            Kind::Blob => Cell::Blob(row.blob(name)?.map(<[u8]>::to_vec)),
            Kind::Flag => Cell::Flag(row.flag(name)?),
        })
    };
    table.columns.iter().map(cell).collect()
}
