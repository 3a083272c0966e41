//! Query plans of SQLite for statements that must be fast however many keys there are. SQLite has no statistics here,
//! so the plan is the same for ten keys and for ten million.

use super::engine::DIALECT;
use super::migrate::migrate;
use crate::sql::tx::batched::{COUNT_KEYS, LOCK_KEY, NAME_TAKEN, SET_CREDENTIAL};
use crate::sql::{list, people, read};
use rusqlite::Connection;

fn plan(sql: &str) -> String {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection).unwrap();
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
    steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
}

#[test]
fn lists_are_found_by_an_index_and_in_their_order() {
    for (sql, index) in [
        (list::OF_TENANT.page, "keys_of_tenant (tenant=? AND id>? AND id<?)"),
        (list::OF_TENANT.count, "keys_of_tenant (tenant=? AND id>? AND id<?)"),
        (
            list::OF_TENANT.edge,
            "COVERING INDEX keys_of_tenant (tenant=? AND id<?)",
        ),
        (
            list::OF_SUBJECT_INDEXED.page,
            "keys_of_subject (tenant=? AND subject=? AND id>? AND id<?)",
        ),
        (
            list::OF_SUBJECT_INDEXED.count,
            "keys_of_subject (tenant=? AND subject=? AND id>? AND id<?)",
        ),
        (
            list::OF_SUBJECT_INDEXED.edge,
            "COVERING INDEX keys_of_subject (tenant=? AND subject=? AND id<?)",
        ),
        (
            list::EXPIRING.page,
            "keys_expiring (tenant=? AND expires_at>? AND expires_at<?)",
        ),
        (
            list::EXPIRING.count,
            "keys_expiring (tenant=? AND expires_at>? AND expires_at<?)",
        ),
    ] {
        let plan = plan(sql);
        assert!(plan.contains(index), "{plan} for {sql}");
        assert!(
            !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
            "{plan} for {sql}"
        );
    }
}

#[test]
fn nothing_that_a_change_or_a_verification_asks_reads_a_whole_table() {
    for sql in [
        read::FIND_CREDENTIAL,
        read::KEY,
        read::LAPSED,
        COUNT_KEYS.one,
        NAME_TAKEN.one,
        LOCK_KEY.one,
    ] {
        let plan = plan(sql);
        assert!(
            !plan.contains("SCAN keys") && !plan.contains("SCAN c"),
            "{plan} for {sql}"
        );
    }
    let events = plan(read::INSTANCE_EVENTS);
    assert!(events.contains("log_of_target (target_id=?)"), "{events}");
    let taken = plan(NAME_TAKEN.one);
    for index in ["expires_at=?)", "expires_at>?)"] {
        let index = format!("keys_named (tenant=? AND subject=? AND name=? AND {index}");
        assert!(taken.contains(&index), "{taken}");
    }
}

/// Inserts an owner with this many keys. Half of them have one name and have expired; the others have no expiry.
fn owner_of(connection: &Connection, keys: u32) {
    let all = "INSERT INTO keys (id, tenant, subject, name, scopes, digest, prefix, last_four, state, created_at, \
         updated_at, expires_at) WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?1) \
         SELECT randomblob(16), 'acme', 'user_1', iif(n % 2, 'taken before', n), '', randomblob(32), 'ak', 'abcd', 'active', \
         1, 1, iif(n % 2, 5, NULL) FROM number";
    connection.execute(all, [keys]).unwrap();
}

/// Returns the result of a statement, and how many steps SQLite's virtual machine takes for it.
fn steps(connection: &Connection, sql: &str, values: &[&dyn rusqlite::ToSql]) -> (i64, i32) {
    let mut statement = connection.prepare(sql).unwrap();
    let answer = statement.query_row(values, |row| row.get(0)).unwrap();
    (answer, statement.get_status(rusqlite::StatementStatus::VmStep))
}

#[test]
fn a_key_is_made_as_quickly_for_an_owner_of_ten_thousand_as_for_one_of_ten() {
    let at = |keys: u32| {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        owner_of(&connection, keys);
        let counted = steps(
            &connection,
            COUNT_KEYS.one,
            &[&"acme", &"user_1", &9, &true, &1, &1_000_000],
        );
        assert_eq!(counted.0, i64::from(keys));
        // Half of the keys have this name, but have expired.
        let free = steps(
            &connection,
            NAME_TAKEN.one,
            &[&"acme", &"user_1", &"taken before", &None::<i64>, &9],
        );
        let taken = steps(
            &connection,
            NAME_TAKEN.one,
            &[&"acme", &"user_1", &"2", &None::<i64>, &9],
        );
        assert_eq!((free.0, taken.0), (0, 1));
        [counted.1, free.1, taken.1]
    };
    let (few, many) = (at(10), at(10_000));
    assert_eq!(few, many);
}

#[test]
fn keys_are_counted_whatever_becomes_of_them() {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    owner_of(&connection, 10);
    for change in [
        "UPDATE keys SET state = 'revoked' WHERE name IN ('2', '4')",
        "UPDATE keys SET state = 'disabled' WHERE name IN ('4', '6')",
        "DELETE FROM keys WHERE name IN ('2', '8')",
        "UPDATE keys SET subject = 'user_2' WHERE name = '6'",
        "UPDATE keys SET name = 'other'",
    ] {
        connection.execute_batch(change).unwrap();
        let differ = "SELECT count(*) FROM (SELECT tenant, subject, count(*) AS keys FROM keys WHERE state <> 'revoked' \
             GROUP BY tenant, subject) AS real LEFT JOIN subject_keys AS known USING (tenant, subject) \
             WHERE real.keys IS NOT known.keys";
        let differ: i64 = connection.query_row(differ, [], |row| row.get(0)).unwrap();
        assert_eq!(differ, 0, "after {change}");
    }
}

#[test]
fn a_root_key_is_found_by_either_of_its_secrets_without_reading_all() {
    for sql in [read::FIND_ROOT_KEY, people::USE_ROOT_KEY] {
        let plan = plan(sql);
        assert!(
            plan.contains("root_keys_retiring (retiring_digest=?)"),
            "{plan} for {sql}"
        );
        assert!(!plan.contains("SCAN r"), "{plan} for {sql}");
    }
}

#[test]
fn a_secret_is_found_by_the_index_of_half_digests() {
    for sql in [
        read::FIND_CREDENTIAL,
        read::KEY,
        list::OF_TENANT.page,
        SET_CREDENTIAL.one,
        DIALECT.use_credentials,
        DIALECT.use_keys,
    ] {
        let plan = plan(sql);
        assert!(plan.contains("credentials_by_digest (<expr>=?)"), "{plan} for {sql}");
    }
}
