//! One node of several: holds a lease by polling, and delays each change until the other nodes have it.
//!
//! What each answer means is decided in `keyreeve_core::coherence`; this module connects the decisions to the database.
//! The server calls [`Node::poll_once`] in a loop, on a thread of its own that no request can keep busy (rule R11).
//! [`effect`] has how a change waits for the other nodes.

mod effect;
mod history;
mod notes;
mod polls;
mod probation;

pub use notes::{NoNotebook, Notebook};

use crate::env::{Clock, Entropy, Timer};
use crate::failure::Failure;
use crate::memory::VerifierMemory;
use keyreeve_core::audit::Milestone;
use keyreeve_core::coherence::Moment;
use keyreeve_core::coherence::grantor::{Grantor, Reading};
use keyreeve_core::coherence::holder::{Holder, Next, Poll, SessionId};
use keyreeve_core::coherence::holding::Holding;
use keyreeve_core::coherence::probation::Probation;
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_store::Store;
use keyreeve_store::cluster::{Cluster, Durability, NodeSession, Polled, Touched};
use notes::Notes;
use polls::Polls;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the simulator breaks a rule on purpose: the pause in the wrong place, in milliseconds.
const MUTANT_PAUSE_MS: u64 = 64;

/// The parts of a node.
pub struct NodeParts {
    /// The shared session table and change log.
    pub cluster: Arc<dyn Cluster>,
    /// The same database, for writing lost denials again.
    pub store: Arc<dyn Store>,
    /// The memory whose lease is held.
    pub verifier: Arc<VerifierMemory>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// For pauses.
    pub timer: Arc<dyn Timer>,
    /// For session ids.
    pub entropy: Arc<dyn Entropy>,
    /// The name that the operator gave it.
    pub name: String,
    /// How long a lease lasts, in milliseconds.
    pub lease_ms: u64,
    /// Whether no lease is held while an acknowledged change could be lost (no synchronous standby).
    pub require_sync: bool,
    /// What is kept across restarts.
    pub notebook: Arc<dyn Notebook>,
}

/// One node.
pub struct Node {
    parts: NodeParts,
    holder: Mutex<Option<Holder>>,
    watch: Mutex<Watch>,
    health: Mutex<Health>,
    /// No lease is held before this.
    not_before: Mutex<Moment>,
    notes: Notes,
    probation: Mutex<Probation>,
    /// When the last poll ended, with or without success.
    last_polled: Mutex<Option<Moment>>,
    /// Changes that were queried by their revision, and when first.
    asked: Mutex<HashMap<u64, Moment>>,
    polls: Polls,
    /// Serializes the reads of the session table: one read serves all tasks that wait for it.
    reads: futures_util::lock::Mutex<()>,
}

/// What is known of all sessions.
struct Watch {
    grantor: Grantor,
    latest: Option<Reading>,
}

/// How this node is doing.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    /// How durable a commit is.
    pub durability: Durability,
    /// When the last poll was sent that renewed the lease.
    pub renewed: Option<Moment>,
    /// When the last poll was sent after which nothing was left to apply.
    pub caught_up: Option<Moment>,
    /// Changes that were not yet applied at the last poll.
    pub lag: u64,
    /// Hints that arrived.
    pub hints: u64,
    /// How often the database's history differed from the known one.
    pub forks: u64,
    /// Denials that the database had lost and that were written again.
    pub reasserted: u64,
    /// Whether known denials must still be written to a database that may have lost them.
    pub is_recovering: bool,
    /// Leases that ended before they were renewed, while other nodes may have waited for them.
    pub lease_losses: u64,
    /// Whether the node holds no lease because it lost too many (rule R17).
    pub is_on_probation: bool,
}

/// The result of a poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing had changed.
    Quiet,
    /// Something was applied. Poll again at once, to acknowledge it.
    Applied,
    /// There was no session. Poll again at once.
    Registered,
    /// The history is another one: the database may have lost acknowledged changes. Known denials are written again,
    /// and no node holds a lease until each had the time to do so.
    Forked,
    /// The node lost its lease too often and holds none for a while. Poll again at the usual interval.
    OnProbation,
}

impl Node {
    /// Returns a node that has not polled yet.
    pub fn new(parts: NodeParts) -> Self {
        let watch = Watch {
            grantor: Grantor::new(parts.lease_ms),
            latest: None,
        };
        Self {
            notes: Notes::new(Arc::clone(&parts.notebook)),
            probation: Mutex::new(Probation::new(parts.lease_ms)),
            last_polled: Mutex::default(),
            parts,
            holder: Mutex::new(None),
            watch: Mutex::new(watch),
            not_before: Mutex::default(),
            asked: Mutex::default(),
            polls: Polls::default(),
            reads: futures_util::lock::Mutex::default(),
            health: Mutex::new(Health {
                durability: Durability::AtRisk,
                renewed: None,
                caught_up: None,
                lag: 0,
                hints: 0,
                forks: 0,
                reasserted: 0,
                is_recovering: false,
                lease_losses: 0,
                is_on_probation: false,
            }),
        }
    }

    /// Returns the state of the node, for metrics and readiness.
    pub fn health(&self) -> Health {
        *lock(&self.health)
    }

    /// Returns the length of a lease, in milliseconds.
    pub fn lease_ms(&self) -> u64 {
        self.parts.lease_ms
    }

    /// Returns the longest time that a change waits, in milliseconds.
    pub fn wait_ms(&self) -> u64 {
        lock(&self.watch).grantor.wait_ms()
    }

    pub(crate) fn verifier(&self) -> &VerifierMemory {
        &self.parts.verifier
    }

    /// Returns the state of its session, if it has one.
    pub(crate) fn holder(&self) -> Option<Holder> {
        lock(&self.holder).clone()
    }

    /// Returns its session, if it has one.
    pub fn session(&self) -> Option<SessionId> {
        lock(&self.holder).as_ref().map(Holder::session)
    }

    /// Returns the milliseconds that are left of the lease; 0 without one.
    pub fn lease_left_ms(&self) -> u64 {
        let Some(renewed) = self.health().renewed else {
            return 0;
        };
        let age = self.parts.clock.moment().ms_since(renewed);
        self.parts.lease_ms.saturating_sub(age)
    }

    /// Returns how long ago this node last knew every change, in milliseconds: since it sent the last poll that left
    /// nothing to apply. `None` if there was none.
    pub fn lag_ms(&self) -> Option<u64> {
        let caught_up = self.health().caught_up?;
        Some(self.parts.clock.moment().ms_since(caught_up))
    }

    /// Polls once: renews the lease, acknowledges what was applied, applies what is new. On an error the lease is not
    /// touched and runs to its end.
    pub async fn poll_once(&self) -> Result<Progress, Failure> {
        let stood_still = self.stood_still();
        let done = self.poll_or_register(stood_still).await;
        *lock(&self.last_polled) = Some(self.parts.clock.moment());
        self.check_invariants();
        done
    }

    /// Whether the last poll is longer ago than a running node ever leaves between two polls.
    fn stood_still(&self) -> bool {
        let now = self.parts.clock.moment();
        let last = *lock(&self.last_polled);
        last.is_some_and(|last| now.ms_since(last) > self.parts.lease_ms / 2)
    }

    async fn poll_or_register(&self, stood_still: bool) -> Result<Progress, Failure> {
        if self.health().is_recovering {
            self.recover().await?;
        }
        if lock(&self.probation).is_on() {
            return self.poll_on_probation().await;
        }
        let known = lock(&self.holder).clone();
        let Some(mut holder) = known else {
            return self.register().await;
        };
        let poll = holder.poll(self.parts.clock.moment(), self.parts.verifier.newest());
        // After `holder.poll`: what is applied later cannot add to what is held of the revision that this poll
        // acknowledges.
        let holding = self.children_hold();
        let polled = self.parts.cluster.poll(&as_sent(&poll), &holding).await?;
        self.parts.clock.database_said(polled.now, poll.sent);
        self.note(&polled);
        self.look_at_era(&poll, &polled);
        let next = holder.judge(&poll, &polled.answer);
        let is_same_history = matches!(next, Next::Apply | Next::Register);
        if is_same_history && self.has_lost_too_often(&poll, polled.answer.head, stood_still) {
            return self.begin_probation().await;
        }
        match next {
            Next::NotPrimary => Err(Failure::Unavailable("a replica answered the poll".to_owned())),
            Next::Register => {
                self.give_up();
                Ok(Progress::Registered)
            }
            Next::Forked => Ok(self.forked()),
            Next::Apply => Ok(self.take(&mut holder, &poll, &polled).await),
        }
    }

    fn give_up(&self) {
        self.parts.verifier.lose_lease();
        *lock(&self.holder) = None;
        let mut health = lock(&self.health);
        (health.renewed, health.caught_up) = (None, None);
    }

    /// Rule R3: apply, and only then let the lease grow.
    async fn take(&self, holder: &mut Holder, poll: &Poll, polled: &Polled) -> Progress {
        let now = self.parts.clock.moment();
        let verifier = &self.parts.verifier;
        if !keeps(Rule::ApplyBeforeExtending) {
            let _grown = holder.clone().applied(poll, &polled.answer, verifier.lease(), now);
            self.parts.timer.sleep_ms(MUTANT_PAUSE_MS).await;
        }
        if !keeps(Rule::AckAfterApplying)
            && let Some((last, _)) = polled.answer.last
        {
            let early = Poll {
                applied: last,
                is_renewal: false,
                ..*poll
            };
            drop(self.parts.cluster.poll(&early, &Holding::default()).await);
            self.parts.timer.sleep_ms(MUTANT_PAUSE_MS).await;
        }
        for change in &polled.changes {
            match &change.touched {
                Touched::Known(commit) => verifier.apply_remote(commit, polled.answer.head),
                Touched::Everything => verifier.everything_changed(change.revision),
            }
        }
        let is_durable = !self.parts.require_sync || polled.durability != Durability::AtRisk;
        // After a failover, nodes that know of lost denials have W to write them again (recovery barrier).
        let is_allowed = is_durable && now.is_surely_at_or_after(*lock(&self.not_before));
        let has_more = match is_allowed {
            true => holder.applied(poll, &polled.answer, verifier.lease(), now),
            // Without a lease the position still advances, so that the next poll does not fetch the same changes.
            false => {
                verifier.lose_lease();
                holder.follow(&polled.answer)
            }
        };
        verifier.caught_up(holder.applied_revision());
        let is_quiet = polled.changes.is_empty();
        *lock(&self.holder) = Some(holder.clone());
        let end = Milestone {
            revision: holder.applied_revision(),
            chain: holder.chain(),
        };
        let first = polled.changes.iter().find(|change| change.revision == 1);
        self.notes.know(|history| {
            history.end = Some(end);
            history.origin = history.origin.or(first.map(|change| change.chain));
        });
        if is_allowed && !has_more {
            let mut health = lock(&self.health);
            health.caught_up = Some(poll.sent);
            if poll.is_renewal {
                health.renewed = Some(poll.sent);
            }
        }
        self.polls.tell();
        if is_quiet { Progress::Quiet } else { Progress::Applied }
    }

    fn note(&self, polled: &Polled) {
        let mut health = lock(&self.health);
        // A standby that is not seen may still be promoted.
        let was_at_risk = health.renewed.is_some() && health.durability == Durability::AtRisk;
        health.durability = match polled.durability {
            Durability::Local if was_at_risk => Durability::AtRisk,
            other => other,
        };
        let applied = self.parts.verifier.applied();
        health.lag = polled.answer.head.saturating_sub(applied);
    }

    /// Returns the changes that some downstream verifier has not acknowledged; reported beside the acknowledgement.
    fn children_hold(&self) -> Holding {
        match keeps(Rule::HoldingBesideAcks) {
            true => self.parts.verifier.children().holding(self.parts.clock.moment()),
            false => Holding::default(),
        }
    }

    /// Registers what to do when a downstream verifier has acknowledged something.
    pub fn on_children_acknowledged(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.parts.verifier.children().on_acknowledged(wake);
    }

    /// Returns every session that the database has as living.
    pub async fn sessions(&self) -> Result<Vec<NodeSession>, Failure> {
        Ok(self.parts.cluster.sessions().await?.rows)
    }

    /// Sends a hint to every node, including this one.
    pub async fn hint(&self) -> Result<(), Failure> {
        Ok(self.parts.cluster.hint().await?)
    }

    /// Waits until there may be something to poll for.
    pub async fn hinted(&self) {
        self.parts.cluster.hinted().await;
        lock(&self.health).hints += 1;
    }

    /// Ends the lease and the session: this node answers nothing more, and no change waits for it.
    pub async fn leave(&self) -> Result<(), Failure> {
        let session = self.session();
        self.give_up();
        self.notes.left_session();
        // A downstream verifier that has not left may still answer. Its lease ends before the session's, so the session
        // is left to expire.
        if self.parts.verifier.children().has_leases(self.parts.clock.moment()) {
            return Ok(());
        }
        if let Some(own) = session {
            let sessions = self.parts.cluster.sessions().await?;
            let mine = sessions.rows.iter().find(|one| one.seen.session == own);
            if let Some(mine) = mine {
                self.parts.cluster.remove_dead_session(&mine.seen).await?;
            }
        }
        Ok(())
    }
}

/// The poll as it is sent. Where the simulator breaks rule R18, no renewal waits for the disk.
fn as_sent(poll: &Poll) -> Poll {
    Poll {
        is_renewal: poll.is_renewal && keeps(Rule::DurableRenewals),
        ..*poll
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.parts.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NodeParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeParts")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
