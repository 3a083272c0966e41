//! What goes to the server as one message: a statement, or many that say the same.

use super::bulk::{self, Form};
use crate::sql::{Plain, Statement, Value};
use tokio_postgres::types::{ToSql, Type};

/// A parameter as the driver takes it.
pub(super) type Parameter<'v> = (Box<dyn ToSql + Sync + Send + 'v>, Type);

/// Text and parameters.
pub(super) struct Message<'v> {
    pub(super) kind: Kind,
    parameters: Vec<Parameter<'v>>,
}

/// Messages of one kind have one text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// The statement itself.
    One(&'static str),
    /// Many of a form, with an array for each parameter.
    Many(Form),
}

/// What a run of statements that say the same becomes: one message if their form allows it, else one for each. `None` if
/// the run is empty.
pub(super) fn kind_of(run: &[Statement<'_>]) -> Option<Kind> {
    let sql = run.first()?.sql;
    let form = Form::of(sql).filter(|_| run.len() > 1);
    Some(form.map_or(Kind::One(sql), Kind::Many))
}

/// The messages that it becomes.
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

/// The statements that all databases share say `?1`, as SQLite does; nothing else in them has a question mark. Which
/// index to take is said for SQLite alone: Postgres knows what is in its tables.
fn numbered(sql: &str) -> String {
    sql.replace('?', "$").replace("INDEXED BY keys_of_subject", "")
}
