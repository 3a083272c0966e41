//! Messages to the server: a statement, or many of the same text in one.
//!
//! A message costs more than a row. Neighbours that differ only in their parameters become one message if the statement
//! has a form for many rows ([`crate::sql::Batched`]): each parameter is an array with an element for every statement.

use crate::sql::{PlainParameter, Statement, Value};
use tokio_postgres::types::{ToSql, Type};

/// A parameter in the driver's form.
type Parameter<'v> = (Box<dyn ToSql + Sync + Send + 'v>, Type);

/// Text and parameters.
pub(super) struct Message<'v> {
    /// As it is written in the source.
    pub(super) text: &'static str,
    parameters: Vec<Parameter<'v>>,
}

/// Splits statements into runs of neighbours with the same text.
pub(super) fn runs<'s, 'v>(statements: &'s [Statement<'v>]) -> impl Iterator<Item = &'s [Statement<'v>]> {
    statements.chunk_by(|one, next| one.sql == next.sql && one.values.len() == next.values.len())
}

/// Returns the text of a run that is sent as one message.
fn many(run: &[Statement<'_>]) -> Option<&'static str> {
    run.first()?.many.filter(|_| run.len() > 1)
}

/// Returns the text of a run's messages. `None` if the run is empty.
pub(super) fn text_of(run: &[Statement<'_>]) -> Option<&'static str> {
    many(run).or_else(|| Some(run.first()?.sql))
}

/// Returns how many messages a run is.
pub(super) fn count(run: &[Statement<'_>]) -> usize {
    many(run).map_or(run.len(), |_| 1)
}

/// Returns the messages of a run.
pub(super) fn messages<'v>(run: &'v [Statement<'_>]) -> Vec<Message<'v>> {
    let together = || {
        Some(Message {
            text: many(run)?,
            parameters: arrays(run)?,
        })
    };
    match together() {
        Some(message) => vec![message],
        None => run.iter().map(Message::of_one).collect(),
    }
}

impl<'v> Message<'v> {
    fn of_one(statement: &'v Statement<'_>) -> Self {
        Self {
            text: statement.sql,
            parameters: statement.values.iter().map(parameter).collect(),
        }
    }

    /// Returns the text with `$2` for a parameter. Statements of both databases are written with `?2`: to SQLite `$2` is
    /// a name, which it numbers by the first appearance. They contain no other question mark.
    pub(super) fn sql(&self) -> String {
        self.text.replace('?', "$")
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
        PlainParameter::Int(value) => (Box::new(value), Type::INT8),
        PlainParameter::Text(value) => (Box::new(value), Type::TEXT),
        PlainParameter::Blob(value) => (Box::new(value), Type::BYTEA),
        PlainParameter::Flag(value) => (Box::new(value), Type::BOOL),
    }
}

/// Returns for each parameter an array of all statements' values. `None` if the values differ in type.
fn arrays<'v>(run: &'v [Statement<'_>]) -> Option<Vec<Parameter<'v>>> {
    let count = run.first()?.values.len();
    (0..count).map(|place| array(run, place)).collect()
}

fn array<'v>(run: &'v [Statement<'_>], place: usize) -> Option<Parameter<'v>> {
    let values = run.iter().map(|statement| Some(statement.values.get(place)?.plain()));
    Some(match run.first()?.values.get(place)?.plain() {
        PlainParameter::Int(_) => (Box::new(values.map(int).collect::<Option<Vec<_>>>()?), Type::INT8_ARRAY),
        PlainParameter::Text(_) => (
            Box::new(values.map(text).collect::<Option<Vec<_>>>()?),
            Type::TEXT_ARRAY,
        ),
        PlainParameter::Blob(_) => (
            Box::new(values.map(blob).collect::<Option<Vec<_>>>()?),
            Type::BYTEA_ARRAY,
        ),
        PlainParameter::Flag(_) => (
            Box::new(values.map(flag).collect::<Option<Vec<_>>>()?),
            Type::BOOL_ARRAY,
        ),
    })
}

const fn int(value: Option<PlainParameter<'_>>) -> Option<Option<i64>> {
    match value {
        Some(PlainParameter::Int(value)) => Some(value),
        _ => None,
    }
}

const fn text(value: Option<PlainParameter<'_>>) -> Option<Option<&str>> {
    match value {
        Some(PlainParameter::Text(value)) => Some(value),
        _ => None,
    }
}

const fn blob(value: Option<PlainParameter<'_>>) -> Option<Option<&[u8]>> {
    match value {
        Some(PlainParameter::Blob(value)) => Some(value),
        _ => None,
    }
}

const fn flag(value: Option<PlainParameter<'_>>) -> Option<bool> {
    match value {
        Some(PlainParameter::Flag(value)) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Batched, query};

    const PUT: Batched = Batched {
        one: "INSERT INTO t (a) VALUES (?1)",
        many: "INSERT INTO t (a) SELECT given.a FROM unnest($1) AS given(a)",
    };

    fn sent(run: &[Statement<'_>]) -> Vec<String> {
        let sent: Vec<_> = messages(run).iter().map(Message::sql).collect();
        assert_eq!(sent.len(), count(run));
        sent
    }

    #[test]
    fn a_run_is_one_message_if_its_statement_has_a_form_for_many_rows() {
        let put = |a: i64| PUT.query(1).bind(a);
        assert_eq!(sent(&[put(1), put(2)]), [PUT.many]);
        assert_eq!(sent(&[put(1)]), ["INSERT INTO t (a) VALUES ($1)"]);
        let drop = |a: i64| query("DELETE FROM t WHERE a = ?1").bind(a);
        assert_eq!(sent(&[drop(1), drop(2)]), ["DELETE FROM t WHERE a = $1"; 2]);
    }

    #[test]
    fn what_differs_in_type_is_sent_one_by_one() {
        let run = [PUT.query(1).bind(1_i64), PUT.query(1).bind("a")];
        assert!(arrays(&run).is_none());
        assert_eq!(messages(&run).len(), 2);
    }

    #[test]
    fn only_neighbours_with_the_same_text_are_a_run() {
        let statements = [
            query("A").bind(1_i64),
            query("A").bind(2_i64),
            query("B"),
            query("A").bind(3_i64),
        ];
        assert_eq!(runs(&statements).map(<[_]>::len).collect::<Vec<_>>(), [2, 1, 1]);
    }
}
