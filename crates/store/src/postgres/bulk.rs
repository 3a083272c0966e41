//! Combines statements that differ only in their parameters into one: each parameter becomes an array with an element
//! for every statement. A message costs more than a row.

use super::message::Parameter;
use crate::sql::{Plain, Statement};
use tokio_postgres::types::Type;

/// Splits statements into runs of neighbours with the same text.
pub(super) fn runs<'s, 'v>(statements: &'s [Statement<'v>]) -> impl Iterator<Item = &'s [Statement<'v>]> {
    statements.chunk_by(|one, next| one.sql == next.sql && one.values.len() == next.values.len())
}

/// A statement that can be applied to many rows at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Insert {
        head: &'static str,
        values: &'static str,
    },
    Update {
        head: &'static str,
        condition: &'static str,
    },
    Select(&'static str),
}

impl Form {
    /// Returns `None` if such statements must be sent one by one.
    pub(super) fn of(sql: &'static str) -> Option<Self> {
        match sql.split_ascii_whitespace().next()? {
            "INSERT" => {
                let (head, values) = sql.split_once(" VALUES (")?;
                let values = values.strip_suffix(')')?;
                Some(Self::Insert { head, values })
            }
            "UPDATE" => {
                let (head, condition) = sql.split_once(" WHERE ")?;
                Some(Self::Update { head, condition })
            }
            "SELECT" => Some(Self::Select(sql)),
            _ => None,
        }
    }

    /// Returns the text for that number of parameters.
    pub(super) fn sql(self, parameters: usize) -> String {
        let list = |letter: &str| {
            let all: Vec<_> = (1..=parameters).map(|number| format!("{letter}{number}")).collect();
            all.join(", ")
        };
        let rows = format!("unnest({}) WITH ORDINALITY AS u({}, place)", list("$"), list("c"));
        let own = |part: &str| part.replace('?', "u.c");
        match self {
            Self::Insert { head, values } => format!("{head} SELECT {} FROM {rows} ORDER BY u.place", own(values)),
            Self::Update { head, condition } => format!("{} FROM {rows} WHERE {}", own(head), own(condition)),
            Self::Select(sql) => format!("SELECT r.* FROM {rows}, LATERAL ({}) AS r ORDER BY u.place", own(sql)),
        }
    }
}

/// Returns for each parameter an array of all statements' values. `None` if the values differ in type.
pub(super) fn arrays<'v>(run: &'v [Statement<'_>]) -> Option<Vec<Parameter<'v>>> {
    let count = run.first()?.values.len();
    (0..count).map(|place| array(run, place)).collect()
}

fn array<'v>(run: &'v [Statement<'_>], place: usize) -> Option<Parameter<'v>> {
    let values = run.iter().map(|statement| Some(statement.values.get(place)?.plain()));
    Some(match run.first()?.values.get(place)?.plain() {
        Plain::Int(_) => (Box::new(values.map(int).collect::<Option<Vec<_>>>()?), Type::INT8_ARRAY),
        Plain::Text(_) => (
            Box::new(values.map(text).collect::<Option<Vec<_>>>()?),
            Type::TEXT_ARRAY,
        ),
        Plain::Blob(_) => (
            Box::new(values.map(blob).collect::<Option<Vec<_>>>()?),
            Type::BYTEA_ARRAY,
        ),
        Plain::Flag(_) => (
            Box::new(values.map(flag).collect::<Option<Vec<_>>>()?),
            Type::BOOL_ARRAY,
        ),
    })
}

const fn int(value: Option<Plain<'_>>) -> Option<Option<i64>> {
    match value {
        Some(Plain::Int(value)) => Some(value),
        _ => None,
    }
}

const fn text(value: Option<Plain<'_>>) -> Option<Option<&str>> {
    match value {
        Some(Plain::Text(value)) => Some(value),
        _ => None,
    }
}

const fn blob(value: Option<Plain<'_>>) -> Option<Option<&[u8]>> {
    match value {
        Some(Plain::Blob(value)) => Some(value),
        _ => None,
    }
}

const fn flag(value: Option<Plain<'_>>) -> Option<bool> {
    match value {
        Some(Plain::Flag(value)) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::query;

    fn sql_of(sql: &'static str) -> Option<String> {
        Some(Form::of(sql)?.sql(2))
    }

    #[test]
    fn statements_that_say_the_same_become_one() {
        let rows = "unnest($1, $2) WITH ORDINALITY AS u(c1, c2, place)";
        for (one, all) in [
            (
                "INSERT INTO t (a, b, c) VALUES (?1, ?2, 'live')",
                format!("INSERT INTO t (a, b, c) SELECT u.c1, u.c2, 'live' FROM {rows} ORDER BY u.place"),
            ),
            (
                "UPDATE t SET b = ?2 WHERE a = ?1",
                format!("UPDATE t SET b = u.c2 FROM {rows} WHERE a = u.c1"),
            ),
            (
                "SELECT b FROM t WHERE a = ?1 AND c = ?2",
                format!(
                    "SELECT r.* FROM {rows}, LATERAL (SELECT b FROM t WHERE a = u.c1 AND c = u.c2) AS r \
                     ORDER BY u.place"
                ),
            ),
        ] {
            assert_eq!(sql_of(one), Some(all));
        }
        assert_eq!(sql_of("DELETE FROM t WHERE a = ?1 AND b = ?2"), None);
        let upsert = "INSERT INTO t (a, b) VALUES (?1, ?2) ON CONFLICT (a) DO UPDATE SET b = excluded.b";
        assert_eq!(sql_of(upsert), None);
    }

    #[test]
    fn what_differs_in_kind_is_not_put_together() {
        let number = query("INSERT INTO t (a) VALUES (?1)").bind(1_i64);
        let text = query("INSERT INTO t (a) VALUES (?1)").bind("a");
        assert!(arrays(&[number, text]).is_none());
    }

    #[test]
    fn only_neighbours_that_say_the_same_are_put_together() {
        let statements = [
            query("A").bind(1_i64),
            query("A").bind(2_i64),
            query("B"),
            query("A").bind(3_i64),
        ];
        assert_eq!(runs(&statements).map(<[_]>::len).collect::<Vec<_>>(), [2, 1, 1]);
    }
}
