//! One node of several: it holds a lease by polling, and waits for the others when it changes something.
//!
//! What each answer means is decided in `keyreeve_core::coherence`; here the decisions meet the database. Whoever runs
//! a node calls [`Node::poll_once`] again and again, on a thread that nothing else can keep busy (rule R11). How a change
//! waits for the others stands in [`effect`].

mod effect;

use crate::env::{Clock, Entropy, Timer};
use crate::reassert::reassert;
use crate::{Failure, Verifier};
use effect::Polls;
use keyreeve_core::coherence::Moment;
use keyreeve_core::coherence::grantor::{Grantor, Reading};
use keyreeve_core::coherence::holder::{Holder, Next, Poll, SessionId};
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_store::cluster::{Cluster, Durability, Polled, Session, Touched};
use keyreeve_store::{CommitObserver as _, Store};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a lease is held too long where a rule is broken on purpose, in milliseconds.
const MUTANT_PAUSE_MS: u64 = 64;

/// What a node is made of.
pub struct NodeParts {
    /// Where nodes meet.
    pub cluster: Arc<dyn Cluster>,
    /// The same database, to tell it again what it has lost.
    pub store: Arc<dyn Store>,
    /// The memory whose lease is held.
    pub verifier: Arc<Verifier>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Pauses.
    pub timer: Arc<dyn Timer>,
    /// For session ids.
    pub entropy: Arc<dyn Entropy>,
    /// What its operator calls it.
    pub name: String,
    /// How long a lease lasts, in milliseconds.
    pub lease_ms: u64,
    /// Whether to refuse to work where an acknowledged change could be lost.
    pub require_sync: bool,
}

/// One node.
pub struct Node {
    parts: NodeParts,
    holder: Mutex<Option<Holder>>,
    watch: Mutex<Watch>,
    health: Mutex<Health>,
    /// Before this nothing is leased.
    not_before: Mutex<Moment>,
    /// Changes that were asked about, and since when.
    asked: Mutex<HashMap<u64, Moment>>,
    polls: Polls,
    /// Held by whoever reads the sessions: of those who wait at the same time, one asks for all.
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
    /// When the last poll that renewed the lease was sent.
    pub renewed: Option<Moment>,
    /// Changes that were not yet applied at the last poll.
    pub lag: u64,
    /// Hints that arrived.
    pub hints: u64,
    /// How often the history was found to be another one than before.
    pub forks: u64,
    /// Denials that the database had lost and was told again.
    pub reasserted: u64,
    /// Whether what was denied must still be told to a database that may have lost it.
    pub is_recovering: bool,
}

/// What a poll came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing had changed.
    Quiet,
    /// Something was applied: poll again at once, which acknowledges it.
    Applied,
    /// There was no session: poll again at once.
    Registered,
    /// The history is another one than before: the database may have lost acknowledged changes. It is told again what
    /// was denied, and nobody leases until everybody had the time to do so.
    Forked,
}

impl Node {
    /// A node that has not polled yet.
    pub fn new(parts: NodeParts) -> Self {
        let watch = Watch {
            grantor: Grantor::new(parts.lease_ms),
            latest: None,
        };
        Self {
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
                lag: 0,
                hints: 0,
                forks: 0,
                reasserted: 0,
                is_recovering: false,
            }),
        }
    }

    /// How it is doing.
    pub fn health(&self) -> Health {
        *lock(&self.health)
    }

    /// How long a lease lasts, in milliseconds.
    pub fn lease_ms(&self) -> u64 {
        self.parts.lease_ms
    }

    /// How long a change waits at most, in milliseconds.
    pub fn wait_ms(&self) -> u64 {
        lock(&self.watch).grantor.wait_ms()
    }

    /// Its session, if it has one.
    pub fn session(&self) -> Option<SessionId> {
        lock(&self.holder).as_ref().map(Holder::session)
    }

    /// Milliseconds that the lease will still last; 0 if there is none.
    pub fn lease_left_ms(&self) -> u64 {
        self.lag_ms().map_or(0, |age| self.parts.lease_ms.saturating_sub(age))
    }

    /// How long ago this node last knew every change that there was, in milliseconds: a poll that found nothing new was
    /// sent then. `None` if it never did.
    pub fn lag_ms(&self) -> Option<u64> {
        let renewed = self.health().renewed?;
        Some(self.parts.clock.moment().ms_since(renewed))
    }

    /// One poll: renews the lease, acknowledges what was applied, applies what is new. On an error the lease simply
    /// runs on to its end.
    pub async fn poll_once(&self) -> Result<Progress, Failure> {
        if self.health().is_recovering {
            self.recover().await?;
        }
        let known = lock(&self.holder).clone();
        let Some(mut holder) = known else {
            return self.register().await;
        };
        let mut poll = holder.poll(self.parts.clock.moment());
        if !keeps(Rule::AckAfterApplying) {
            poll.applied = self
                .parts
                .cluster
                .sessions()
                .await?
                .iter()
                .map(|one| one.seen.acked)
                .max()
                .unwrap_or(0);
        }
        let acked = poll.applied.min(self.children_covered());
        let polled = self.parts.cluster.poll(poll.session, poll.applied, acked).await?;
        self.parts.clock.database_said(polled.now, poll.sent);
        self.note(&polled);
        match holder.judge(&poll, &polled.answer) {
            Next::NotPrimary => Err(Failure::Unavailable("a replica answered the poll".to_owned())),
            Next::Register => {
                self.give_up();
                Ok(Progress::Registered)
            }
            Next::Forked => {
                self.give_up();
                let mut health = lock(&self.health);
                health.forks += 1;
                health.is_recovering = true;
                Ok(Progress::Forked)
            }
            Next::Apply => Ok(self.take(&mut holder, &poll, &polled).await),
        }
    }

    /// Rule R10: tells the database again what this node knows to be denied.
    async fn recover(&self) -> Result<(), Failure> {
        let denied = self.parts.verifier.tombstones().all();
        let lost = reassert(&*self.parts.store, denied, self.parts.clock.now()).await?;
        let mut health = lock(&self.health);
        health.reasserted += lost;
        health.is_recovering = false;
        Ok(())
    }

    /// Rule R1: the session first, durably; then an empty memory.
    async fn register(&self) -> Result<Progress, Failure> {
        self.parts.verifier.lose_lease();
        let mut session: SessionId = [0; 16];
        self.parts.entropy.fill(&mut session)?;
        let found = self.parts.cluster.register(session, &self.parts.name).await?;
        self.parts.verifier.lose_lease();
        self.parts.verifier.caught_up(found.head);
        let rest = self.wait_ms().saturating_sub(found.timeline_age_ms.unwrap_or(u64::MAX));
        *lock(&self.not_before) = self.parts.clock.moment().plus_ms(rest);
        let holder = Holder::registered(session, found.head, found.chain, self.parts.lease_ms);
        *lock(&self.holder) = Some(holder);
        Ok(Progress::Registered)
    }

    fn give_up(&self) {
        self.parts.verifier.lose_lease();
        *lock(&self.holder) = None;
        lock(&self.health).renewed = None;
    }

    /// Rule R3: apply, and only then let the lease grow.
    async fn take(&self, holder: &mut Holder, poll: &Poll, polled: &Polled) -> Progress {
        let now = self.parts.clock.moment();
        let verifier = &self.parts.verifier;
        if !keeps(Rule::ApplyBeforeExtending) {
            let _grown = holder.clone().applied(poll, &polled.answer, verifier.lease(), now);
            self.parts.timer.sleep_ms(MUTANT_PAUSE_MS).await;
        }
        for change in &polled.changes {
            match &change.touched {
                Touched::Known(commit) => verifier.apply_remote(commit, polled.answer.head),
                Touched::Everything => verifier.outcome_unknown(),
            }
        }
        let is_durable = !self.parts.require_sync || polled.durability != Durability::AtRisk;
        // After a failover those who know of lost denials have W to tell them (recovery barrier).
        let is_allowed = is_durable && now.is_surely_at_or_after(*lock(&self.not_before));
        let has_more = match is_allowed {
            true => holder.applied(poll, &polled.answer, verifier.lease(), now),
            false => {
                verifier.lose_lease();
                false
            }
        };
        verifier.caught_up(holder.applied_revision());
        let is_quiet = polled.changes.is_empty();
        *lock(&self.holder) = Some(holder.clone());
        if is_allowed && !has_more {
            lock(&self.health).renewed = Some(poll.sent);
        }
        self.polls.tell();
        if is_quiet { Progress::Quiet } else { Progress::Applied }
    }

    fn note(&self, polled: &Polled) {
        let mut health = lock(&self.health);
        // A standby that is out of sight may be promoted all the same.
        let was_at_risk = health.renewed.is_some() && health.durability == Durability::AtRisk;
        health.durability = match polled.durability {
            Durability::Local if was_at_risk => Durability::AtRisk,
            other => other,
        };
        let applied = self.parts.verifier.applied();
        health.lag = polled.answer.head.saturating_sub(applied);
    }

    /// Every change up to here has reached the verifiers that hang on this node: what it acknowledges is theirs too.
    fn children_covered(&self) -> u64 {
        self.parts.verifier.children().covered(&*self.parts.clock)
    }

    /// What to do when a verifier that hangs on this node has acknowledged something.
    pub fn on_children_acknowledged(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.parts.verifier.children().on_acknowledged(wake);
    }

    /// Every node that the database knows as living.
    pub async fn sessions(&self) -> Result<Vec<Session>, Failure> {
        Ok(self.parts.cluster.sessions().await?)
    }

    /// Sends a hint to every node, this one too.
    pub async fn hint(&self) -> Result<(), Failure> {
        Ok(self.parts.cluster.hint().await?)
    }

    /// Waits until there may be something to poll for.
    pub async fn hinted(&self) {
        self.parts.cluster.hinted().await;
        lock(&self.health).hints += 1;
    }

    /// Hands the lease back: nothing is answered any more, and nobody need wait for this node.
    pub async fn leave(&self) -> Result<(), Failure> {
        let session = self.session();
        self.give_up();
        // A verifier that hangs on this node and did not go may still answer: its lease ends with the session's.
        if self.parts.verifier.children().has_leases(self.parts.clock.moment()) {
            return Ok(());
        }
        if let Some(own) = session {
            let sessions = self.parts.cluster.sessions().await?;
            let mine = sessions.iter().find(|one| one.seen.session == own);
            if let Some(mine) = mine {
                self.parts.cluster.bury(own, mine.seen.renewals).await?;
            }
        }
        Ok(())
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
