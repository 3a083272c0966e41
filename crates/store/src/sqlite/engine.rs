//! Statements on SQLite.

use crate::error::StoreError;
use crate::sql::writer::WriteEngine;
use crate::sql::{Columns, Dialect, Engine, Statement, Value};
use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Connection as _, Executor as _, Row as _, Sqlite, SqliteConnection, SqlitePool, query::Query};

const DIALECT: Dialect = Dialect {
    use_credentials: "UPDATE credentials SET last_used_at = max(coalesce(last_used_at, 0), u.at) FROM \
         (SELECT unhex(value ->> 0) AS digest, value ->> 1 AS at FROM json_each($1)) AS u \
         WHERE credentials.digest = u.digest AND last_used_at IS NULL",
    use_keys: "UPDATE keys SET last_used_at = max(coalesce(keys.last_used_at, 0), u.at) FROM \
         (SELECT c.key_id AS id, max(j.value ->> 1) AS at FROM json_each($1) AS j \
         JOIN credentials AS c ON c.digest = unhex(j.value ->> 0) GROUP BY c.key_id) AS u WHERE keys.id = u.id",
    add_counts: "INSERT INTO usage (key_id, hour, outcome, count) \
         SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3 FROM json_each($1) WHERE true \
         ON CONFLICT DO UPDATE SET count = count + excluded.count",
    usage_of: "SELECT key_id, hour, outcome, count FROM usage \
         WHERE key_id IN (SELECT unhex(value) FROM json_each($1)) AND hour >= $2 AND hour < $3 ORDER BY 1, 2, 3",
    add_traces: "INSERT INTO traces (key_id, outcome, address, count, last_at) \
         SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each($1) WHERE true \
         ON CONFLICT DO UPDATE SET count = count + excluded.count, last_at = max(last_at, excluded.last_at)",
    trim_traces: "DELETE FROM traces WHERE (key_id, outcome, address) IN (SELECT key_id, outcome, address FROM \
         (SELECT key_id, outcome, address, row_number() OVER (PARTITION BY key_id ORDER BY last_at DESC) AS place \
         FROM traces WHERE key_id IN (SELECT unhex(value) FROM json_each($1))) AS ranked WHERE place > $2)",
};

/// The database's own failures: away, busy, disk full.
pub(super) fn failed(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
            StoreError::Corrupt(error.to_string())
        }
        sqlx::Error::Database(inner) if inner.is_unique_violation() => StoreError::Corrupt(inner.to_string()),
        other => StoreError::Unavailable(other.to_string()),
    }
}

fn bound(statement: Statement<'_>) -> Query<'_, Sqlite, SqliteArguments> {
    let query = sqlx::query(statement.sql);
    statement.values.into_iter().fold(query, |query, value| match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Owned(value) => query.bind(value),
        Value::Blob(value) => query.bind(value),
        Value::Id(value) => query.bind(value.to_vec()),
        Value::Flag(value) => query.bind(value),
    })
}

impl Columns for SqliteRow {
    fn int(&self, name: &str) -> Result<Option<i64>, StoreError> {
        self.try_get(name).map_err(failed)
    }

    fn text(&self, name: &str) -> Result<Option<&str>, StoreError> {
        self.try_get(name).map_err(failed)
    }

    fn blob(&self, name: &str) -> Result<Option<&[u8]>, StoreError> {
        self.try_get(name).map_err(failed)
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, StoreError> {
        self.try_get(name).map_err(failed)
    }
}

/// Connections that read; each statement sees one snapshot.
#[derive(Debug)]
pub(crate) struct Readers<'p>(pub(super) &'p SqlitePool);

#[async_trait]
impl Engine for Readers<'_> {
    type Row = SqliteRow;
    const DIALECT: Dialect = DIALECT;

    async fn run(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let done = bound(statement).execute(self.0).await.map_err(failed)?;
        Ok(done.rows_affected())
    }

    async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, StoreError> {
        bound(statement).fetch_all(self.0).await.map_err(failed)
    }
}

/// The connection that writes.
#[derive(Debug)]
pub(crate) struct Connection(pub(super) SqliteConnection);

#[async_trait]
impl Engine for Connection {
    type Row = SqliteRow;
    const DIALECT: Dialect = DIALECT;

    async fn run(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let done = bound(statement).execute(&mut self.0).await.map_err(failed)?;
        Ok(done.rows_affected())
    }

    async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, StoreError> {
        bound(statement).fetch_all(&mut self.0).await.map_err(failed)
    }
}

impl Connection {
    async fn say(&mut self, sql: &'static str) -> Result<(), StoreError> {
        self.0.execute(sql).await.map(drop).map_err(failed)
    }
}

#[async_trait]
impl WriteEngine for Connection {
    async fn begin(&mut self) -> Result<(), StoreError> {
        self.say("BEGIN IMMEDIATE").await
    }

    async fn save(&mut self) -> Result<(), StoreError> {
        self.say("SAVEPOINT job").await
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        self.say("RELEASE job").await
    }

    async fn undo(&mut self) -> Result<(), StoreError> {
        self.say("ROLLBACK TO job; RELEASE job").await
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        let ended = self.say("COMMIT").await;
        ended.map_err(|error| StoreError::OutcomeUnknown(error.to_string()))
    }

    async fn roll_back(&mut self) {
        // SQLite may have rolled back by itself (disk full); then this fails and says so, and nothing is left to undo.
        drop(self.say("ROLLBACK").await);
    }

    async fn close(self) {
        // The last writer to close folds the log file into the database; failing that, the next start does.
        drop(self.0.close().await);
    }
}
