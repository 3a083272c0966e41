//! One node of several: it holds a lease by polling, and waits for the others when it changes something.
//!
//! What each answer means is decided in `keyreeve_core::coherence`; here the decisions meet the database. Whoever runs
//! a node calls [`Node::poll_once`] again and again, on a thread that nothing else can keep busy (rule R11). How a change
//! waits for the others stands in [`effect`].

mod effect;
mod history;
mod notes;
mod probation;

pub use notes::{NoNotebook, Notebook};

use crate::env::{Clock, Entropy, Timer};
use crate::{Failure, Verifier};
use effect::Polls;
use keyreeve_core::audit::Milestone;
use keyreeve_core::coherence::Moment;
use keyreeve_core::coherence::grantor::{Grantor, Reading};
use keyreeve_core::coherence::holder::{Holder, Next, Poll, SessionId};
use keyreeve_core::coherence::holding::Holding;
use keyreeve_core::coherence::probation::Probation;
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_store::Store;
use keyreeve_store::cluster::{Cluster, Durability, Polled, Session, Touched};
use notes::Notes;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a change is applied too late where a rule is broken on purpose, in milliseconds.
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
    /// What it remembers across its own end.
    pub notebook: Arc<dyn Notebook>,
}

/// One node.
pub struct Node {
    parts: NodeParts,
    holder: Mutex<Option<Holder>>,
    watch: Mutex<Watch>,
    health: Mutex<Health>,
    /// Before this nothing is leased.
    not_before: Mutex<Moment>,
    notes: Notes,
    probation: Mutex<Probation>,
    /// When the last poll was over, however it ended.
    last_polled: Mutex<Option<Moment>>,
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
    /// When the last poll was sent that left nothing to apply.
    pub caught_up: Option<Moment>,
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
    /// Leases that ended before they were renewed, although others may have waited for them.
    pub lease_losses: u64,
    /// Whether the node holds no lease because it lost too many (rule R17).
    pub is_on_probation: bool,
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
    /// The node lost its lease too often, and holds none for a while: poll again in time.
    OnProbation,
}

impl Node {
    /// A node that has not polled yet.
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
        let Some(renewed) = self.health().renewed else {
            return 0;
        };
        let age = self.parts.clock.moment().ms_since(renewed);
        self.parts.lease_ms.saturating_sub(age)
    }

    /// How long ago this node last knew every change that there was, in milliseconds: a poll that found nothing new was
    /// sent then. `None` if it never did.
    pub fn lag_ms(&self) -> Option<u64> {
        let caught_up = self.health().caught_up?;
        Some(self.parts.clock.moment().ms_since(caught_up))
    }

    /// One poll: renews the lease, acknowledges what was applied, applies what is new. On an error the lease simply
    /// runs on to its end.
    pub async fn poll_once(&self) -> Result<Progress, Failure> {
        let stood_still = self.stood_still();
        let done = self.poll_or_register(stood_still).await;
        *lock(&self.last_polled) = Some(self.parts.clock.moment());
        done
    }

    /// Whether nothing was polled for longer than a node that runs ever waits between two polls.
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
        // What the children have not is looked up after what is applied: of that, nothing more can come to be held.
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
        // After a failover those who know of lost denials have W to tell them (recovery barrier).
        let is_allowed = is_durable && now.is_surely_at_or_after(*lock(&self.not_before));
        let has_more = match is_allowed {
            true => holder.applied(poll, &polled.answer, verifier.lease(), now),
            // What was applied is not fetched again and again until a lease is allowed.
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
        // A standby that is out of sight may be promoted all the same.
        let was_at_risk = health.renewed.is_some() && health.durability == Durability::AtRisk;
        health.durability = match polled.durability {
            Durability::Local if was_at_risk => Durability::AtRisk,
            other => other,
        };
        let applied = self.parts.verifier.applied();
        health.lag = polled.answer.head.saturating_sub(applied);
    }

    /// Which changes have not reached the verifiers that hang on this node: it tells that beside what it acknowledges.
    fn children_hold(&self) -> Holding {
        match keeps(Rule::HoldingBesideAcks) {
            true => self.parts.verifier.children().holding(self.parts.clock.moment()),
            false => Holding::default(),
        }
    }

    /// What to do when a verifier that hangs on this node has acknowledged something.
    pub fn on_children_acknowledged(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.parts.verifier.children().on_acknowledged(wake);
    }

    /// Every node that the database knows as living.
    pub async fn sessions(&self) -> Result<Vec<Session>, Failure> {
        Ok(self.parts.cluster.sessions().await?.rows)
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
            let mine = sessions.rows.iter().find(|one| one.seen.session == own);
            if let Some(mine) = mine {
                self.parts.cluster.bury(&mine.seen).await?;
            }
        }
        Ok(())
    }
}

/// A poll as the database hears of it: where a rule is broken on purpose, no renewal waits for the disk.
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
