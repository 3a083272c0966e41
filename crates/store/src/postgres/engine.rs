//! Statements on Postgres.
//!
//! Each goes out as one message with its types, unnamed and not prepared, so that a pooler that gives every
//! transaction another server (PgBouncer) never runs one statement for another.

use super::bulk;
use super::connect::{Link, failed};
use crate::error::StoreError;
use crate::sql::writer::WriteEngine;
use crate::sql::{Columns, Dialect, Engine, Statement, Value};
use async_trait::async_trait;
use deadpool_postgres::Pool;
use futures_util::future::try_join_all;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row};

/// How long a read may take before the database counts as away: callers are told within two seconds.
const READ_DEADLINE: Duration = Duration::from_millis(1_500);
/// How long the writer waits for one statement.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// How long the writer waits for its turn. Longer than [`BEGIN`] lets a stopped node hold everybody up.
const TURN_DEADLINE: Duration = Duration::from_millis(3_500);

/// Takes the end of the log first, so that all who write anywhere go one after the other: limits and names hold
/// without further locks, a group of changes cannot deadlock with another node's, and revision order is commit order.
/// A node that stops in the middle is put out after a second. The settings hold for this transaction alone.
const BEGIN: &str = "BEGIN; \
     SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') = 'remote_apply' \
         THEN 'remote_apply' ELSE 'on' END, TRUE), \
         set_config('keyreeve.writer', 'on', TRUE), \
         set_config('idle_in_transaction_session_timeout', '1000', TRUE), \
         set_config('lock_timeout', '3000', TRUE), \
         set_config('statement_timeout', '4000', TRUE); \
     SELECT revision FROM head WHERE id = 1 FOR UPDATE";
/// The hint carries nothing: whoever gets it looks.
const COMMIT: &str = "NOTIFY keyreeve; COMMIT";

const DIALECT: Dialect = Dialect {
    use_credentials: "UPDATE credentials SET last_used_at = greatest(coalesce(last_used_at, 0), u.at) FROM \
         (SELECT decode(value ->> 0, 'hex') AS digest, (value ->> 1)::bigint AS at \
         FROM json_array_elements($1::json)) AS u WHERE credentials.digest = u.digest AND last_used_at IS NULL",
    use_keys: "UPDATE keys SET last_used_at = greatest(coalesce(keys.last_used_at, 0), u.at) FROM \
         (SELECT c.key_id AS id, max((j.value ->> 1)::bigint) AS at FROM json_array_elements($1::json) AS j \
         JOIN credentials AS c ON c.digest = decode(j.value ->> 0, 'hex') GROUP BY c.key_id) AS u \
         WHERE keys.id = u.id",
    add_counts: "INSERT INTO usage (key_id, hour, outcome, count) \
         SELECT decode(value ->> 0, 'hex'), (value ->> 1)::bigint, value ->> 2, sum((value ->> 3)::bigint)::bigint \
         FROM json_array_elements($1::json) GROUP BY 1, 2, 3 \
         ON CONFLICT (key_id, hour, outcome) DO UPDATE SET count = usage.count + excluded.count",
    usage_of: "SELECT key_id, hour, outcome, count FROM usage \
         WHERE key_id IN (SELECT decode(value, 'hex') FROM json_array_elements_text($1::json)) \
         AND hour >= $2 AND hour < $3 ORDER BY 1, 2, 3",
    add_traces: "INSERT INTO traces (key_id, outcome, address, count, last_at) \
         SELECT decode(value ->> 0, 'hex'), value ->> 1, value ->> 2, sum((value ->> 3)::bigint)::bigint, \
         max((value ->> 4)::bigint) FROM json_array_elements($1::json) GROUP BY 1, 2, 3 \
         ON CONFLICT (key_id, outcome, address) DO UPDATE SET count = traces.count + excluded.count, \
         last_at = greatest(traces.last_at, excluded.last_at)",
    trim_traces: "DELETE FROM traces WHERE (key_id, outcome, address) IN (SELECT key_id, outcome, address FROM \
         (SELECT key_id, outcome, address, row_number() OVER (PARTITION BY key_id ORDER BY last_at DESC) AS place \
         FROM traces WHERE key_id IN (SELECT decode(value, 'hex') FROM json_array_elements_text($1::json))) AS ranked WHERE place > $2)",
};

impl Columns for Row {
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

/// A parameter as the driver takes it.
type Parameter<'v> = (bulk::Column<'v>, Type);

fn parameters<'v>(values: &'v [Value<'v>]) -> Vec<Parameter<'v>> {
    let one = |value: &'v Value<'v>| -> Parameter<'v> {
        match value {
            Value::Int(value) => (Box::new(*value), Type::INT8),
            Value::Text(value) => (Box::new(*value), Type::TEXT),
            Value::Owned(value) => (Box::new(value.as_deref()), Type::TEXT),
            Value::Blob(value) => (Box::new(*value), Type::BYTEA),
            Value::Id(value) => (Box::new(value.as_slice()), Type::BYTEA),
            Value::Flag(value) => (Box::new(*value), Type::BOOL),
        }
    };
    values.iter().map(one).collect()
}

/// Parameters as the driver borrows them.
fn borrowed<'p>(parameters: &'p [Parameter<'_>]) -> Vec<(&'p (dyn ToSql + Sync), Type)> {
    let one = |(value, kind): &'p Parameter<'_>| (&**value as &(dyn ToSql + Sync), kind.clone());
    parameters.iter().map(one).collect()
}

/// The statements that all databases share say `?1`, as SQLite does; nothing else in them has a question mark. Which
/// index to take is said for SQLite alone: Postgres knows what is in its tables.
fn numbered(sql: &str) -> String {
    sql.replace('?', "$").replace("INDEXED BY keys_of_subject", "")
}

/// Runs statements that say the same: as one if there are several and their form allows it.
async fn run_together(client: &Client, statements: &[Statement<'_>]) -> Result<u64, StoreError> {
    if let (true, Some(bulk)) = (statements.len() > 1, bulk::together(statements)) {
        let ran = client.execute_typed(&bulk.sql, &borrowed(&bulk.columns)).await;
        return ran.map_err(failed);
    }
    let all = statements.iter().map(|statement| run_on(client, statement));
    Ok(try_join_all(all).await?.iter().sum())
}

/// The same for statements that give rows.
async fn rows_together(client: &Client, statements: &[Statement<'_>]) -> Result<Vec<Row>, StoreError> {
    if let (true, Some(bulk)) = (statements.len() > 1, bulk::together(statements)) {
        let asked = client.query_typed(&bulk.sql, &borrowed(&bulk.columns)).await;
        return asked.map_err(failed);
    }
    let all = statements.iter().map(|statement| rows_of(client, statement));
    Ok(try_join_all(all).await?.into_iter().flatten().collect())
}

async fn rows_of(client: &Client, statement: &Statement<'_>) -> Result<Vec<Row>, StoreError> {
    let values = parameters(&statement.values);
    let asked = client.query_typed(&numbered(statement.sql), &borrowed(&values)).await;
    asked.map_err(failed)
}

async fn run_on(client: &Client, statement: &Statement<'_>) -> Result<u64, StoreError> {
    let values = parameters(&statement.values);
    let ran = client.execute_typed(&numbered(statement.sql), &borrowed(&values)).await;
    ran.map_err(failed)
}

pub(super) fn slow() -> StoreError {
    StoreError::Unavailable("it does not answer in time".to_owned())
}

/// Connections that read from the primary.
#[derive(Debug)]
pub(crate) struct Readers<'p>(pub(super) &'p Pool);

#[async_trait]
impl Engine for Readers<'_> {
    type Row = Row;
    const DIALECT: Dialect = DIALECT;

    async fn run(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let mut client = connection_of(self.0).await?;
        let ran = timeout(READ_DEADLINE, run_on(&client, &statement)).await;
        client.is_stuck = ran.is_err();
        ran.map_err(|_| slow())?
    }

    async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let mut client = connection_of(self.0).await?;
        let asked = timeout(READ_DEADLINE, rows_of(&client, &statement)).await;
        // A connection that hangs is not given to the next one who asks.
        client.is_stuck = asked.is_err();
        asked.map_err(|_| slow())?
    }
}

/// A connection of the pool that is thrown away instead of handed back when it hangs.
struct Pooled {
    object: Option<deadpool_postgres::Object>,
    is_stuck: bool,
}

impl std::ops::Deref for Pooled {
    type Target = Client;

    #[expect(clippy::expect_used, reason = "it is taken out only when this is dropped")]
    fn deref(&self) -> &Client {
        self.object.as_ref().expect("a pooled connection")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let (true, Some(object)) = (self.is_stuck, self.object.take()) {
            drop(deadpool_postgres::Object::take(object));
        }
    }
}

async fn connection_of(pool: &Pool) -> Result<Pooled, StoreError> {
    let got = timeout(READ_DEADLINE, pool.get()).await.map_err(|_| slow())?;
    let object = got.map_err(|error| StoreError::Unavailable(super::connect::reason(&error)))?;
    Ok(Pooled {
        object: Some(object),
        is_stuck: false,
    })
}

/// The connection that writes. It connects when it must, and throws away a connection that failed.
pub(crate) struct Connection {
    config: Config,
    link: Option<Link>,
}

impl Connection {
    pub(super) fn new(config: Config) -> Self {
        Self { config, link: None }
    }

    fn client(&self) -> Result<&Client, StoreError> {
        let away = || StoreError::Unavailable("the connection is lost".to_owned());
        self.link.as_ref().map(|link| &link.client).ok_or_else(away)
    }

    async fn say(&self, sql: &str, deadline: Duration) -> Result<(), StoreError> {
        let said = timeout(deadline, self.client()?.batch_execute(sql)).await;
        said.map_err(|_| slow())?.map_err(failed)
    }
}

#[async_trait]
impl Engine for Connection {
    type Row = Row;
    const DIALECT: Dialect = DIALECT;

    async fn run(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let ran = timeout(WRITE_DEADLINE, run_on(self.client()?, &statement)).await;
        ran.map_err(|_| slow())?
    }

    async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let ran = timeout(WRITE_DEADLINE, rows_of(self.client()?, &statement)).await;
        ran.map_err(|_| slow())?
    }

    async fn run_all(&mut self, statements: Vec<Statement<'_>>) -> Result<u64, StoreError> {
        let client = self.client()?;
        let all = bulk::runs(&statements).map(|run| run_together(client, run));
        let ran = timeout(WRITE_DEADLINE, try_join_all(all)).await;
        Ok(ran.map_err(|_| slow())??.iter().sum())
    }

    async fn rows_of_all(&mut self, statements: Vec<Statement<'_>>) -> Result<Vec<Row>, StoreError> {
        let client = self.client()?;
        let all = bulk::runs(&statements).map(|run| rows_together(client, run));
        let ran = timeout(WRITE_DEADLINE, try_join_all(all)).await;
        Ok(ran.map_err(|_| slow())??.into_iter().flatten().collect())
    }
}

#[async_trait]
impl WriteEngine for Connection {
    async fn begin(&mut self) -> Result<(), StoreError> {
        let is_used = self.link.as_ref().is_some_and(|link| !link.client.is_closed());
        if is_used {
            let begun = self.say(BEGIN, TURN_DEADLINE).await;
            if begun.is_ok() || self.link.as_ref().is_some_and(|link| !link.client.is_closed()) {
                return begun;
            }
            // The database was started anew since: nothing was begun, so it may be begun on another connection.
        }
        self.link = None;
        self.link = Some(Link::open(&self.config).await?);
        self.say(BEGIN, TURN_DEADLINE).await
    }

    async fn save(&mut self) -> Result<(), StoreError> {
        self.say("SAVEPOINT job", WRITE_DEADLINE).await
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        self.say("RELEASE job", WRITE_DEADLINE).await
    }

    async fn undo(&mut self) -> Result<(), StoreError> {
        self.say("ROLLBACK TO job; RELEASE job", WRITE_DEADLINE).await
    }

    /// A warning with the answer means that the commit was not waited for as it must be (coherence.md, finding 5).
    async fn commit(&mut self) -> Result<(), StoreError> {
        let unknown = |why: String| StoreError::OutcomeUnknown(why);
        let link = self
            .link
            .as_ref()
            .ok_or_else(|| unknown("the connection is lost".to_owned()))?;
        link.forget_warnings();
        let said = timeout(WRITE_DEADLINE, link.client.batch_execute(COMMIT)).await;
        match said {
            Ok(Ok(())) if !link.has_warned() => Ok(()),
            Ok(Ok(())) => Err(unknown(
                "the database warned that the commit is not safe yet".to_owned(),
            )),
            Ok(Err(error)) => match error.code() {
                // Integrity constraint and transaction rollback: the server says that it undid everything.
                Some(code) if code.code().starts_with("23") || code.code().starts_with("40") => Err(failed(error)),
                _ => Err(unknown(super::connect::reason(&error))),
            },
            Err(_) => Err(unknown("the commit is not answered in time".to_owned())),
        }
    }

    async fn roll_back(&mut self) {
        let undone = self.say("ROLLBACK", Duration::from_secs(1)).await;
        if undone.is_err() {
            // The server ends the transaction when it finds the connection gone.
            self.link = None;
        }
    }

    async fn close(self) {
        drop(self.link);
    }
}
