//! Verifiers that hang on this process: they are granted leases, told what to forget, and waited for.
//!
//! What that means is decided in `keyreeve_core::coherence::nursery`; here it meets the memory and the
//! connections. [`serve`] has the requests of children and their permissions, [`changes`] the orders that a change causes.

use crate::env::Clock;
use crate::verifier::RootPass;
use keyreeve_core::coherence::holding::{Awaited, Holding, Scope, Span};
use keyreeve_core::coherence::nursery::{ChildId, Full, Joining, NotTold, Nursery, Order, Told};
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_core::coherence::{Entry, Lease, Moment, wait_ms};
use keyreeve_core::verdict::Denial;
use keyreeve_core::{Digest, KeyId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod changes;
mod serve;
mod views;

pub use keyreeve_core::coherence::nursery::bounds;
pub use views::{ChildCounts, ConnectedChild, Newcomer, OldestOrder};

/// The longest lease of a child, in milliseconds, unless somebody says otherwise. It is always cut to what is left of its
/// parent's.
pub const CHILD_LEASE_MS: u64 = 15_000;
/// The shortest lease that a child may ask for, in milliseconds.
pub const CHILD_LEASE_MS_MIN: u64 = 1_000;
/// How often children are looked after at least, in milliseconds.
pub const SWEEP_MS: u64 = 250;
/// Most uses that a child may report at once.
pub const REPORTED_MAX: usize = 4_000;

/// Carries messages to one child, in their order, without waiting.
pub trait Line: Send + Sync {
    /// Tells it to forget something. False if it cannot be told any more.
    fn order(&self, order: Order, ended: &[KeyId], is_last: bool) -> bool;

    /// Closes the connection, whatever the child says to it. What was told before may still be written for a moment.
    fn close(&self);
}

/// All children of this process.
pub struct Children {
    state: Mutex<State>,
    lease_ms: AtomicU64,
    refused: AtomicU64,
    /// Called when a child has acknowledged something.
    acknowledged: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

#[derive(Default)]
struct State {
    nursery: Nursery,
    /// All that the nursery knows, also those that are gone and may still answer.
    lines: BTreeMap<ChildId, Arc<Connected>>,
    /// Those that are told nothing any more: they were sent away, or are gone.
    deaf: BTreeSet<ChildId>,
    /// Until then children of a process before this one may answer.
    not_before: Option<Moment>,
}

struct Connected {
    line: Arc<dyn Line>,
    newcomer: Newcomer,
    since: Timestamp,
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
    /// What good ones cost beyond one unit each.
    pub extra_cost: u64,
    /// When last.
    pub last_at: Timestamp,
}

impl Default for Children {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            lease_ms: AtomicU64::new(CHILD_LEASE_MS),
            refused: AtomicU64::new(0),
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

    /// Every child that is connected.
    pub fn connected_list(&self, now: Moment) -> Vec<ConnectedChild> {
        let state = self.state();
        let all = state.lines.iter().filter_map(|(id, child)| {
            let standing = state.nursery.standing(*id, now)?;
            Some(ConnectedChild {
                id: *id,
                reach: child.newcomer.reach.clone(),
                root_key: child.newcomer.pass.as_ref().map(RootPass::id),
                peer: child.newcomer.peer.clone(),
                since: child.since,
                lease_left_ms: standing.lease_left_ms,
                keys: standing.held,
                oldest_order: standing
                    .oldest_order
                    .map(|(age_ms, revision)| OldestOrder { age_ms, revision }),
            })
        });
        all.collect()
    }

    /// Sends a child away and closes its connection soon. False if there is none of that name.
    pub fn disconnect(&self, id: ChildId) -> bool {
        let mut state = self.state();
        let is_there = state.lines.contains_key(&id) && !state.deaf.contains(&id);
        if is_there {
            state.send_away(id, None);
        }
        is_there
    }

    /// Counts for the metrics.
    pub fn counts(&self) -> ChildCounts {
        let state = self.state();
        ChildCounts {
            connected: state.nursery.len(),
            orders_outstanding: state.nursery.orders_outstanding(),
            overdue: state.nursery.overdue(),
            refused: self.refused.load(Ordering::Relaxed),
        }
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

    fn join(&self, newcomer: Newcomer, line: Arc<dyn Line>, clock: &dyn Clock) -> Result<ChildId, Full> {
        let joining = Joining {
            capacity: newcomer.capacity,
            reach: newcomer.reach.clone(),
            root_key: newcomer.pass.as_ref().map(RootPass::id),
        };
        let mut state = self.state();
        let id = state.nursery.join(&joining, clock.moment())?;
        state.tidy();
        let since = clock.now();
        let connected = Connected { line, newcomer, since };
        state.lines.insert(id, Arc::new(connected));
        Ok(id)
    }

    fn connected(&self, id: ChildId) -> Option<Arc<Connected>> {
        let state = self.state();
        state
            .lines
            .get(&id)
            .filter(|_| !state.deaf.contains(&id))
            .map(Arc::clone)
    }

    /// Whether a child was sent away and may still acknowledge what it was told. It gets nothing, whatever it asks, and
    /// its connection stays until it has acknowledged, or [`Authority::sweep_children`](crate::Authority::sweep_children)
    /// closes it.
    pub fn is_leaving(&self, id: ChildId) -> bool {
        self.state().nursery.is_leaving(id)
    }

    /// A child has carried out everything up to an order.
    pub fn acknowledged(&self, id: ChildId, number: u64) {
        let mut state = self.state();
        state.nursery.acknowledged(id, number);
        if !state.nursery.knows(id) {
            // It was sent away, and went.
            state.close(id);
            state.deaf.remove(&id);
            state.lines.remove(&id);
        }
        drop(state);
        self.wake();
    }

    /// A child has given back its lease and forgotten everything.
    pub fn left(&self, id: ChildId) {
        let mut state = self.state();
        state.nursery.left(id);
        state.deaf.remove(&id);
        state.lines.remove(&id);
        drop(state);
        self.wake();
    }

    /// The connection to a child is gone.
    pub fn lost(&self, id: ChildId) {
        let mut state = self.state();
        state.deaf.insert(id);
        state.nursery.lost(id);
        state.tidy();
    }

    /// Rules R13 and R14: closes those that did not acknowledge in time.
    pub(crate) fn sweep(&self, now: Moment) {
        let mut state = self.state();
        for id in state.nursery.sweep(now) {
            state.close(id);
        }
        state.tidy();
    }

    /// Whether a change waits for a child of this process.
    pub(crate) fn hold(&self, change: &Awaited, now: Moment) -> bool {
        let mut state = self.state();
        if state.minds_former(now) {
            return true;
        }
        !state.nursery.is_empty() && state.nursery.covers(change, now)
    }

    /// Which changes wait for children of this process.
    pub(crate) fn holding(&self, now: Moment) -> Holding {
        let mut state = self.state();
        if state.minds_former(now) {
            return Holding::everything();
        }
        match state.nursery.is_empty() {
            true => Holding::default(),
            false => state.nursery.holding(now),
        }
    }

    /// A process before this one had children and did not see them leave: until the last of their leases is surely
    /// over, no change is effective.
    fn mind_former(&self, lease_ms: u64, now: Moment) {
        self.state().not_before = Some(now.plus_ms(wait_ms(lease_ms)));
    }

    /// Tells every child to begin anew, and perhaps elsewhere.
    pub(crate) fn dismiss_all(&self) {
        let mut state = self.state();
        for id in state.nursery.connected() {
            state.send_away(id, None);
        }
    }

    /// Whether some child may still answer.
    pub(crate) fn has_leases(&self, now: Moment) -> bool {
        let mut state = self.state();
        state.minds_former(now) || state.nursery.has_leases(now)
    }

    /// Notes a grant before it is sent; `None` if the child is gone or overdue.
    fn grant(&self, id: ChildId, wish_ms: Option<u64>, lease: &Lease, clock: &dyn Clock) -> Option<u64> {
        // The deadline first: what the parent applied before it grew was told to the child before this.
        let deadline = lease.deadline();
        let now = clock.moment();
        let own = match wish_ms {
            Some(wish) => wish.max(CHILD_LEASE_MS_MIN).min(self.lease_ms()),
            None => self.lease_ms(),
        };
        let left = deadline.left_ms(now).min(own);
        let length = if keeps(Rule::LeasesNest) { left } else { own };
        self.state().nursery.grant(id, length, now).then_some(length)
    }

    fn begin_to_tell(&self, id: ChildId, digest: Digest, revision: u64) -> Result<u64, NotTold> {
        let mut state = self.state();
        let (number, told) = state.nursery.hold(id, digest, revision)?;
        if let Some(told) = told {
            state.tell(told, false);
        }
        Ok(number)
    }

    /// The child is told of a secret that it holds, or that there is none.
    fn settle(&self, id: ChildId, digest: &Digest, number: u64, found: Option<&Entry>) {
        let nursery = &mut self.state().nursery;
        match found {
            Some(entry) => nursery.settle(id, digest, number, entry.gate().slug(), entry.key_id()),
            None => nursery.let_go(id, digest, number),
        }
    }

    /// Nobody knows what was touched, but perhaps by which revisions.
    pub(crate) fn everything_touched(&self, span: Span, applied: u64) {
        let mut state = self.state();
        for told in state.nursery.everything_touched(span, applied) {
            state.tell(told, false);
        }
    }

    /// What nobody knew of is known now not to be after a revision.
    pub(crate) fn known_to(&self, last: u64) {
        self.state().nursery.known_to(last);
    }

    fn wake(&self) {
        if let Some(wake) = &*self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner) {
            wake();
        }
    }
}

impl State {
    fn minds_former(&mut self, now: Moment) -> bool {
        self.not_before = self.not_before.filter(|end| !now.is_surely_at_or_after(*end));
        self.not_before.is_some()
    }

    /// Those that the nursery has forgotten can answer nothing any more.
    fn tidy(&mut self) {
        let nursery = &self.nursery;
        if self.lines.len() > nursery.known() {
            self.lines.retain(|id, _| nursery.knows(*id));
            self.deaf.retain(|id| nursery.knows(*id));
        }
    }

    fn close(&mut self, id: ChildId) {
        self.deaf.insert(id);
        if let Some(child) = self.lines.get(&id) {
            child.line.close();
        }
    }

    /// One that cannot be told is lost: it is waited for until its lease is over.
    fn tell(&mut self, told: Told, is_last: bool) {
        let Some(child) = self.lines.get(&told.child).map(Arc::clone) else {
            return;
        };
        if self.deaf.contains(&told.child) && !is_last {
            return;
        }
        if !child.line.order(told.order, &told.ended, is_last) {
            self.nursery.lost(told.child);
            self.close(told.child);
        }
    }

    /// A child gets nothing more, is told to go, and is closed soon.
    fn send_away(&mut self, id: ChildId, change: Option<(&Scope, Span)>) {
        let told = self.nursery.send_away(id, change);
        self.deaf.insert(id);
        match told {
            Some(told) => self.tell(told, true),
            None if !keeps(Rule::SentAwayIsWaitedFor) => self.close(id),
            None => {}
        }
    }
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Children").field("connected", &self.len()).finish()
    }
}
