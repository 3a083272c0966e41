//! Which way SQLite goes for what must stay quick however many keys there are. It has no statistics, so it goes the same
//! way for ten keys and for ten million.

use super::engine::DIALECT;
use super::migrate::migrate;
use crate::sql::{list, read, tx};
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
            list::OF_SUBJECT.page,
            "keys_of_subject (tenant=? AND subject=? AND id>? AND id<?)",
        ),
        (
            list::OF_SUBJECT.count,
            "keys_of_subject (tenant=? AND subject=? AND id>? AND id<?)",
        ),
        (
            list::OF_SUBJECT.edge,
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
        tx::COUNT_KEYS,
        tx::NAME_TAKEN,
        tx::LOCK_KEY,
    ] {
        let plan = plan(sql);
        assert!(
            !plan.contains("SCAN keys") && !plan.contains("SCAN c"),
            "{plan} for {sql}"
        );
    }
    for sql in [tx::COUNT_KEYS, tx::NAME_TAKEN] {
        let plan = plan(sql);
        assert!(
            plan.contains("keys_of_subject (tenant=? AND subject=?"),
            "{plan} for {sql}"
        );
    }
}

#[test]
fn a_secret_is_found_by_the_index_of_half_digests() {
    for sql in [
        read::FIND_CREDENTIAL,
        read::KEY,
        list::OF_TENANT.page,
        tx::SET_CREDENTIAL,
        DIALECT.use_credentials,
        DIALECT.use_keys,
    ] {
        let plan = plan(sql);
        assert!(plan.contains("credentials_by_digest (<expr>=?)"), "{plan} for {sql}");
    }
}
