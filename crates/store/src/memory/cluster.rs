//! The cluster operations in memory: for tests, and for the simulator.

use super::MemoryStore;
use super::tables::Tables;
use crate::cluster::{Change, Cluster, Durability, NodeSession, NodeSessions, Polled, Registered, Touched};
use crate::error::StoreError;
use crate::store::{Commit, CommitObserver, OwnerGate};
use async_trait::async_trait;
use keyreeve_core::coherence::grantor::{Era, SeenNode};
use keyreeve_core::coherence::holder::{Poll, PollAnswer, SessionId};
use keyreeve_core::coherence::holding::Holding;
use keyreeve_core::{Timestamp, User};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// The state that nodes share.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedCluster {
    /// The database's clock.
    now: Timestamp,
    lease_ms: Option<u64>,
    sessions: BTreeMap<SessionId, ClusterRow>,
    /// What each commit touched, by its newest revision.
    commits: BTreeMap<u64, Commit>,
    era: Era,
    forked_at: Option<Timestamp>,
    /// The line that was stored last. A copy of another database has that database's line.
    noted_line: u64,
}

#[derive(Clone, Debug)]
struct ClusterRow {
    node: String,
    acked: u64,
    holding: Holding,
    renewals: u64,
    leases: u64,
    is_dead: bool,
    started_at: Timestamp,
    seen_at: Timestamp,
    /// What remains of it after a crash, if it was changed since the last wait for the disk.
    on_disk: Option<OnDisk>,
}

#[derive(Clone, Copy, Debug)]
struct OnDisk {
    acked: u64,
    renewals: u64,
}

/// A copy of the store at some time.
#[derive(Clone, Debug)]
pub struct MemoryCopy(Tables);

impl SharedCluster {
    pub(super) fn note(&mut self, commit: &Commit) {
        // A commit without changes has the newest revision too, so the first one of a revision is kept.
        self.commits.entry(commit.revision).or_insert_with(|| commit.clone());
        self.wait_for_disk();
    }

    /// A commit that waits for the disk makes everything before it durable.
    fn wait_for_disk(&mut self) {
        self.era.written += 1;
        self.sessions.values_mut().for_each(|row| row.on_disk = None);
    }

    fn lose_unwritten(&mut self) {
        for row in self.sessions.values_mut() {
            if let Some(kept) = row.on_disk.take() {
                (row.acked, row.renewals) = (kept.acked, kept.renewals);
            }
        }
    }
}

impl MemoryStore {
    /// Returns the same store, as another process with its own observer uses it.
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

    /// Makes durable what no commit has waited for.
    pub fn write_out(&self) -> Result<(), StoreError> {
        self.meet(|tables| tables.meeting.wait_for_disk())
    }

    /// Crashes and starts again: commits since the last wait for the disk are lost.
    pub fn crash(&self) -> Result<(), StoreError> {
        self.meet(|tables| {
            tables.meeting.era.start += 1;
            tables.meeting.lose_unwritten();
        })
    }

    /// A process of the database server dies and the server restarts the others: the same commits are lost, but the
    /// server keeps its start time.
    pub fn lose_unwritten(&self) -> Result<(), StoreError> {
        self.meet(|tables| tables.meeting.lose_unwritten())
    }

    /// Copies everything as it is now, including sessions.
    pub fn copy(&self) -> Result<MemoryCopy, StoreError> {
        self.meet(|tables| MemoryCopy(tables.clone()))
    }

    /// Replaces everything by an older copy: by its files and a start of the server or, with `is_moved`, as another
    /// database.
    pub fn put_back(&self, copy: MemoryCopy, is_moved: bool) -> Result<(), StoreError> {
        self.meet(|tables| {
            let (now, era) = (tables.meeting.now, tables.meeting.era);
            *tables = copy.0;
            tables.meeting.now = now;
            tables.meeting.era = Era {
                line: era.line + u64::from(is_moved),
                start: era.start + u64::from(!is_moved),
                written: if is_moved {
                    era.written
                } else {
                    tables.meeting.era.written
                },
                ..era
            };
        })
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
            let now = tables.meeting.now;
            let row = ClusterRow {
                node: node.to_owned(),
                acked: head.revision,
                holding: Holding::default(),
                renewals: 0,
                leases: 0,
                is_dead: false,
                started_at: now,
                seen_at: now,
                on_disk: None,
            };
            tables.meeting.sessions.insert(session, row);
            tables.meeting.wait_for_disk();
            if tables.meeting.noted_line != tables.meeting.era.line {
                tables.meeting.noted_line = tables.meeting.era.line;
                tables.meeting.forked_at = Some(now);
            }
            let age = |forked: Timestamp| u64::try_from(now.millis().saturating_sub(forked.millis())).unwrap_or(0);
            Registered {
                head: head.revision,
                chain: head.chain,
                timeline_age_ms: Some(tables.meeting.forked_at.map_or(u64::MAX, age)),
            }
        })
    }

    async fn poll(&self, poll: &Poll, holding: &Holding) -> Result<Polled, StoreError> {
        let applied = poll.applied;
        self.meet(|tables| {
            let now = tables.meeting.now;
            let row = tables
                .meeting
                .sessions
                .get_mut(&poll.session)
                .filter(|row| !row.is_dead);
            let is_renewed = row.is_some();
            if let Some(row) = row {
                let before = OnDisk {
                    acked: row.acked,
                    renewals: row.renewals,
                };
                // The first change since the last wait for the disk keeps what a crash restores.
                row.on_disk.get_or_insert(before);
                row.acked = applied;
                row.holding = holding.clone();
                row.renewals += 1;
                row.leases += u64::from(poll.is_renewal);
                row.seen_at = now;
            }
            if poll.is_renewal {
                tables.meeting.wait_for_disk();
            }
            let changes = changes(tables, applied);
            Polled {
                answer: PollAnswer {
                    is_renewed,
                    is_replica: false,
                    head: tables.committed_head.revision,
                    chain: tables.log.get(&applied).map(|record| record.chain),
                    last: changes.last().map(|change| (change.revision, change.chain)),
                },
                changes,
                now,
                durability: Durability::Local,
                era: poll.is_renewal.then_some(tables.meeting.era),
            }
        })
    }

    async fn sessions(&self) -> Result<NodeSessions, StoreError> {
        self.meet(|tables| {
            let meeting = &tables.meeting;
            let living = meeting.sessions.iter().filter(|(_, row)| !row.is_dead);
            let session = |(id, row): (&SessionId, &ClusterRow)| NodeSession {
                seen: SeenNode {
                    session: *id,
                    acked: row.acked,
                    renewals: row.renewals,
                    holding: row.holding.clone(),
                    leases: row.leases,
                },
                node: row.node.clone(),
                started_at: row.started_at,
                silent_ms: meeting.now.millis_since(row.seen_at),
            };
            NodeSessions {
                era: meeting.era,
                rows: living.map(session).collect(),
            }
        })
    }

    async fn remove_dead_session(&self, dead: &SeenNode) -> Result<(), StoreError> {
        self.meet(|tables| {
            if let Some(row) = tables.meeting.sessions.get_mut(&dead.session)
                && (row.renewals, row.leases) == (dead.renewals, dead.leases)
            {
                row.is_dead = true;
                tables.meeting.wait_for_disk();
            }
        })
    }

    async fn note_fork(&self) -> Result<(), StoreError> {
        self.meet(|tables| {
            tables.meeting.forked_at = Some(tables.meeting.now);
            tables.meeting.wait_for_disk();
        })
    }

    async fn hint(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn hinted(&self) {
        std::future::pending::<()>().await;
    }
}

/// Returns the log after a revision. Tenants and owners are as of now.
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
