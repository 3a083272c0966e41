//! Runs all missing migrations in one transaction, on one node at a time. The locks end with the transaction, so this
//! works through a pooler too.

use super::connect::{Link, failed};
use crate::error::StoreError;
use crate::folded::folded;
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};

/// How long a node waits for another node's migration.
const DEADLINE: Duration = Duration::from_secs(60);

/// Number, name, text. A merged one is never edited (ARCHITECTURE.md, A9); SQLite has the twins.
const MIGRATIONS: [(i64, &str, &str); 16] = [
    (
        1,
        "foundation",
        include_str!("../../migrations/postgres/0001_foundation.sql"),
    ),
    (
        2,
        "lifecycle",
        include_str!("../../migrations/postgres/0002_lifecycle.sql"),
    ),
    (
        3,
        "coherence",
        include_str!("../../migrations/postgres/0003_coherence.sql"),
    ),
    (
        4,
        "dashboard",
        include_str!("../../migrations/postgres/0004_dashboard.sql"),
    ),
    (
        5,
        "check_policies",
        include_str!("../../migrations/postgres/0005_check_policies.sql"),
    ),
    (6, "limits", include_str!("../../migrations/postgres/0006_limits.sql")),
    (7, "poll", include_str!("../../migrations/postgres/0007_poll.sql")),
    (8, "by_hand", include_str!("../../migrations/postgres/0008_by_hand.sql")),
    (
        10,
        "holding",
        include_str!("../../migrations/postgres/0010_holding.sql"),
    ),
    (11, "leases", include_str!("../../migrations/postgres/0011_leases.sql")),
    (
        12,
        "key_counts",
        include_str!("../../migrations/postgres/0012_key_counts.sql"),
    ),
    (
        13,
        "other_period",
        include_str!("../../migrations/postgres/0013_other_period.sql"),
    ),
    (
        14,
        "user_subjects",
        include_str!("../../migrations/postgres/0014_user_subjects.sql"),
    ),
    (
        15,
        "last_refused",
        include_str!("../../migrations/postgres/0015_last_refused.sql"),
    ),
    (
        16,
        "folded_names",
        include_str!("../../migrations/postgres/0016_folded_names.sql"),
    ),
    (
        17,
        "usage_costs",
        include_str!("../../migrations/postgres/0017_usage_costs.sql"),
    ),
];

/// The server ends an idle transaction after 10 s, so a node that disappeared does not block others. A migration itself
/// has no time limit of the server.
const PREPARE: &str = "BEGIN; SET LOCAL lock_timeout = '60s'; SET LOCAL idle_in_transaction_session_timeout = '10s'; \
     SELECT pg_advisory_xact_lock(5275716432); \
     CREATE TABLE IF NOT EXISTS keyreeve_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL, \
         run_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp())";

/// Brings the database to this version.
pub(super) async fn migrate(link: &Link) -> Result<(), StoreError> {
    let migrated = timeout(DEADLINE, run(link)).await;
    migrated.map_err(|_| super::engine::slow())?
}

async fn run(link: &Link) -> Result<(), StoreError> {
    let client = link.client();
    client.batch_execute(PREPARE).await.map_err(failed)?;
    let done = "SELECT coalesce(max(version), 0)::bigint AS version FROM keyreeve_migrations";
    let row = client.query_typed_one(done, &[]).await.map_err(failed)?;
    let done: i64 = row.try_get("version").map_err(failed)?;
    let newest = newest();
    if done > newest {
        return Err(StoreError::from_the_future(done, newest));
    }
    for (number, name, sql) in MIGRATIONS.iter().filter(|(number, ..)| *number > done) {
        client.batch_execute(sql).await.map_err(failed)?;
        let note = format!("INSERT INTO keyreeve_migrations (version, name) VALUES ({number}, '{name}')");
        client.batch_execute(&note).await.map_err(failed)?;
    }
    client.batch_execute("COMMIT").await.map_err(failed)
}

/// Returns the number of the newest migration.
fn newest() -> i64 {
    MIGRATIONS.iter().map(|(number, ..)| *number).max().unwrap_or(0)
}

/// Returns the version of the schema, and refuses one that is not this version's. Nothing is migrated.
pub(super) async fn require_newest(link: &Link) -> Result<i64, StoreError> {
    let done = "SELECT coalesce(max(version), 0)::bigint AS version FROM keyreeve_migrations";
    let row = link.client().query_typed_one(done, &[]).await.map_err(failed)?;
    let done: i64 = row.try_get("version").map_err(failed)?;
    match done {
        _ if done > newest() => Err(StoreError::from_the_future(done, newest())),
        _ if done < newest() => Err(StoreError::Disagreement(
            "the database is of an older version of Keyreeve: use that version, or start this one once".to_owned(),
        )),
        _ => Ok(done),
    }
}

/// Maximum number of keys whose names are folded in one transaction. Other writers wait for it.
const FOLDED_AT_ONCE: usize = 2_000;
/// Every change of keys locks the head first.
const BEGIN_FOLDING: &str =
    "BEGIN; SET LOCAL keyreeve.writer = 'on'; SELECT revision FROM head WHERE id = 1 FOR UPDATE";
const UNFOLDED: &str = "SELECT id, name FROM keys WHERE folded_name IS NULL LIMIT $1";
const FOLD: &str = "UPDATE keys SET folded_name = u.folded FROM unnest($1, $2) AS u(id, folded) WHERE keys.id = u.id";

/// Fills in the missing folded names of keys, in batches.
pub(super) async fn fill_folded_names(link: &Link) -> Result<(), StoreError> {
    let client = link.client();
    loop {
        let most = i64::try_from(FOLDED_AT_ONCE).unwrap_or(i64::MAX);
        let rows = client
            .query_typed(UNFOLDED, &[(&most, Type::INT8)])
            .await
            .map_err(failed)?;
        let (mut ids, mut names) = (Vec::<Vec<u8>>::new(), Vec::new());
        for row in &rows {
            ids.push(row.try_get("id").map_err(failed)?);
            names.push(folded(row.try_get("name").map_err(failed)?));
        }
        if ids.is_empty() {
            return Ok(());
        }
        client.batch_execute(BEGIN_FOLDING).await.map_err(failed)?;
        let values: [(&(dyn ToSql + Sync), Type); 2] = [(&ids, Type::BYTEA_ARRAY), (&names, Type::TEXT_ARRAY)];
        client.execute_typed(FOLD, &values).await.map_err(failed)?;
        client.batch_execute("COMMIT").await.map_err(failed)?;
    }
}
