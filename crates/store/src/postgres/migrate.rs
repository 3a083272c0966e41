//! Runs all missing migrations in one transaction, on one node at a time. The locks end with the transaction, so this
//! works through a pooler too.
//!
//! A start on an up-to-date database only reads: the role of a node needs no right to change the schema.

use super::connect::{Link, failed, reason};
use super::{
    Connector, DatabaseAccess, PostgresStore, SPARE, START_DEADLINE, Slots, first_link, must_be_unicode, slow,
};
use crate::error::StoreError;
use crate::folded::folded;
use crate::sql::report_migration;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::types::{ToSql, Type};

/// How long a node waits for the connection to the migration lock's answer; the server itself waits for 60 s.
const LOCK_DEADLINE: Duration = Duration::from_secs(65);
/// Shortest interval between two log lines about names that are folded.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Number, name, text. A merged one is never edited (ARCHITECTURE.md, A9); SQLite has the twins.
const MIGRATIONS: [(i64, &str, &str); 17] = [
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
    (
        18,
        "root_keys",
        include_str!("../../migrations/postgres/0018_root_keys.sql"),
    ),
];

/// Whether the table of migrations is visible to this role. Nothing is created for that.
const IS_THERE: &str = "SELECT to_regclass('keyreeve_migrations') IS NOT NULL AS is_there";
const VERSION: &str = "SELECT coalesce(max(version), 0)::bigint AS version FROM keyreeve_migrations";
/// The server ends an idle transaction after 10 s, so a node that disappeared does not block others. A migration itself
/// has no time limit of the server, whatever is set at the role. The text of migration 3 needs backslashes as they are.
const LOCK: &str = "BEGIN; SET LOCAL lock_timeout = '60s'; SET LOCAL idle_in_transaction_session_timeout = '10s'; \
     SET LOCAL statement_timeout = 0; SET LOCAL standard_conforming_strings = on; \
     SELECT pg_advisory_xact_lock(5275716432)";
const CREATE: &str = "CREATE TABLE IF NOT EXISTS keyreeve_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL, \
         run_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp())";

/// The version of a database's schema, before and after it was migrated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SchemaChange {
    /// The version that was found. 0: an empty database.
    pub from: i64,
    /// The version of this program.
    pub to: i64,
}

impl PostgresStore {
    /// Migrates a database to this version without opening it as a store. `access` is as for [`PostgresStore::open`].
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn migrate(access: &DatabaseAccess) -> Result<SchemaChange, StoreError> {
        let connector = Connector::new(access.clone());
        let link = first_link(access, &connector, &Slots::new(1 + SPARE)).await?;
        let until = Instant::now() + START_DEADLINE;
        timeout_at(until, must_be_unicode(&link)).await.map_err(|_| slow())??;
        let change = migrate(&link).await?;
        fill_folded_names(&link).await?;
        Ok(change)
    }
}

fn newest() -> i64 {
    MIGRATIONS.iter().map(|(number, ..)| *number).max().unwrap_or(0)
}

/// Brings the database to this version.
pub(super) async fn migrate(link: &Link) -> Result<SchemaChange, StoreError> {
    let to = newest();
    let from = version(link).await?;
    if from == to {
        return Ok(SchemaChange { from, to });
    }
    let locked = timeout(LOCK_DEADLINE, link.client().batch_execute(LOCK)).await;
    locked.map_err(|_| slow())?.map_err(locked_by_another)?;
    // Another node may have migrated it since.
    let from = version(link).await?;
    if from < to {
        link.client()
            .batch_execute(CREATE)
            .await
            .map_err(|error| forbidden(error, from))?;
        run_missing(link, from).await?;
    }
    link.client().batch_execute("COMMIT").await.map_err(failed)?;
    Ok(SchemaChange { from, to })
}

/// Returns the version of the schema, 0 for an empty database. Refuses one of a newer program.
async fn version(link: &Link) -> Result<i64, StoreError> {
    let row = link.client().query_typed_one(IS_THERE, &[]).await.map_err(failed)?;
    if !row.try_get::<_, bool>("is_there").map_err(failed)? {
        return Ok(0);
    }
    let row = link.client().query_typed_one(VERSION, &[]).await.map_err(failed)?;
    match row.try_get("version").map_err(failed)? {
        found if found > newest() => Err(StoreError::from_the_future(found, newest())),
        found => Ok(found),
    }
}

async fn run_missing(link: &Link, from: i64) -> Result<(), StoreError> {
    let missing: Vec<_> = MIGRATIONS.iter().filter(|(number, ..)| *number > from).collect();
    for (place, (number, name, sql)) in missing.iter().enumerate() {
        // An empty database takes no time.
        if from > 0 {
            report_migration(*number, name, place, missing.len());
        }
        link.client()
            .batch_execute(sql)
            .await
            .map_err(|error| forbidden(error, from))?;
        let note = format!("INSERT INTO keyreeve_migrations (version, name) VALUES ({number}, '{name}')");
        link.client()
            .batch_execute(&note)
            .await
            .map_err(|error| forbidden(error, from))?;
    }
    Ok(())
}

/// Returns the error of a node that did not get the lock.
fn locked_by_another(error: tokio_postgres::Error) -> StoreError {
    match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("55P03") => StoreError::Unavailable(
            "another node has been migrating it for more than 60 s; its log has the progress. Start this node again \
             when it has finished"
                .to_owned(),
        ),
        _ => failed(error),
    }
}

/// Returns the error of a role that may not change the schema (42501), or that has none to create tables in (3F000).
fn forbidden(error: tokio_postgres::Error, from: i64) -> StoreError {
    match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("42501" | "3F000") => StoreError::Disagreement(format!(
            "the database has schema version {from}, this version of keyreeve needs {}, and this role may not change \
             the schema ({}): run `keyreeve database migrate` with the role that owns it",
            newest(),
            reason(&error)
        )),
        _ => failed(error),
    }
}

/// Returns the version of the schema, and refuses one that is not this version's. Nothing is migrated.
pub(super) async fn require_newest(link: &Link) -> Result<i64, StoreError> {
    let found = version(link).await?;
    if found < newest() {
        return Err(StoreError::Disagreement(
            "the database is of an older version of Keyreeve: use that version, or run `keyreeve database migrate`"
                .to_owned(),
        ));
    }
    Ok(found)
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
    let (mut done, mut reported) = (0, Instant::now());
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
        done += ids.len();
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            tracing::info!(done, "folding the names of keys");
        }
    }
}
