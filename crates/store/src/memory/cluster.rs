//! Where nodes meet in memory: for tests, and for the simulator.

use super::MemoryStore;
use super::tables::Tables;
use crate::cluster::{Change, Cluster, Durability, Polled, Registered, Session, Touched};
use crate::error::StoreError;
use crate::store::{Commit, CommitObserver, OwnerGate};
use async_trait::async_trait;
use keyreeve_core::coherence::grantor::Seen;
use keyreeve_core::coherence::holder::{Answer, SessionId};
use keyreeve_core::{Timestamp, User};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// What is known of nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Meeting {
    /// The database's clock.
    now: Timestamp,
    lease_ms: Option<u64>,
    sessions: BTreeMap<SessionId, Row>,
    /// What each commit touched, by its newest revision.
    commits: BTreeMap<u64, Commit>,
}

#[derive(Clone, Debug)]
struct Row {
    node: String,
    acked: u64,
    renewals: u64,
    is_dead: bool,
    started_at: Timestamp,
    seen_at: Timestamp,
}

impl Meeting {
    pub(super) fn note(&mut self, commit: &Commit) {
        // What changes nothing says the newest revision too.
        self.commits.entry(commit.revision).or_insert_with(|| commit.clone());
    }
}

impl MemoryStore {
    /// The same store as another process sees it.
    pub fn seen_by(&self, observer: Arc<dyn CommitObserver>) -> Self {
        Self {
            tables: Arc::clone(&self.tables),
            observer,
        }
    }

    /// Sets the database's clock.
    pub fn set_now(&self, now: Timestamp) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tables) = tables.as_mut() {
            tables.meeting.now = now;
        }
    }

    fn meet<T>(&self, meet: impl FnOnce(&mut Tables) -> T) -> Result<T, StoreError> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.as_mut().map(meet).ok_or_else(super::closed)
    }
}

#[async_trait]
impl Cluster for MemoryStore {
    async fn agree_on_lease(&self, wished: Option<u64>, default_ms: u64) -> Result<u64, StoreError> {
        self.meet(|tables| {
            let meeting = &mut tables.meeting;
            let is_anybody_there = meeting.sessions.values().any(|row| !row.is_dead);
            match (meeting.lease_ms, wished) {
                (Some(stored), Some(wished)) if stored != wished && is_anybody_there => Err(StoreError::Disagreement(
                    format!("the nodes hold leases of {stored} ms, and this one is set to {wished} ms"),
                )),
                (Some(stored), None) => Ok(stored),
                (_, wished) => {
                    let lease = wished.unwrap_or(default_ms);
                    meeting.lease_ms = Some(lease);
                    Ok(lease)
                }
            }
        })?
    }

    async fn register(&self, session: SessionId, node: &str) -> Result<Registered, StoreError> {
        self.meet(|tables| {
            let head = tables.committed_head;
            let row = Row {
                node: node.to_owned(),
                acked: head.revision,
                renewals: 0,
                is_dead: false,
                started_at: tables.meeting.now,
                seen_at: tables.meeting.now,
            };
            tables.meeting.sessions.insert(session, row);
            Registered {
                head: head.revision,
                chain: head.chain,
                timeline_age_ms: None,
            }
        })
    }

    async fn poll(&self, session: SessionId, applied: u64, acked: u64) -> Result<Polled, StoreError> {
        self.meet(|tables| {
            let now = tables.meeting.now;
            let row = tables.meeting.sessions.get_mut(&session).filter(|row| !row.is_dead);
            let is_renewed = row.is_some();
            if let Some(row) = row {
                row.acked = acked;
                row.renewals += 1;
                row.seen_at = now;
            }
            let changes = changes(tables, applied);
            Polled {
                answer: Answer {
                    is_renewed,
                    is_replica: false,
                    head: tables.committed_head.revision,
                    chain: tables.log.get(&applied).map(|record| record.chain),
                    last: changes.last().map(|change| (change.revision, change.chain)),
                },
                changes,
                now,
                durability: Durability::Local,
            }
        })
    }

    async fn sessions(&self) -> Result<Vec<Session>, StoreError> {
        self.meet(|tables| {
            let meeting = &tables.meeting;
            let living = meeting.sessions.iter().filter(|(_, row)| !row.is_dead);
            let session = |(id, row): (&SessionId, &Row)| Session {
                seen: Seen {
                    session: *id,
                    acked: row.acked,
                    renewals: row.renewals,
                },
                node: row.node.clone(),
                started_at: row.started_at,
                silent_ms: meeting.now.millis_since(row.seen_at),
            };
            living.map(session).collect()
        })
    }

    async fn bury(&self, session: SessionId, renewals: u64) -> Result<(), StoreError> {
        self.meet(|tables| {
            if let Some(row) = tables.meeting.sessions.get_mut(&session)
                && row.renewals == renewals
            {
                row.is_dead = true;
            }
        })
    }

    async fn hint(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn hinted(&self) {
        std::future::pending::<()>().await;
    }
}

/// The log after a revision. Of tenants and owners it says how they are now.
fn changes(tables: &Tables, applied: u64) -> Vec<Change> {
    let rest = tables.log.rows().range(applied.saturating_add(1)..);
    let change = |(revision, record): (&u64, &crate::model::AuditRecord)| Change {
        revision: *revision,
        chain: record.chain,
        touched: Touched::Known(Box::new(touched(tables, *revision))),
    };
    rest.map(change).collect()
}

fn touched(tables: &Tables, revision: u64) -> Commit {
    let mut commit = tables.meeting.commits.get(&revision).cloned().unwrap_or_default();
    commit.revision = revision;
    for tenant in &mut commit.tenants {
        if let Some(now) = tables.tenants.get(&tenant.slug) {
            *tenant = now.clone();
        }
    }
    for owner in &mut commit.owners {
        owner.is_blocked = is_blocked(tables, owner);
    }
    commit
}

fn is_blocked(tables: &Tables, owner: &OwnerGate) -> bool {
    let of_tenant = tables.users.rows().values().filter(|user| user.tenant == owner.tenant);
    let mut same = of_tenant.filter(|user| user.subject().as_ref() == Some(&owner.subject));
    same.next().is_some_and(User::is_blocked)
}
