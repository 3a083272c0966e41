//! Migrations: all that are missing, in one transaction, by one node at a time. The locks end with the transaction,
//! so this works through a pooler too.

use super::connect::{Link, failed};
use crate::error::StoreError;
use std::time::Duration;
use tokio::time::timeout;

/// How long a node waits for another one that is migrating.
const DEADLINE: Duration = Duration::from_secs(60);

/// Number, name, text. A merged one is never edited (ARCHITECTURE.md, A9); SQLite has the twins.
const MIGRATIONS: [(i64, &str, &str); 8] = [
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
];

const PREPARE: &str = "BEGIN; \
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
    let newest = MIGRATIONS.iter().map(|(number, ..)| *number).max().unwrap_or(0);
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
