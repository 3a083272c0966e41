//! Many statements that differ only in their parameters, as one: each parameter becomes an array with a place for every
//! statement. Reading and planning a statement costs the server more than a row, and nothing here is prepared.

use crate::sql::{Plain, Statement};
use tokio_postgres::types::{ToSql, Type};

/// One statement in the place of several.
pub(super) struct Bulk<'v> {
    pub(super) sql: String,
    pub(super) columns: Vec<(Column<'v>, Type)>,
}

/// A parameter of all statements.
pub(super) type Column<'v> = Box<dyn ToSql + Sync + Send + 'v>;

/// The statements that stand next to each other and say the same.
pub(super) fn runs<'s, 'v>(statements: &'s [Statement<'v>]) -> impl Iterator<Item = &'s [Statement<'v>]> {
    statements.chunk_by(|one, next| one.sql == next.sql && one.values.len() == next.values.len())
}

/// Whether statements that say the same go out as one message: there is only one, or [`together`] knows their form.
pub(super) fn fits(run: &[Statement<'_>]) -> bool {
    let is_known = |sql: &str| sql.starts_with("UPDATE") || sql.starts_with("INSERT") && sql.ends_with(')');
    run.len() <= 1 || run.first().is_some_and(|one| is_known(one.sql))
}

/// `None` if the statement is of no form that can be put together.
pub(super) fn together<'v>(statements: &'v [Statement<'_>]) -> Option<Bulk<'v>> {
    let sql = statements.first()?.sql;
    let count = statements.first()?.values.len();
    let columns: Vec<_> = (0..count)
        .map(|place| column(statements, place))
        .collect::<Option<_>>()?;
    let arrays: Vec<_> = (1..=count).map(|number| format!("${number}")).collect();
    let names: Vec<_> = (1..=count).map(|number| format!("c{number}")).collect();
    let (arrays, names) = (arrays.join(", "), names.join(", "));
    let rows = format!("unnest({arrays}) WITH ORDINALITY AS u({names}, place)");
    let own = sql.replace('?', "u.c");
    let sql = match own.split_ascii_whitespace().next()? {
        "INSERT" => {
            let (head, values) = own.split_once(" VALUES (")?;
            let values = values.strip_suffix(')')?;
            format!("{head} SELECT {values} FROM {rows} ORDER BY u.place")
        }
        "UPDATE" => {
            let (head, condition) = own.split_once(" WHERE ")?;
            format!("{head} FROM {rows} WHERE {condition}")
        }
        "SELECT" => format!("SELECT r.* FROM {rows}, LATERAL ({own}) AS r ORDER BY u.place"),
        _ => return None,
    };
    Some(Bulk { sql, columns })
}

fn column<'v>(statements: &'v [Statement<'_>], place: usize) -> Option<(Column<'v>, Type)> {
    let values = statements
        .iter()
        .map(|statement| Some(statement.values.get(place)?.plain()));
    Some(match statements.first()?.values.get(place)?.plain() {
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
        let statements = [query(sql).bind(1_i64).bind("a"), query(sql).bind(2_i64).bind("b")];
        together(&statements).map(|bulk| bulk.sql)
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
        for sql in [
            "INSERT INTO t (a, b, c) VALUES (?1, ?2, 'live')",
            "UPDATE t SET b = ?2 WHERE a = ?1",
            "INSERT INTO t (a, b) VALUES (?1, ?2) ON CONFLICT (a) DO UPDATE SET b = excluded.b",
            "DELETE FROM t WHERE a = ?1 AND b = ?2",
        ] {
            let run = [query(sql).bind(1_i64).bind("a"), query(sql).bind(2_i64).bind("b")];
            assert_eq!(fits(&run), together(&run).is_some(), "{sql}");
        }
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
