//! Verifiers that hang on this process: they are granted leases, told what to forget, and waited for.
//!
//! What that means is decided in `keyreeve_core::coherence::nursery`; here it meets the memory, and whoever carries
//! messages.

use crate::env::Clock;
use crate::verifier::RootPass;
use crate::{Authority, Budget, Failure};
use keyreeve_core::Digest;
use keyreeve_core::access::{Permission, Reach};
use keyreeve_core::coherence::nursery::{ChildId, Nursery, Order};
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_core::coherence::{Cached as _, Entry, Lease, Moment, wait_ms};
use keyreeve_core::verdict::Denial;
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::Commit;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The longest lease of a child, in milliseconds, unless somebody says otherwise. It is always cut to what is left of its
/// parent's.
pub const CHILD_LEASE_MS: u64 = 15_000;
/// Most children of one process.
pub const CHILDREN_MAX: usize = 4_096;
/// Most uses that a child may report at once.
pub const REPORTED_MAX: usize = 4_000;

/// Carries messages to one child, in their order, without waiting.
pub trait Line: Send + Sync {
    /// Tells it to forget something. False if it cannot be told any more.
    fn order(&self, order: Order, ended: &[KeyId], is_last: bool) -> bool;
}

/// All children of this process.
pub struct Children {
    state: Mutex<State>,
    lease_ms: AtomicU64,
    /// Called when a child has acknowledged something.
    acknowledged: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

#[derive(Default)]
struct State {
    nursery: Nursery,
    lines: BTreeMap<ChildId, Connected>,
    /// Until then children of a process before this one may answer.
    not_before: Option<Moment>,
}

struct Connected {
    line: Arc<dyn Line>,
    root_key: Option<Digest>,
}

/// A lease that was granted to a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    /// How long it lasts, in milliseconds, from when the child asked for it. 0: nothing can be granted now.
    pub length_ms: u64,
    /// Every change up to here was told to the child before.
    pub revision: u64,
    /// The time now.
    pub now: Timestamp,
}

/// What a child saw of one secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reported {
    /// The secret.
    pub digest: Digest,
    /// `None` is a good verdict.
    pub denial: Option<Denial>,
    /// How often.
    pub count: u32,
    /// When last.
    pub last_at: Timestamp,
}

impl Default for Children {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            lease_ms: AtomicU64::new(CHILD_LEASE_MS),
            acknowledged: Mutex::default(),
        }
    }
}

impl Children {
    /// The longest lease that a child is granted, in milliseconds.
    pub fn lease_ms(&self) -> u64 {
        self.lease_ms.load(Ordering::Relaxed)
    }

    /// Sets it. Before the first child comes.
    pub fn set_lease_ms(&self, lease_ms: u64) {
        self.lease_ms.store(lease_ms, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are connected.
    pub fn len(&self) -> usize {
        self.state().nursery.len()
    }

    /// Whether none is connected, nor gone and able to answer.
    pub fn is_empty(&self) -> bool {
        self.state().nursery.is_empty()
    }

    /// What to do when a child has acknowledged something.
    pub fn on_acknowledged(&self, wake: impl Fn() + Send + Sync + 'static) {
        *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(wake));
    }

    /// Takes a child in. `None` if there are too many.
    pub(crate) fn join(&self, capacity: usize, root_key: Option<Digest>, line: Arc<dyn Line>) -> Option<ChildId> {
        let mut state = self.state();
        if state.lines.len() >= CHILDREN_MAX {
            return None;
        }
        let id = state.nursery.join(capacity);
        state.lines.insert(id, Connected { line, root_key });
        Some(id)
    }

    /// A child has carried out everything up to an order.
    pub fn acknowledged(&self, id: ChildId, number: u64) {
        self.state().nursery.acknowledged(id, number);
        self.wake();
    }

    /// A child has given back its lease and forgotten everything.
    pub fn left(&self, id: ChildId) {
        let mut state = self.state();
        state.lines.remove(&id);
        state.nursery.left(id);
        drop(state);
        self.wake();
    }

    /// The connection to a child is gone.
    pub fn lost(&self, id: ChildId) {
        let mut state = self.state();
        state.lines.remove(&id);
        state.nursery.lost(id);
    }

    /// Every change up to this revision has reached every child.
    pub(crate) fn covered(&self, clock: &dyn Clock) -> u64 {
        let mut state = self.state();
        if let Some(end) = state.not_before {
            if !clock.moment().is_surely_at_or_after(end) {
                return 0;
            }
            state.not_before = None;
        }
        if state.nursery.is_empty() {
            return u64::MAX;
        }
        state.nursery.covered(clock.moment())
    }

    /// A process before this one had children and did not see them leave: until the last of their leases is surely
    /// over, no change is effective.
    fn mind_former(&self, lease_ms: u64, now: Moment) {
        self.state().not_before = Some(now.plus_ms(wait_ms(lease_ms)));
    }

    /// Tells every child to begin anew, and perhaps elsewhere.
    fn dismiss_all(&self, revision: u64) {
        let mut state = self.state();
        for id in state.nursery.connected() {
            if let Some(order) = state.nursery.dismissed(id, revision) {
                state.tell(id, order, &[], true);
            }
        }
    }

    /// Whether some child may still answer.
    pub(crate) fn has_leases(&self, now: Moment) -> bool {
        let mut state = self.state();
        state.not_before.is_some_and(|end| !now.is_surely_at_or_after(end)) || state.nursery.has_leases(now)
    }

    /// Notes a grant before it is sent; `None` if the child is gone.
    fn grant(&self, id: ChildId, lease: &Lease, clock: &dyn Clock) -> Option<u64> {
        // The deadline first: what the parent applied before it grew was told to the child before this.
        let deadline = lease.deadline();
        let now = clock.moment();
        let left = deadline.left_ms(now).min(self.lease_ms());
        let length = if keeps(Rule::LeasesNest) { left } else { self.lease_ms() };
        self.state().nursery.grant(id, length, now).then_some(length)
    }

    fn hold(&self, id: ChildId, digest: Digest, revision: u64) -> Result<u64, Failure> {
        let mut state = self.state();
        let gone = || Failure::Unavailable("the verifier is gone".to_owned());
        let (number, order) = state.nursery.hold(id, digest, revision).ok_or_else(gone)?;
        if let Some(order) = order {
            state.tell(id, order, &[], false);
        }
        Ok(number)
    }

    /// The child is told of a secret that it holds, or that there is none.
    fn settle(&self, id: ChildId, digest: &Digest, number: u64, is_known: bool) {
        let nursery = &mut self.state().nursery;
        match is_known {
            true => nursery.settle(id, digest, number),
            false => nursery.let_go(id, digest, number),
        }
    }

    /// Passes on what a change touched. Call when the memory here has forgotten it, and before more counts as `applied`.
    ///
    /// A commit may stand for several changes, and one of this node's own may come before those of others that precede
    /// it and touch the same secrets: until the child has said that it forgot, nothing after `applied` has reached it.
    ///
    /// `is_shared`: it touched a tenant of which children may know keys. Which ones, nobody has noted.
    pub(crate) fn touched(&self, commit: &Commit, is_shared: bool, applied: u64) {
        let mut state = self.state();
        if state.nursery.is_empty() {
            return;
        }
        let revision = commit.revision.min(applied.saturating_add(1));
        let ended: Vec<_> = commit
            .keys
            .iter()
            .filter(|news| news.fate.takes())
            .map(|news| news.id)
            .collect();
        let orders = match is_shared {
            true => state.nursery.everything_touched(revision),
            false => state.nursery.touched(revision, &commit.secrets),
        };
        for (id, order) in orders {
            state.tell(id, order, &ended, false);
        }
        if !commit.root_keys.is_empty() {
            state.dismiss(&commit.root_keys, revision);
        }
    }

    /// Nobody knows what was touched. A change at `revision` and all later ones wait until the children know.
    pub(crate) fn everything_touched(&self, revision: u64) {
        let mut state = self.state();
        for (id, order) in state.nursery.everything_touched(revision) {
            state.tell(id, order, &[], false);
        }
    }

    fn wake(&self) {
        if let Some(wake) = &*self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner) {
            wake();
        }
    }
}

impl State {
    /// One that cannot be told is lost: it is waited for until its lease is over.
    fn tell(&mut self, id: ChildId, order: Order, ended: &[KeyId], is_last: bool) {
        let is_told = self
            .lines
            .get(&id)
            .is_some_and(|child| child.line.order(order, ended, is_last));
        if !is_told || is_last {
            self.lines.remove(&id);
        }
        if !is_told {
            self.nursery.lost(id);
        }
    }

    /// Children whose root key has changed begin anew, if they still may.
    fn dismiss(&mut self, root_keys: &[Digest], revision: u64) {
        let is_touched = |child: &Connected| child.root_key.is_some_and(|own| root_keys.contains(&own));
        let dismissed: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, child)| is_touched(child))
            .map(|(id, _)| *id)
            .collect();
        for id in dismissed {
            if let Some(order) = self.nursery.dismissed(id, revision) {
                self.tell(id, order, &[], true);
            }
        }
    }
}

impl Authority {
    /// The verifiers that hang on this one.
    pub fn children(&self) -> &Children {
        self.verifier.children()
    }

    /// Takes a child in, whose memory is empty. An error if there are too many, or if its root key has ended meanwhile:
    /// whoever comes later than that is told by nobody.
    pub async fn adopt(
        &self,
        capacity: usize,
        pass: Option<&RootPass>,
        line: Arc<dyn Line>,
    ) -> Result<ChildId, Failure> {
        let root_key = pass.map(|pass| *pass.digest());
        let full = || Failure::Unavailable(format!("this node has {CHILDREN_MAX} verifiers already"));
        let id = self.children().join(capacity, root_key, line).ok_or_else(full)?;
        // From here on it would be sent away; what came before is looked for now.
        let is_good = match root_key {
            Some(digest) => self.root_key_of(digest).await.map(|pass| pass.is_some()),
            None => Ok(true),
        };
        if matches!(is_good, Ok(true)) {
            return Ok(id);
        }
        self.children().left(id);
        is_good?;
        Err(Failure::PermissionDenied(Permission::KeysVerify))
    }

    /// Grants a child as much of a lease as there is; `None` if the child is gone, and its connection is to be closed.
    pub fn grant(&self, id: ChildId) -> Option<Granted> {
        let length_ms = self.children().grant(id, self.verifier.lease(), &*self.clock)?;
        Some(Granted {
            length_ms,
            revision: self.verifier.applied(),
            now: self.now(),
        })
    }

    /// What a child is told of a secret, and as of which revision; `None` if it is unknown, or another tenant's. From
    /// now on the child will hear of changes of it.
    pub async fn tell(&self, id: ChildId, reach: &Reach, digest: Digest) -> Result<(Option<Entry>, u64), Failure> {
        let hold = || self.children().hold(id, digest, self.verifier.applied());
        let early = keeps(Rule::HoldBeforeLookUp).then(hold).transpose()?;
        let found = self.entry_by(digest).await;
        let number = match early {
            Some(number) => number,
            None => {
                self.timer.sleep_ms(20).await;
                hold()?
            }
        };
        let found = found.map(|(entry, revision)| (entry.filter(|entry| reach.has(entry.gate().slug())), revision));
        let is_known = matches!(&found, Ok((Some(_), _)));
        self.children().settle(id, &digest, number, is_known);
        found
    }

    /// Counts uses of a secret that a child has found good, and whether they may be made; `None` if that cannot be said
    /// now. It is reported with the other things that the child has seen.
    pub async fn charge_for_child(&self, reach: &Reach, digest: Digest, cost: u32) -> Option<(bool, Budget)> {
        let (entry, _) = self.entry_by(digest).await.ok()?;
        let entry = entry.filter(|entry| reach.has(entry.gate().slug()))?;
        let (outcome, budget) = self.charge(&entry, cost).await;
        Some((outcome.is_ok(), *budget?))
    }

    /// Takes over what a child has seen: last uses and counts.
    pub async fn report(&self, reach: &Reach, reported: &[Reported]) {
        for one in reported.iter().take(REPORTED_MAX) {
            let Ok((Some(entry), _)) = self.entry_by(one.digest).await else {
                continue;
            };
            if reach.has(entry.gate().slug()) {
                self.note_reported(&entry, one);
            }
        }
    }

    /// A process before this one may have had children that still answer, under leases of at most this length.
    pub fn mind_former_children(&self, lease_ms: u64) {
        self.children().mind_former(lease_ms, self.clock.moment());
    }

    /// Sends every child away, and waits a little for them to go. True if none of them can answer any more.
    pub async fn dismiss_children(&self, patience_ms: u64) -> bool {
        self.children().dismiss_all(self.verifier.applied());
        let began = self.clock.moment();
        while self.children().has_leases(self.clock.moment()) {
            if self.clock.moment().ms_since(began) >= patience_ms {
                return false;
            }
            self.timer.sleep_ms(5).await;
        }
        true
    }

    /// Whether a change has reached every child of this process.
    pub fn children_have(&self, revision: u64) -> bool {
        self.children().covered(&*self.clock) >= revision
    }

    /// Comes back when a change has reached every child of this process, or none of them can answer any more.
    pub(crate) async fn children_know(&self, revision: u64) {
        let began = self.clock.moment();
        while !self.children_have(revision) {
            let waited = self.clock.moment().ms_since(began);
            self.timer.sleep_ms((waited / 8).clamp(1, 64)).await;
        }
    }
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Children").field("connected", &self.len()).finish()
    }
}
