//! The cluster operations on Postgres.

use super::connect::{Link, Slots, failed};
use super::engine::slow;
use super::prepared::Use;
use super::{PostgresStore, SPARE};
use crate::backend::Backend as _;
use crate::cluster::{Change, Cluster, Durability, NodeSession, NodeSessions, Polled, Registered, Touched};
use crate::error::StoreError;
use crate::news::{KeyNews, KeyOutcome};
use crate::sql::rows::{blob, flag, int, number, revision, tenant, text, user};
use crate::sql::{Columns as _, Engine as _, Statement, query};
use crate::store::{Commit, OwnerGate};
use async_trait::async_trait;
use keyreeve_core::coherence::grantor::{Era, SeenNode};
use keyreeve_core::coherence::holder::{Poll, PollAnswer, SessionId};
use keyreeve_core::coherence::holding::Holding;
use keyreeve_core::text::Slug;
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;

/// Maximum time of a poll, including the wait for a connection (rule R11).
const POLL_DEADLINE: Duration = Duration::from_secs(2);
/// The action of an entry after which a key is revoked, for good or not.
const KEY_REVOKED: &str = "key.revoked";
/// Maximum number of changes in one poll.
const CHANGES_MAX: i64 = 500;

const LISTEN: &str = "LISTEN keyreeve";
/// Rule R2 in one statement, which is its own transaction. Migration 10 defines the function. A revocation comes with
/// the state of the key after it.
const POLL: &str = "SELECT polled.*, CASE WHEN action = 'key.revoked' \
         THEN (SELECT after FROM log WHERE log.revision = polled.revision) END AS key_after \
     FROM keyreeve_poll(?1, ?2, ?3, ?4, ?5, ?6) polled";
/// The same, with a renewal of the lease, which waits for the disk (rule R18). Both CTEs run once, the poll first.
const RENEW: &str = "WITH polled AS MATERIALIZED (SELECT * FROM keyreeve_poll(?1, ?2, ?3, ?4, ?5, ?6)), \
     renewed AS MATERIALIZED (SELECT keyreeve_renew(?1) WHERE EXISTS (SELECT 1 FROM polled)) \
     SELECT polled.*, era.*, CASE WHEN action = 'key.revoked' \
         THEN (SELECT after FROM log WHERE log.revision = polled.revision) END AS key_after \
     FROM polled, renewed, keyreeve_era() era";
/// A state that the poll did not see: the function has a newer snapshot than the rest of the statement.
const KEY_AFTER: &str = "SELECT after AS key_after FROM log WHERE revision = ?1";
/// A timeline that is not stored yet begins at a failover. Its start is stored from then on.
const NOTE_TIMELINE: &str = "UPDATE cluster SET timeline_since = CASE WHEN timeline IS NULL THEN 'epoch'::timestamptz \
         ELSE clock_timestamp() END, timeline = substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) \
     WHERE id = 1 AND timeline IS DISTINCT FROM substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
/// The same for a dump that was restored, also on the same server: its tables have other identities than before.
const NOTE_PLACE: &str = "UPDATE cluster SET timeline_since = CASE WHEN place IS NULL THEN timeline_since \
         ELSE clock_timestamp() END, place = keyreeve_place() WHERE id = 1 AND place IS DISTINCT FROM keyreeve_place()";
const NOTE_FORK: &str = "UPDATE cluster SET timeline_since = clock_timestamp() WHERE id = 1";
const TIMELINE_AGE: &str = "SELECT least(floor(extract(epoch FROM clock_timestamp() - timeline_since) * 1000), \
     4e15)::bigint AS age FROM cluster WHERE id = 1";
const REGISTER: &str = "INSERT INTO sessions (id, node, acked) SELECT ?1, ?2, revision FROM head WHERE id = 1 \
     RETURNING acked, (SELECT chain FROM head WHERE id = 1) AS chain, set_config('synchronous_commit', 'on', TRUE)";
/// A server in recovery refuses to report how far it has written, so a replica cannot answer this.
const SESSIONS: &str = "SELECT e.*, id, node, coalesce(reached, acked) AS acked, coalesce(holding, '') AS holding, \
     renewals, leases, \
     floor(extract(epoch FROM started_at) * 1000)::bigint AS started_at, \
     floor(extract(epoch FROM clock_timestamp() - seen_at) * 1000)::bigint AS silent_ms \
     FROM keyreeve_era() e LEFT JOIN sessions s ON NOT is_dead ORDER BY s.started_at, id";
const BURY: &str = "UPDATE sessions SET is_dead = TRUE WHERE id = ?1 AND renewals = ?2 AND leases = ?3 \
     RETURNING set_config('synchronous_commit', 'on', TRUE)";
/// A dead session is not needed any more after a day.
const FORGET: &str = "DELETE FROM sessions WHERE is_dead AND seen_at < clock_timestamp() - interval '1 day'";
const LEASE: &str = "SELECT c.lease_ms, (SELECT count(*) FROM sessions WHERE NOT is_dead) AS living \
     FROM head h LEFT JOIN cluster c ON c.id = 1 WHERE h.id = 1";
const SET_LEASE: &str = "INSERT INTO cluster (id, lease_ms) SELECT 1, $1 FROM head \
     WHERE id = 1 AND NOT EXISTS (SELECT 1 FROM sessions WHERE NOT is_dead) \
     ON CONFLICT (id) DO UPDATE SET lease_ms = excluded.lease_ms";

/// The connection that polls and receives hints.
pub(super) struct PollConnection {
    slots: Slots,
    link: Mutex<Option<Link>>,
    hint: std::sync::Mutex<Option<Arc<Notify>>>,
}

impl PollConnection {
    pub(super) fn new() -> Self {
        Self {
            slots: Slots::new(1 + SPARE),
            link: Mutex::default(),
            hint: std::sync::Mutex::default(),
        }
    }

    /// Runs one statement on the polling connection, which is opened again after any failure.
    async fn rows(&self, store: &PostgresStore, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let until = Instant::now() + POLL_DEADLINE;
        let mut place = self.link.lock().await;
        let link = match place.take().filter(|link| !link.client().is_closed()) {
            Some(link) => link,
            None => self.open(store, until).await?,
        };
        link.forget_warnings();
        let statement = [statement];
        let asked = async {
            link.session.prepare([statement.as_slice()]).await?;
            link.session.rows_alone(&statement).await
        };
        let Ok(answer) = timeout_at(until, asked).await else {
            link.cancel();
            return Err(slow());
        };
        let rows = answer.map_err(failed)?;
        // A warning means that the server did not wait for the commit.
        if link.has_warned() {
            return Err(StoreError::Unavailable(
                "the database warned that the poll is not safe yet".to_owned(),
            ));
        }
        *place = Some(link);
        Ok(rows)
    }

    async fn open(&self, store: &PostgresStore, until: Instant) -> Result<Link, StoreError> {
        let link = Link::open(&store.connector, Use::Polls, &self.slots, until).await?;
        let Ok(listening) = timeout_at(until, link.client().batch_execute(LISTEN)).await else {
            link.cancel();
            return Err(slow());
        };
        listening.map_err(failed)?;
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
        // Several nodes may do this at once: the value that is stored now counts.
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
        // Removing dead sessions may fail without consequence for the registration.
        drop(self.reader().run(query(FORGET)).await);
        // A database without timelines (not PostgreSQL itself) answers with an error. Then nothing is known of
        // timelines.
        drop(self.reader().run(query(NOTE_TIMELINE)).await);
        self.reader().run(query(NOTE_PLACE)).await?;
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

    async fn poll(&self, poll: &Poll, holding: &Holding) -> Result<Polled, StoreError> {
        let (is_renewal, applied) = (poll.is_renewal, poll.applied);
        // `acked` for nodes of an older version, which do not read `holding`: below every held revision.
        let low = holding
            .oldest()
            .map_or(applied, |oldest| applied.min(oldest.saturating_sub(1)));
        let held = holding.to_text();
        let poll = query(if is_renewal { RENEW } else { POLL })
            .bind(poll.session)
            .bind(number(applied))
            .bind(CHANGES_MAX)
            .bind(number(applied))
            .bind(held.as_str())
            .bind(number(low));
        let rows = self.meeting.rows(self, poll).await?;
        let mut late = BTreeMap::new();
        for row in &rows {
            if row.text("action")? == Some(KEY_REVOKED) && row.text("key_after")?.is_none() {
                let revision = revision(row, "revision")?;
                let found = self.meeting.rows(self, query(KEY_AFTER).bind(number(revision))).await?;
                let after = found.first().map(|row| row.text("key_after")).transpose()?;
                late.extend(after.flatten().map(|after| (revision, after.to_owned())));
            }
        }
        polled(&rows, &late, is_renewal)
    }

    async fn sessions(&self) -> Result<NodeSessions, StoreError> {
        let rows = self.reader().rows(query(SESSIONS)).await?;
        let first = rows.first().ok_or_else(|| StoreError::Corrupt("sessions".to_owned()))?;
        let mut living = Vec::new();
        for row in &rows {
            if row.blob("id")?.is_some() {
                living.push(session(row)?);
            }
        }
        Ok(NodeSessions {
            era: era(first)?,
            rows: living,
        })
    }

    async fn remove_dead_session(&self, dead: &SeenNode) -> Result<(), StoreError> {
        let statement = query(BURY)
            .bind(dead.session)
            .bind(number(dead.renewals))
            .bind(number(dead.leases));
        self.reader().rows(statement).await.map(drop)
    }

    async fn note_fork(&self) -> Result<(), StoreError> {
        self.reader().run(query(NOTE_FORK)).await.map(drop)
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

fn era(row: &Row) -> Result<Era, StoreError> {
    Ok(Era {
        line: int(row, "line")?.cast_unsigned(),
        start: int(row, "start")?.cast_unsigned(),
        written: int(row, "written")?.cast_unsigned(),
        is_replicated: flag(row, "is_replicated")?,
    })
}

fn session(row: &Row) -> Result<NodeSession, StoreError> {
    let bad = |_| StoreError::Corrupt("sessions.id".to_owned());
    Ok(NodeSession {
        seen: SeenNode {
            session: blob(row, "id")?.try_into().map_err(bad)?,
            acked: revision(row, "acked")?,
            renewals: revision(row, "renewals")?,
            holding: Holding::from_text(text(row, "holding")?),
            leases: revision(row, "leases")?,
        },
        node: text(row, "node")?.to_owned(),
        started_at: Timestamp::from_millis(int(row, "started_at")?),
        silent_ms: u64::try_from(int(row, "silent_ms")?).unwrap_or(0),
    })
}

fn polled(rows: &[Row], late: &BTreeMap<u64, String>, is_renewal: bool) -> Result<Polled, StoreError> {
    let first = rows.first().ok_or_else(|| StoreError::Corrupt("head".to_owned()))?;
    let mut changes = Vec::new();
    for row in rows {
        if row.int("revision")?.is_some() {
            changes.push(change(row, late)?);
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
        answer: PollAnswer {
            is_renewed: flag(first, "is_renewed")?,
            is_replica: flag(first, "is_replica")?,
            head: revision(first, "head_revision")?,
            chain: chain_there.transpose().map_err(bad)?,
            last: changes.last().map(|change: &Change| (change.revision, change.chain)),
        },
        changes,
        now: Timestamp::from_millis(int(first, "now")?),
        durability,
        era: if is_renewal { Some(era(first)?) } else { None },
    })
}

fn change(row: &Row, late: &BTreeMap<u64, String>) -> Result<Change, StoreError> {
    let bad = |_| StoreError::Corrupt("log.chain".to_owned());
    let revision = revision(row, "revision")?;
    Ok(Change {
        revision,
        chain: blob(row, "chain")?.try_into().map_err(bad)?,
        touched: touched(row, revision, late.get(&revision).map(String::as_str))?,
    })
}

/// Returns what an entry touched. An entry of an unknown kind touches everything. `late` is the key after a revocation,
/// if it is not in the row.
fn touched(row: &Row, revision: u64, late: Option<&str>) -> Result<Touched, StoreError> {
    let action = text(row, "action")?;
    let mut commit = Commit {
        revision,
        tenant: tenant_named(row)?,
        ..Commit::default()
    };
    let is_told = matches!(
        action,
        "access.refused" | "key.secret_reused" | "key.leaked" | "verifier.disconnected"
    );
    match text(row, "target_type")? {
        _ if is_told => {}
        // No memory has a new key, and digests that were not found are not remembered either.
        "key" if action == "key.created" => {}
        "key" => {
            commit.secrets = digests(row)?;
            let after = row.text("key_after")?.or(late);
            commit.keys.extend(news(row, action, after.is_some_and(is_final))?);
        }
        "root_key" => {
            commit.root_keys = digests(row)?;
            let id = RootKeyId::parse(text(row, "target_id")?).ok();
            match action {
                "root_key.created" => {}
                // The present secret and the retiring one are the first two.
                "root_key.rotated" | "root_key.rotation_finished" => {
                    commit.ended_root_keys = commit.root_keys.iter().skip(2).copied().collect();
                    let ended = id.map(|id| (id, commit.ended_root_keys.clone()));
                    commit.replaced_root_secrets.extend(ended);
                    commit.rotated_root_secrets.extend(retiring(id, &commit.root_keys));
                }
                "root_key.revoked" => {
                    commit.ended_root_keys.clone_from(&commit.root_keys);
                    commit.revoked_root_keys.extend(id);
                }
                _ => commit.ended_root_keys.clone_from(&commit.root_keys),
            }
        }
        "tenant" if row.text("slug")?.is_some() => commit.tenants.push(tenant(row)?),
        "check_policy" if tenant_named(row)?.is_some() => commit.check_policies.extend(tenant_named(row)?),
        "user" if row.blob("id")?.is_some() => commit.owners.extend(owner(row)?),
        _ => return Ok(Touched::Everything),
    }
    Ok(Touched::Known(Box::new(commit)))
}

/// Returns a root key's retiring secret, which is read as the second one; the present one is read twice if there is none.
fn retiring(id: Option<RootKeyId>, secrets: &[Digest]) -> Option<(RootKeyId, Vec<Digest>)> {
    match secrets {
        [present, old, ..] if old != present => id.map(|id| (id, vec![*old])),
        _ => None,
    }
}

/// Whether a key is revoked for good, by its description in the log.
fn is_final(described: &str) -> bool {
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(described);
    parsed.is_ok_and(|key| key.get("state").and_then(serde_json::Value::as_str) == Some("revoked"))
}

fn news(row: &Row, action: &str, is_final: bool) -> Result<Option<KeyNews>, StoreError> {
    let (tenant, id) = (
        Slug::parse(text(row, "log_tenant")?),
        KeyId::parse(text(row, "target_id")?),
    );
    Ok(match (tenant, id, KeyOutcome::of(action, is_final)) {
        (Ok(tenant), Ok(id), Some(outcome)) => Some(KeyNews { tenant, id, outcome }),
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
