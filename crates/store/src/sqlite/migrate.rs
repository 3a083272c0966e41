//! Runs all missing migrations in one transaction.

use super::engine::failed;
use crate::error::StoreError;
use crate::folded::folded;
use crate::sql::report_migration;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

/// Number, name, text. A merged one is never edited (ARCHITECTURE.md, A9); Postgres has twins of most.
const MIGRATIONS: [(i64, &str, &str); 13] = [
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
    (
        12,
        "key_counts",
        include_str!("../../migrations/sqlite/0012_key_counts.sql"),
    ),
    (
        13,
        "other_period",
        include_str!("../../migrations/sqlite/0013_other_period.sql"),
    ),
    (
        14,
        "user_subjects",
        include_str!("../../migrations/sqlite/0014_user_subjects.sql"),
    ),
    (
        15,
        "last_refused",
        include_str!("../../migrations/sqlite/0015_last_refused.sql"),
    ),
    (
        16,
        "folded_names",
        include_str!("../../migrations/sqlite/0016_folded_names.sql"),
    ),
    (
        17,
        "usage_costs",
        include_str!("../../migrations/sqlite/0017_usage_costs.sql"),
    ),
    (
        18,
        "root_keys",
        include_str!("../../migrations/sqlite/0018_root_keys.sql"),
    ),
];

const PREPARE: &str = "CREATE TABLE IF NOT EXISTS keyreeve_migrations (version INTEGER PRIMARY KEY, \
     name TEXT NOT NULL) STRICT";
/// Databases of a version that used sqlx have their record of migrations in its table.
const FORMER: &str = "SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations'";
const ADOPT: &str = "INSERT INTO keyreeve_migrations SELECT version, description FROM _sqlx_migrations; \
     DROP TABLE _sqlx_migrations";
const DONE: &str = "SELECT coalesce(max(version), 0) FROM keyreeve_migrations";
const NOTE: &str = "INSERT INTO keyreeve_migrations (version, name) VALUES (?1, ?2)";

/// Migrates the database to this version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let tx = tx.map_err(failed)?;
    tx.execute_batch(PREPARE).map_err(failed)?;
    let former = tx.query_row(FORMER, [], |_| Ok(())).optional().map_err(failed)?;
    if former.is_some() {
        tx.execute_batch(ADOPT).map_err(failed)?;
    }
    let done: i64 = tx.query_row(DONE, [], |row| row.get(0)).map_err(failed)?;
    let newest = newest();
    // A newer version may use tables in another way: nothing is guessed.
    if done > newest {
        return Err(StoreError::from_the_future(done, newest));
    }
    run_missing(&tx, done)?;
    fill_folded_names(&tx).map_err(failed)?;
    tx.commit().map_err(failed)
}

fn run_missing(tx: &Connection, done: i64) -> Result<(), StoreError> {
    let missing: Vec<_> = MIGRATIONS.iter().filter(|(number, ..)| *number > done).collect();
    for (place, (number, name, sql)) in missing.iter().enumerate() {
        // An empty database takes no time.
        if done > 0 {
            report_migration(*number, name, place, missing.len());
        }
        tx.execute_batch(sql).map_err(failed)?;
        tx.execute(NOTE, (number, name)).map_err(failed)?;
    }
    Ok(())
}

/// Returns the number of the newest migration.
pub(super) fn newest() -> i64 {
    MIGRATIONS.iter().map(|(number, ..)| *number).max().unwrap_or(0)
}

/// Fills in the missing folded names of keys.
fn fill_folded_names(connection: &Connection) -> rusqlite::Result<()> {
    let mut update = connection.prepare("UPDATE keys SET folded_name = ?2 WHERE id = ?1")?;
    loop {
        let mut ask = connection.prepare_cached("SELECT id, name FROM keys WHERE folded_name IS NULL LIMIT 1000")?;
        let rows = ask.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?)))?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        if rows.is_empty() {
            return Ok(());
        }
        for (id, name) in rows {
            update.execute((id, folded(&name)))?;
        }
    }
}

/// Refuses a database that needs a migration but cannot be written.
pub(super) fn require_newest(connection: &Connection, why: &str) -> Result<(), StoreError> {
    let done: i64 = connection.query_row(DONE, [], |row| row.get(0)).map_err(failed)?;
    let newest = newest();
    match done {
        _ if done > newest => Err(StoreError::from_the_future(done, newest)),
        _ if done < newest => Err(StoreError::Unavailable(format!(
            "{why}, and its database is of an older version of Keyreeve: start this version once where it can write"
        ))),
        _ => Ok(()),
    }
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
            DROP INDEX log_of_subject; DROP TABLE check_policies; \
            DROP TRIGGER key_added; DROP TRIGGER key_gone; DROP TRIGGER key_moved; ALTER TABLE keys DROP COLUMN limits; \
            DROP TABLE limit_counters; DROP TABLE subject_keys; DROP INDEX keys_named; \
            DROP INDEX users_blocked_subjects; ALTER TABLE users DROP COLUMN subject; \
            ALTER TABLE keys DROP COLUMN last_refused_at; \
            DROP INDEX keys_not_folded; ALTER TABLE keys DROP COLUMN folded_name; \
            ALTER TABLE usage DROP COLUMN extra_cost; DROP TABLE replaced_root_secrets; DROP INDEX root_keys_retiring; \
            ALTER TABLE root_keys DROP COLUMN expires_at; ALTER TABLE root_keys DROP COLUMN networks; \
            ALTER TABLE root_keys DROP COLUMN rotated_at; ALTER TABLE root_keys DROP COLUMN retiring_digest; \
            ALTER TABLE root_keys DROP COLUMN retiring_until; ALTER TABLE root_keys DROP COLUMN last_used_at; \
            ALTER TABLE root_keys DROP COLUMN is_presented";
        connection.execute_batch(former).unwrap();
        migrate(&mut connection).unwrap();
        let versions = "SELECT group_concat(version) FROM keyreeve_migrations ORDER BY version";
        let versions: String = connection.query_row(versions, [], |row| row.get(0)).unwrap();
        assert_eq!(
            versions, "1,2,4,5,6,9,12,13,14,15,16,17,18",
            "the last were run, and the first two were not again"
        );
        assert!(connection.execute_batch("SELECT 1 FROM _sqlx_migrations").is_err());
        migrate(&mut connection).unwrap();
    }

    /// Returns a database as it was before a migration.
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
    fn names_of_before_are_folded() {
        let mut connection = before(16);
        connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        let all = "INSERT INTO keys (id, tenant, subject, name, scopes, digest, prefix, last_four, state, created_at, \
             updated_at) WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 2500) \
             SELECT randomblob(16), 'acme', 'user_1', 'STRASSE ÄÖ ' || n, '', randomblob(32), 'ak', 'abcd', 'active', 1, 1 \
             FROM number";
        connection.execute_batch(all).unwrap();
        migrate(&mut connection).unwrap();
        let found = "SELECT count(*) FROM keys WHERE folded_name = 'strasse äö ' || substr(name, 12)";
        let found: i64 = connection.query_row(found, [], |row| row.get(0)).unwrap();
        assert_eq!(found, 2_500);
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
