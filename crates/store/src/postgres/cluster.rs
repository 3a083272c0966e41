//! Where nodes meet in Postgres.

use super::PostgresStore;
use super::connect::{Link, failed};
use super::engine::slow;
use crate::cluster::{Change, Cluster, Durability, Polled, Registered, Session, Touched};
use crate::error::StoreError;
use crate::sql::rows::{blob, flag, int, number, revision, tenant, text, user};
use crate::sql::store::SqlStore as _;
use crate::sql::{Columns as _, Engine as _, Statement, query};
use crate::store::{Commit, Fate, KeyNews, OwnerGate};
use async_trait::async_trait;
use keyreeve_core::coherence::grantor::Seen;
use keyreeve_core::coherence::holder::{Answer, SessionId};
use keyreeve_core::text::Slug;
use keyreeve_core::{Digest, KeyId, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;
use tokio_postgres::Row;

/// How long a poll may take (rule R11).
const POLL_DEADLINE: Duration = Duration::from_secs(2);
/// Most changes that one poll brings.
const CHANGES_MAX: i64 = 500;

const LISTEN: &str = "LISTEN keyreeve";
/// Rule R2 in one statement, which is its own transaction. What it does stands in migration 7.
const POLL: &str = "SELECT * FROM keyreeve_poll(?1, ?2, ?3, ?4)";
/// A timeline that nobody has seen yet begins at a failover. From then on it is known since when.
const NOTE_TIMELINE: &str = "UPDATE cluster SET timeline_since = CASE WHEN timeline IS NULL THEN 'epoch'::timestamptz \
         ELSE clock_timestamp() END, timeline = substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) \
     WHERE id = 1 AND timeline IS DISTINCT FROM substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
const TIMELINE_AGE: &str = "SELECT least(floor(extract(epoch FROM clock_timestamp() - timeline_since) * 1000), \
     4e15)::bigint AS age FROM cluster WHERE id = 1";
const REGISTER: &str = "INSERT INTO sessions (id, node, acked) SELECT ?1, ?2, revision FROM head WHERE id = 1 \
     RETURNING acked, (SELECT chain FROM head WHERE id = 1) AS chain, set_config('synchronous_commit', 'on', TRUE)";
const SESSIONS: &str = "SELECT id, node, acked, renewals, pg_is_in_recovery() AS is_replica, \
     floor(extract(epoch FROM started_at) * 1000)::bigint AS started_at, \
     floor(extract(epoch FROM clock_timestamp() - seen_at) * 1000)::bigint AS silent_ms \
     FROM sessions WHERE NOT is_dead ORDER BY started_at, id";
const BURY: &str = "UPDATE sessions SET is_dead = TRUE WHERE id = $1 AND renewals = $2";
/// A day later nobody asks about a dead session any more.
const FORGET: &str = "DELETE FROM sessions WHERE is_dead AND seen_at < clock_timestamp() - interval '1 day'";
const LEASE: &str = "SELECT c.lease_ms, (SELECT count(*) FROM sessions WHERE NOT is_dead) AS living \
     FROM head h LEFT JOIN cluster c ON c.id = 1 WHERE h.id = 1";
const SET_LEASE: &str = "INSERT INTO cluster (id, lease_ms) SELECT 1, $1 FROM head \
     WHERE id = 1 AND NOT EXISTS (SELECT 1 FROM sessions WHERE NOT is_dead) \
     ON CONFLICT (id) DO UPDATE SET lease_ms = excluded.lease_ms";

/// The connection that polls, and that hints arrive on.
#[derive(Default)]
pub(super) struct Meeting {
    link: Mutex<Option<Link>>,
    hint: std::sync::Mutex<Option<Arc<Notify>>>,
}

impl Meeting {
    /// Runs one statement on the polling connection, which is made anew after any failure.
    async fn rows(&self, store: &PostgresStore, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let mut place = self.link.lock().await;
        if place.as_ref().is_none_or(|link| link.client().is_closed()) {
            *place = None;
            *place = Some(self.open(store).await?);
        }
        let away = || StoreError::Unavailable("the connection is lost".to_owned());
        let link = place.as_ref().ok_or_else(away)?;
        link.forget_warnings();
        let statement = [statement];
        let asked = async {
            link.session.prepare([statement.as_slice()]).await?;
            link.session.rows(&statement).await
        };
        let asked = timeout(POLL_DEADLINE, asked).await;
        let answer = asked.map_err(|_| slow()).and_then(|rows| rows.map_err(failed));
        // A warning means that the commit was not waited for (coherence.md, finding 5).
        let is_good = answer.is_ok() && !link.has_warned();
        if !is_good {
            *place = None;
        }
        match answer {
            Ok(_) if !is_good => Err(away()),
            other => other,
        }
    }

    async fn open(&self, store: &PostgresStore) -> Result<Link, StoreError> {
        let link = Link::open_to_stay(&store.config).await?;
        let listening = timeout(POLL_DEADLINE, link.client().batch_execute(LISTEN)).await;
        listening.map_err(|_| slow())?.map_err(failed)?;
        *self.hint.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(link.hint());
        Ok(link)
    }
}

#[async_trait]
impl Cluster for PostgresStore {
    async fn agree_on_lease(&self, wished: Option<u64>, default_ms: u64) -> Result<u64, StoreError> {
        let known = |row: &Row| -> Result<_, StoreError> { Ok((row.int("lease_ms")?, int(row, "living")?)) };
        let (stored, living) = known(&self.reader().the_row(query(LEASE)).await?)?;
        let stored_ms = stored.and_then(|ms| u64::try_from(ms).ok());
        match (stored_ms, wished) {
            (Some(stored), None) => return Ok(stored),
            (Some(stored), Some(wished)) if stored == wished => return Ok(stored),
            (Some(stored), Some(wished)) if living > 0 => {
                return Err(StoreError::Disagreement(format!(
                    "the nodes on this database hold leases of {stored} ms, and this one is set to {wished} ms; \
                     give all the same lease. To change it, stop all nodes first"
                )));
            }
            (Some(_) | None, _) => {}
        }
        let wanted = wished.unwrap_or(default_ms);
        self.reader().run(query(SET_LEASE).bind(number(wanted))).await?;
        // Several nodes may come at once: what stands there now is what counts.
        let (stored, _) = known(&self.reader().the_row(query(LEASE)).await?)?;
        let stored_ms = stored.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(wanted);
        match wished {
            Some(wished) if wished != stored_ms => Err(StoreError::Disagreement(format!(
                "another node has just set the lease of this database to {stored_ms} ms, and this one is set to \
                 {wished} ms; give all the same lease"
            ))),
            Some(_) | None => Ok(stored_ms),
        }
    }

    async fn register(&self, session: SessionId, node: &str) -> Result<Registered, StoreError> {
        let rows = self
            .meeting
            .rows(self, query(REGISTER).bind(session).bind(node))
            .await?;
        let missing = || StoreError::Corrupt("head".to_owned());
        let row = rows.first().ok_or_else(missing)?;
        // Tidying up is no reason not to start.
        drop(self.reader().run(query(FORGET)).await);
        // A database without timelines (not PostgreSQL itself) says so by an error, and then nothing is known of any.
        drop(self.reader().run(query(NOTE_TIMELINE)).await);
        let age = match self.reader().row(query(TIMELINE_AGE)).await? {
            Some(row) => row.int("age")?.and_then(|age| u64::try_from(age).ok()),
            None => None,
        };
        Ok(Registered {
            timeline_age_ms: age,
            head: revision(row, "acked")?,
            chain: blob(row, "chain")?.try_into().map_err(|_| missing())?,
        })
    }

    async fn poll(&self, session: SessionId, applied: u64, acked: u64) -> Result<Polled, StoreError> {
        let poll = query(POLL)
            .bind(session)
            .bind(number(applied))
            .bind(CHANGES_MAX)
            .bind(number(acked));
        let rows = self.meeting.rows(self, poll).await?;
        polled(&rows)
    }

    async fn sessions(&self) -> Result<Vec<Session>, StoreError> {
        let rows = self.reader().rows(query(SESSIONS)).await?;
        if rows.iter().any(|row| flag(row, "is_replica").unwrap_or(true)) {
            return Err(StoreError::Unavailable("a replica answered".to_owned()));
        }
        rows.iter().map(session).collect()
    }

    async fn bury(&self, session: SessionId, renewals: u64) -> Result<(), StoreError> {
        let statement = query(BURY).bind(session).bind(number(renewals));
        self.reader().run(statement).await.map(drop)
    }

    async fn hint(&self) -> Result<(), StoreError> {
        self.reader().run(query("NOTIFY keyreeve")).await.map(drop)
    }

    async fn hinted(&self) {
        let hint = self
            .meeting
            .hint
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        match hint {
            Some(hint) => hint.notified().await,
            None => std::future::pending().await,
        }
    }
}

fn session(row: &Row) -> Result<Session, StoreError> {
    let bad = |_| StoreError::Corrupt("sessions.id".to_owned());
    Ok(Session {
        seen: Seen {
            session: blob(row, "id")?.try_into().map_err(bad)?,
            acked: revision(row, "acked")?,
            renewals: revision(row, "renewals")?,
        },
        node: text(row, "node")?.to_owned(),
        started_at: Timestamp::from_millis(int(row, "started_at")?),
        silent_ms: u64::try_from(int(row, "silent_ms")?).unwrap_or(0),
    })
}

fn polled(rows: &[Row]) -> Result<Polled, StoreError> {
    let first = rows.first().ok_or_else(|| StoreError::Corrupt("head".to_owned()))?;
    let mut changes = Vec::new();
    for row in rows {
        if row.int("revision")?.is_some() {
            changes.push(change(row)?);
        }
    }
    let has_standby = int(first, "standbys")? > 0;
    let durability = match (flag(first, "is_safe_on_disk")?, flag(first, "has_sync_standby")?) {
        (true, true) => Durability::Replicated,
        (true, false) if !has_standby => Durability::Local,
        (true | false, _) => Durability::AtRisk,
    };
    let chain_there = first.blob("chain_there")?.map(<[u8; 32]>::try_from);
    let bad = |_| StoreError::Corrupt("log.chain".to_owned());
    Ok(Polled {
        answer: Answer {
            is_renewed: flag(first, "is_renewed")?,
            is_replica: flag(first, "is_replica")?,
            head: revision(first, "head_revision")?,
            chain: chain_there.transpose().map_err(bad)?,
            last: changes.last().map(|change: &Change| (change.revision, change.chain)),
        },
        changes,
        now: Timestamp::from_millis(int(first, "now")?),
        durability,
    })
}

fn change(row: &Row) -> Result<Change, StoreError> {
    let bad = |_| StoreError::Corrupt("log.chain".to_owned());
    let revision = revision(row, "revision")?;
    Ok(Change {
        revision,
        chain: blob(row, "chain")?.try_into().map_err(bad)?,
        touched: touched(row, revision)?,
    })
}

/// What an entry touched. What is not known for sure to touch nothing touches everything.
fn touched(row: &Row, revision: u64) -> Result<Touched, StoreError> {
    let action = text(row, "action")?;
    let mut commit = Commit {
        revision,
        ..Commit::default()
    };
    let is_told = matches!(action, "access.refused" | "key.secret_reused" | "key.leaked");
    match text(row, "target_type")? {
        _ if is_told => {}
        // What has just come is remembered by nobody, and that it was unknown neither.
        "key" if action == "key.created" => {}
        "key" => {
            commit.secrets = digests(row)?;
            commit.keys.extend(news(row, action)?);
        }
        "root_key" => commit.root_keys = digests(row)?,
        "tenant" if row.text("slug")?.is_some() => commit.tenants.push(tenant(row)?),
        "check_policy" if tenant_named(row)?.is_some() => commit.check_policies.extend(tenant_named(row)?),
        "user" if row.blob("id")?.is_some() => commit.owners.extend(owner(row)?),
        _ => return Ok(Touched::Everything),
    }
    Ok(Touched::Known(Box::new(commit)))
}

fn news(row: &Row, action: &str) -> Result<Option<KeyNews>, StoreError> {
    let (tenant, id) = (
        Slug::parse(text(row, "log_tenant")?),
        KeyId::parse(text(row, "target_id")?),
    );
    Ok(match (tenant, id, Fate::of(action)) {
        (Ok(tenant), Ok(id), Some(fate)) => Some(KeyNews { tenant, id, fate }),
        _ => None,
    })
}

fn tenant_named(row: &Row) -> Result<Option<Slug>, StoreError> {
    Ok(Slug::parse(text(row, "log_tenant")?).ok())
}

fn digests(row: &Row) -> Result<Vec<Digest>, StoreError> {
    let (digests, _) = row.blob("digests")?.unwrap_or_default().as_chunks::<32>();
    Ok(digests.iter().copied().map(Digest::from_bytes).collect())
}

fn owner(row: &Row) -> Result<Option<OwnerGate>, StoreError> {
    let user = user(row)?;
    Ok(user.subject().map(|subject| OwnerGate {
        tenant: user.tenant.clone(),
        subject,
        is_blocked: user.is_blocked(),
    }))
}
