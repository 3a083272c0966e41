//! Migrations: all that are missing, in one transaction.

use super::engine::failed;
use crate::error::StoreError;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

/// Number, name, text. A merged one is never edited (ARCHITECTURE.md, A9); Postgres has twins of most.
const MIGRATIONS: [(i64, &str, &str); 6] = [
    (
        1,
        "foundation",
        include_str!("../../migrations/sqlite/0001_foundation.sql"),
    ),
    (
        2,
        "lifecycle",
        include_str!("../../migrations/sqlite/0002_lifecycle.sql"),
    ),
    (
        4,
        "dashboard",
        include_str!("../../migrations/sqlite/0004_dashboard.sql"),
    ),
    (
        5,
        "check_policies",
        include_str!("../../migrations/sqlite/0005_check_policies.sql"),
    ),
    (6, "limits", include_str!("../../migrations/sqlite/0006_limits.sql")),
    (
        9,
        "credentials",
        include_str!("../../migrations/sqlite/0009_credentials.sql"),
    ),
];

const PREPARE: &str = "CREATE TABLE IF NOT EXISTS keyreeve_migrations (version INTEGER PRIMARY KEY, \
     name TEXT NOT NULL) STRICT";
/// What migrated before this was written kept its record elsewhere.
const FORMER: &str = "SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations'";
const ADOPT: &str = "INSERT INTO keyreeve_migrations SELECT version, description FROM _sqlx_migrations; \
     DROP TABLE _sqlx_migrations";
const DONE: &str = "SELECT coalesce(max(version), 0) FROM keyreeve_migrations";
const NOTE: &str = "INSERT INTO keyreeve_migrations (version, name) VALUES (?1, ?2)";

/// Brings the database to this version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let tx = tx.map_err(failed)?;
    tx.execute_batch(PREPARE).map_err(failed)?;
    let former = tx.query_row(FORMER, [], |_| Ok(())).optional().map_err(failed)?;
    if former.is_some() {
        tx.execute_batch(ADOPT).map_err(failed)?;
    }
    let done: i64 = tx.query_row(DONE, [], |row| row.get(0)).map_err(failed)?;
    let newest = MIGRATIONS.iter().map(|(number, ..)| *number).max().unwrap_or(0);
    if done > newest {
        return Err(StoreError::from_the_future(done, newest));
    }
    for (number, name, sql) in MIGRATIONS.iter().filter(|(number, ..)| *number > done) {
        tx.execute_batch(sql).map_err(failed)?;
        tx.execute(NOTE, (number, name)).map_err(failed)?;
    }
    tx.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_tool_migrated_goes_on_from_there() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let former = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL); \
            INSERT INTO _sqlx_migrations SELECT version, name FROM keyreeve_migrations WHERE version < 4; \
            DROP TABLE keyreeve_migrations; DROP TABLE logins; DROP TABLE traces; DROP INDEX users_of_email; \
            DROP INDEX log_of_subject; DROP TABLE check_policies; ALTER TABLE keys DROP COLUMN limits; \
            DROP TABLE limit_counters";
        connection.execute_batch(former).unwrap();
        migrate(&mut connection).unwrap();
        let versions = "SELECT group_concat(version) FROM keyreeve_migrations ORDER BY version";
        let versions: String = connection.query_row(versions, [], |row| row.get(0)).unwrap();
        assert_eq!(
            versions, "1,2,4,5,6,9",
            "the last were run, and the first two were not again"
        );
        assert!(connection.execute_batch("SELECT 1 FROM _sqlx_migrations").is_err());
        migrate(&mut connection).unwrap();
    }

    /// As it was before a migration.
    fn before(version: i64) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(PREPARE).unwrap();
        for (number, name, sql) in MIGRATIONS.iter().filter(|(number, ..)| *number < version) {
            connection.execute_batch(sql).unwrap();
            connection.execute(NOTE, (number, name)).unwrap();
        }
        connection
    }

    #[test]
    fn secrets_of_before_are_all_there_and_none_can_be_issued_twice() {
        let mut connection = before(9);
        let two = "INSERT INTO credentials VALUES (zeroblob(32), x'01', 'default', 'retiring', 7, 5), \
             (randomblob(32), x'02', 'default', 'live', NULL, NULL)";
        connection.execute_batch(two).unwrap();
        let rows = |connection: &Connection| {
            let all = "SELECT group_concat(concat_ws(' ', hex(digest), hex(key_id), tenant, standing, until, last_used_at)) \
                 FROM (SELECT * FROM credentials ORDER BY digest)";
            connection.query_row(all, [], |row| row.get::<_, String>(0)).unwrap()
        };
        let expected = rows(&connection);
        migrate(&mut connection).unwrap();
        assert_eq!(rows(&connection), expected);
        let again = connection.execute_batch("INSERT INTO credentials SELECT * FROM credentials WHERE key_id = x'02'");
        assert!(again.is_err(), "the same secret once more");
    }

    #[test]
    fn what_a_newer_version_wrote_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection
            .execute("INSERT INTO keyreeve_migrations VALUES (999, 'future')", [])
            .unwrap();
        let refused = migrate(&mut connection);
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    }
}
