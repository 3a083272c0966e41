//! What the SQL databases share, which is nearly everything. Statements are written once, with `?1` for parameters; the
//! few that must differ are in a [`Dialect`], and one that a change may run for many rows has the form of Postgres for
//! them beside it ([`Batched`]).
//!
//! A database provides an [`Engine`] that runs a [`Statement`], [`Columns`] of its rows, and a [`writer::WriteEngine`]
//! that begins and ends transactions.

pub(crate) mod census;
pub(crate) mod check_policies;
mod health;
pub(crate) mod limits;
pub(crate) mod list;
pub(crate) mod people;
pub(crate) mod read;
pub(crate) mod rows;
pub(crate) mod tx;
pub(crate) mod writer;

use crate::error::StoreError;
use async_trait::async_trait;

/// The result of a database operation.
type Result<T> = std::result::Result<T, StoreError>;

/// The condition that a digest equals this one. SQLite's index has only the first half of each (migration 9).
macro_rules! same_digest {
    ($column:literal, $value:literal) => {
        concat!(
            "substr(",
            $column,
            ", 1, 16) = substr(",
            $value,
            ", 1, 16) AND ",
            $column,
            " = ",
            $value
        )
    };
}
pub(crate) use same_digest;

/// The condition that a key is refused because of its owner or its tenant. Blocked users are found by an index of their
/// own (migration 14), which is nearly always empty.
macro_rules! owner_blocked {
    () => {
        "(EXISTS (SELECT 1 FROM users u WHERE u.tenant = keys.tenant AND u.subject = keys.subject AND u.status <> 'active') \
         OR EXISTS (SELECT 1 FROM tenants t WHERE t.slug = keys.tenant AND (t.is_suspended OR t.is_removed)))"
    };
}
pub(crate) use owner_blocked;

/// A parameter of a statement.
#[derive(Clone, Debug)]
pub(crate) enum Value<'q> {
    Int(Option<i64>),
    Text(Option<&'q str>),
    Owned(Option<String>),
    Blob(Option<&'q [u8]>),
    OwnedBlob(Vec<u8>),
    Id([u8; 16]),
    Flag(bool),
}

/// A parameter without its ownership.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PlainParameter<'v> {
    Int(Option<i64>),
    Text(Option<&'v str>),
    Blob(Option<&'v [u8]>),
    Flag(bool),
}

impl Value<'_> {
    pub(crate) fn plain(&self) -> PlainParameter<'_> {
        match self {
            Self::Int(value) => PlainParameter::Int(*value),
            Self::Text(value) => PlainParameter::Text(*value),
            Self::Owned(value) => PlainParameter::Text(value.as_deref()),
            Self::Blob(value) => PlainParameter::Blob(*value),
            Self::OwnedBlob(value) => PlainParameter::Blob(Some(value)),
            Self::Id(value) => PlainParameter::Blob(Some(value)),
            Self::Flag(value) => PlainParameter::Flag(*value),
        }
    }

    fn kept(self) -> Value<'static> {
        match self {
            Self::Int(value) => Value::Int(value),
            Self::Text(value) => Value::Owned(value.map(str::to_owned)),
            Self::Owned(value) => Value::Owned(value),
            Self::Blob(value) => value.map_or(Value::Blob(None), |value| Value::OwnedBlob(value.to_vec())),
            Self::OwnedBlob(value) => Value::OwnedBlob(value),
            Self::Id(value) => Value::Id(value),
            Self::Flag(value) => Value::Flag(value),
        }
    }
}

macro_rules! value_from {
    ($($type:ty: $value:ident => $made:expr;)+) => {
        $(impl<'q> From<$type> for Value<'q> {
            fn from($value: $type) -> Self {
                $made
            }
        })+
    };
}

value_from! {
    i64: value => Self::Int(Some(value));
    Option<i64>: value => Self::Int(value);
    u32: value => Self::Int(Some(i64::from(value)));
    &'q str: value => Self::Text(Some(value));
    Option<&'q str>: value => Self::Text(value);
    String: value => Self::Owned(Some(value));
    Option<String>: value => Self::Owned(value);
    &'q String: value => Self::Text(Some(value));
    &'q Option<String>: value => Self::Text(value.as_deref());
    &'q [u8]: value => Self::Blob(Some(value));
    Option<&'q [u8]>: value => Self::Blob(value);
    [u8; 16]: value => Self::Id(value);
    bool: value => Self::Flag(value);
}

/// SQL and its parameters, in order.
#[derive(Debug)]
pub(crate) struct Statement<'q> {
    pub(crate) sql: &'static str,
    /// See [`Batched::many`].
    pub(crate) many: Option<&'static str>,
    pub(crate) values: Vec<Value<'q>>,
}

/// A statement of which one change may run many, each with its own parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batched {
    /// For one row.
    pub(crate) one: &'static str,
    /// The same for many rows, in the SQL of Postgres, where a message costs more than a row. Each parameter is an array
    /// with an element for every row; `given` is the table of the elements.
    pub(crate) many: &'static str,
}

impl Batched {
    /// Returns the statement for one row, which will have this many parameters.
    pub(crate) fn query<'q>(self, parameters: usize) -> Statement<'q> {
        Statement {
            sql: self.one,
            many: Some(self.many),
            values: Vec::with_capacity(parameters),
        }
    }
}

/// Most statements have no more parameters.
const USUAL_PARAMETERS: usize = 5;

pub(crate) fn query<'q>(sql: &'static str) -> Statement<'q> {
    Statement {
        sql,
        many: None,
        values: Vec::with_capacity(USUAL_PARAMETERS),
    }
}

impl<'q> Statement<'q> {
    pub(crate) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Returns the same statement with owned parameters.
    pub(crate) fn kept(self) -> Statement<'static> {
        Statement {
            sql: self.sql,
            many: self.many,
            values: self.values.into_iter().map(Value::kept).collect(),
        }
    }

    /// Whether it must touch one row when it is given to [`writer::WriteEngine::change`]. A row to delete may already
    /// be gone.
    pub(crate) fn touches_one(&self) -> bool {
        self.sql.starts_with("INSERT") || self.sql.starts_with("UPDATE")
    }

    /// Whether another statement has the same text and parameters.
    pub(crate) fn is_like(&self, other: &Statement<'_>) -> bool {
        let (own, others) = (self.values.iter(), other.values.iter());
        self.sql == other.sql && own.map(Value::plain).eq(others.map(Value::plain))
    }
}

/// The columns of a row, by name. `None` is NULL.
pub(crate) trait Columns: Send + Sync + Sized {
    fn int(&self, name: &str) -> Result<Option<i64>>;
    fn text(&self, name: &str) -> Result<Option<&str>>;
    fn blob(&self, name: &str) -> Result<Option<&[u8]>>;
    fn flag(&self, name: &str) -> Result<Option<bool>>;
}

/// A connection, or several, that runs statements.
#[async_trait]
pub(crate) trait Engine: Send {
    type Row: Columns;
    const DIALECT: Dialect;
    /// Whether each query is a round trip, so that prefetching is worthwhile.
    const IS_REMOTE: bool = false;

    /// Runs a statement and returns how many rows it touched.
    async fn run(&mut self, statement: Statement<'_>) -> Result<u64>;
    /// Runs a statement and returns its rows.
    async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<Self::Row>>;

    /// Runs statements that do not depend on each other's rows. Returns their rows in the order of the statements. A
    /// database across a network answers all of them in one round trip.
    async fn rows_of_all(&mut self, statements: Vec<Statement<'_>>) -> Result<Vec<Self::Row>> {
        let mut found = Vec::with_capacity(statements.len());
        for statement in statements {
            found.extend(self.rows(statement).await?);
        }
        Ok(found)
    }

    /// Prefetches what will be read with [`Engine::rows`] before anything is changed.
    async fn prefetch(&mut self, _questions: Vec<Statement<'_>>) -> Result<()> {
        Ok(())
    }

    /// Returns the first row, if there is one.
    async fn row(&mut self, statement: Statement<'_>) -> Result<Option<Self::Row>> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// Returns the row of a statement that always has one.
    async fn the_row(&mut self, statement: Statement<'_>) -> Result<Self::Row> {
        self.row(statement)
            .await?
            .ok_or_else(|| rows::corrupt("a row is missing"))
    }
}

/// Logs that a migration of an older database begins, `place` counted from 0.
pub(crate) fn report_migration(number: i64, name: &str, place: usize, count: usize) {
    tracing::info!(number, name, "migrating the database: {} of {count}", place + 1);
}

#[cfg(test)]
mod tests {
    /// Postgres refuses a prepared statement whose result has another column since (SQLSTATE 0A000). The transaction is
    /// lost with it, and a change of a running node would be refused after a migration.
    #[test]
    fn statements_of_the_writer_name_their_columns() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sql");
        let mut read = 0;
        for folder in [folder.to_owned(), format!("{folder}/tx")] {
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                // Reads are repeated on the same connection.
                if path.is_dir() || path.ends_with("read.rs") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for every in [concat!("SELECT", " *"), concat!("RETURNING", " *")] {
                    assert!(!text.contains(every), "{} has {every}", path.display());
                }
                read += 1;
            }
        }
        assert!(read > 8, "the files of the writer");
    }
}

/// Statements that differ between databases.
#[derive(Debug)]
pub(crate) struct Dialect {
    /// Lists the keys of an owner.
    pub(crate) keys_of_subject: list::Questions,
    /// Sets the time of the first use of secrets that have none; one JSON array of `[hex digest, ms]`.
    pub(crate) use_credentials: &'static str,
    /// Moves last-used times of keys forward; one JSON array of `[hex digest, ms]`.
    pub(crate) use_keys: &'static str,
    /// Moves last-refused times of keys forward; one JSON array of `[hex key, ms]`, each key once.
    pub(crate) refuse_keys: &'static str,
    /// Adds counts; one JSON array of `[hex key, hour, outcome, count, extra cost]`.
    pub(crate) add_counts: &'static str,
    /// Reads counts; one JSON array of `hex key`, then since and until in ms.
    pub(crate) usage_of: &'static str,
    /// Adds traces; one JSON array of `[hex key, outcome, address, count, ms]`.
    pub(crate) add_traces: &'static str,
    /// Deletes the oldest traces of keys that have more than `?2`; one JSON array of `hex key`.
    pub(crate) trim_traces: &'static str,
}
