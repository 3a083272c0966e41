//! Statements on Postgres, and the connections that read.
//!
//! What is read goes out as one message with its types, unnamed and not prepared: a page's plan depends on what is asked
//! for. What is written may be prepared ([`super::prepared`]).

use super::connect::failed;
use super::message::Message;
use crate::error::StoreError;
use crate::sql::{Columns, Dialect, Engine, Statement};
use async_trait::async_trait;
use deadpool_postgres::Pool;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::{Client, Row};

/// How long a read may take before the database counts as away: callers are told within two seconds.
const READ_DEADLINE: Duration = Duration::from_millis(1_500);

pub(super) const DIALECT: Dialect = Dialect {
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

/// What the driver says went wrong. [`failed`] says what that means.
pub(super) type Driver<T> = Result<T, tokio_postgres::Error>;

async fn rows_of(client: &Client, statement: &Statement<'_>) -> Driver<Vec<Row>> {
    let message = Message::of_one(statement);
    client.query_typed(&message.sql(), &message.typed_values()).await
}

async fn run_on(client: &Client, statement: &Statement<'_>) -> Driver<u64> {
    let message = Message::of_one(statement);
    client.execute_typed(&message.sql(), &message.typed_values()).await
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
        ran.map_err(|_| slow())?.map_err(failed)
    }

    async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let mut client = connection_of(self.0).await?;
        let asked = timeout(READ_DEADLINE, rows_of(&client, &statement)).await;
        // A connection that hangs is not given to the next one who asks.
        client.is_stuck = asked.is_err();
        asked.map_err(|_| slow())?.map_err(failed)
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
