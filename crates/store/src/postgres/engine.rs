//! Statements on Postgres, and the connections that read.
//!
//! A read is one message with its types, unnamed and not prepared, because a page's plan depends on its parameters. A
//! write may be prepared ([`super::prepared`]).

use super::SPARE;
use super::connect::{Link, Slots, failed, hung};
use super::prepared::{PreparedSession, Use};
use crate::error::StoreError;
use crate::sql::{Columns, Dialect, Engine, Statement, list};
use async_trait::async_trait;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{Config, Row};

/// Maximum time of a read, including the wait for a connection, before the database counts as unavailable: callers get
/// an answer within two seconds.
const READ_DEADLINE: Duration = Duration::from_millis(1_500);
/// Maximum number of concurrent reads. More would only wait for the same cores.
const READERS: usize = 5;

pub(super) const DIALECT: Dialect = Dialect {
    keys_of_subject: list::OF_SUBJECT,
    use_credentials: "UPDATE credentials SET last_used_at = greatest(coalesce(last_used_at, 0), u.at) FROM \
         (SELECT decode(value ->> 0, 'hex') AS digest, (value ->> 1)::bigint AS at \
         FROM json_array_elements($1::json)) AS u WHERE credentials.digest = u.digest AND last_used_at IS NULL",
    use_keys: "UPDATE keys SET last_used_at = greatest(coalesce(keys.last_used_at, 0), u.at) FROM \
         (SELECT c.key_id AS id, max((j.value ->> 1)::bigint) AS at FROM json_array_elements($1::json) AS j \
         JOIN credentials AS c ON c.digest = decode(j.value ->> 0, 'hex') GROUP BY c.key_id) AS u \
         WHERE keys.id = u.id",
    refuse_keys: "UPDATE keys SET last_refused_at = greatest(coalesce(keys.last_refused_at, 0), u.at) FROM \
         (SELECT decode(value ->> 0, 'hex') AS id, (value ->> 1)::bigint AS at FROM json_array_elements($1::json)) AS u \
         WHERE keys.id = u.id",
    add_counts: "INSERT INTO usage (key_id, hour, outcome, count, extra_cost) \
         SELECT decode(value ->> 0, 'hex'), (value ->> 1)::bigint, value ->> 2, sum((value ->> 3)::bigint)::bigint, \
         sum((value ->> 4)::bigint)::bigint FROM json_array_elements($1::json) GROUP BY 1, 2, 3 \
         ON CONFLICT (key_id, hour, outcome) DO UPDATE SET count = usage.count + excluded.count, \
         extra_cost = usage.extra_cost + excluded.extra_cost",
    usage_of: "SELECT key_id, hour, outcome, count, extra_cost FROM usage \
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

/// The driver's result. [`failed`] turns its error into ours.
pub(super) type Driver<T> = Result<T, tokio_postgres::Error>;

pub(super) fn slow() -> StoreError {
    StoreError::Unavailable("it does not answer in time".to_owned())
}

/// The connections that read from the primary. One that does not respond is not given to the next caller: it keeps its
/// slot until the server has closed it. There is one more slot than concurrent reads, so another connection can take
/// over.
pub(super) struct ReaderPool {
    config: Config,
    /// Concurrent reads.
    turns: Semaphore,
    /// Connections that the server may hold.
    slots: Slots,
    idle: Mutex<Vec<Link>>,
    /// Notified when a connection comes back.
    returned: Notify,
}

impl ReaderPool {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            turns: Semaphore::new(READERS),
            slots: Slots::new(READERS + SPARE),
            idle: Mutex::default(),
            returned: Notify::new(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an idle connection, or a new one.
    async fn link(&self, until: Instant) -> Result<Reader<'_>, StoreError> {
        let turn = timeout_at(until, self.turns.acquire()).await.map_err(|_| slow())?;
        let turn = turn.map_err(|_| StoreError::Unavailable("the store is closed".to_owned()))?;
        let link = loop {
            // Those that the server has closed are dropped.
            let free = std::iter::from_fn(|| self.idle().pop()).find(|link| !link.client().is_closed());
            if let Some(link) = free {
                break link;
            }
            tokio::select! {
                slot = timeout_at(until, self.slots.take()) => {
                    let slot = slot.map_err(|_| hung())??;
                    break Link::open_in(&self.config, Use::Reads, slot, until).await?;
                }
                // `notify_one` keeps a permit, so a connection that came back since the look above is not missed.
                () = self.returned.notified() => {}
            }
        };
        Ok(Reader {
            link: Some(link),
            pool: self,
            _turn: turn,
        })
    }

    /// Closes the idle connections. Those in use are closed when they come back.
    pub(super) fn close(&self) {
        self.turns.close();
        self.idle().clear();
    }
}

/// A connection in use. It goes back to the pool unless a statement on it was not answered in time.
struct Reader<'p> {
    link: Option<Link>,
    pool: &'p ReaderPool,
    _turn: SemaphorePermit<'p>,
}

impl Reader<'_> {
    fn session(&self) -> Result<&PreparedSession, StoreError> {
        self.link.as_ref().map(|link| &link.session).ok_or_else(slow)
    }

    /// Returns the result. If there is none in time, the connection is given up.
    fn settled<T>(mut self, asked: Result<Driver<T>, Elapsed>) -> Result<T, StoreError> {
        if asked.is_err()
            && let Some(link) = self.link.take()
        {
            link.cancel();
        }
        asked.map_err(|_| slow())?.map_err(failed)
    }
}

impl Drop for Reader<'_> {
    /// Also runs when the caller is dropped in the middle: the statement's time is bounded, and so is the next caller's
    /// wait.
    fn drop(&mut self) {
        if let Some(link) = self.link.take()
            && !self.pool.turns.is_closed()
        {
            self.pool.idle().push(link);
            self.pool.returned.notify_one();
        }
    }
}

/// Reads on any idle connection.
pub(crate) struct PostgresReaders<'p>(pub(super) &'p ReaderPool);

#[async_trait]
impl Engine for PostgresReaders<'_> {
    type Row = Row;
    const DIALECT: Dialect = DIALECT;

    async fn run(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let until = Instant::now() + READ_DEADLINE;
        let reader = self.0.link(until).await?;
        let statement = [statement];
        let asked = timeout_at(until, reader.session()?.run_alone(&statement)).await;
        reader.settled(asked)
    }

    async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let until = Instant::now() + READ_DEADLINE;
        let reader = self.0.link(until).await?;
        let statement = [statement];
        let asked = timeout_at(until, reader.session()?.rows_alone(&statement)).await;
        reader.settled(asked)
    }
}
