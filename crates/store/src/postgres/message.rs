//! One message to the server: a statement, or many of the same text.

use super::bulk::{self, Form};
use crate::sql::{Plain, Statement, Value};
use tokio_postgres::types::{ToSql, Type};

/// A parameter in the driver's form.
pub(super) type Parameter<'v> = (Box<dyn ToSql + Sync + Send + 'v>, Type);

/// Text and parameters.
pub(super) struct Message<'v> {
    pub(super) kind: Kind,
    parameters: Vec<Parameter<'v>>,
}

/// The text of a message. Messages of one kind have the same text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// One statement.
    One(&'static str),
    /// Many statements of a form, with an array for each parameter.
    Many(Form),
}

/// Returns the kind of a run of statements of the same text: one message if their form allows it, else one for each.
/// `None` if the run is empty.
pub(super) fn kind_of(run: &[Statement<'_>]) -> Option<Kind> {
    let sql = run.first()?.sql;
    let form = Form::of(sql).filter(|_| run.len() > 1);
    Some(form.map_or(Kind::One(sql), Kind::Many))
}

/// Returns the messages of a run.
pub(super) fn messages<'v>(run: &'v [Statement<'_>]) -> Vec<Message<'v>> {
    let together = || match kind_of(run)? {
        Kind::One(_) => None,
        kind @ Kind::Many(_) => Some(Message {
            kind,
            parameters: bulk::arrays(run)?,
        }),
    };
    match together() {
        Some(message) => vec![message],
        None => run.iter().map(Message::of_one).collect(),
    }
}

impl<'v> Message<'v> {
    pub(super) fn of_one(statement: &'v Statement<'_>) -> Self {
        Self {
            kind: Kind::One(statement.sql),
            parameters: statement.values.iter().map(parameter).collect(),
        }
    }

    pub(super) fn sql(&self) -> String {
        match self.kind {
            Kind::One(sql) => numbered(sql),
            Kind::Many(form) => form.sql(self.parameters.len()),
        }
    }

    pub(super) fn types(&self) -> Vec<Type> {
        self.parameters.iter().map(|(_, kind)| kind.clone()).collect()
    }

    pub(super) fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.parameters.iter().map(|(value, _)| &**value as _).collect()
    }

    pub(super) fn typed_values(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.values().into_iter().zip(self.types()).collect()
    }
}

fn parameter<'v>(value: &'v Value<'_>) -> Parameter<'v> {
    match value.plain() {
        Plain::Int(value) => (Box::new(value), Type::INT8),
        Plain::Text(value) => (Box::new(value), Type::TEXT),
        Plain::Blob(value) => (Box::new(value), Type::BYTEA),
        Plain::Flag(value) => (Box::new(value), Type::BOOL),
    }
}

/// The shared statements write `?1` for a parameter, as SQLite does, and contain no other question mark. `INDEXED BY`
/// is for SQLite alone: Postgres has statistics of its tables.
fn numbered(sql: &str) -> String {
    sql.replace('?', "$").replace("INDEXED BY keys_of_subject", "")
}
