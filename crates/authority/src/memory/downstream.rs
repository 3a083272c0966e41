//! Verifiers connected to this process: they get leases and orders to forget, and changes wait for them.
//!
//! The decisions are in `keyreeve_core::coherence::downstream`; this module connects them to the memory and to the
//! connections. [`changes`] has the orders that a change causes.

use super::root_pass::RootPass;
use crate::env::Clock;
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::downstream::{ChildId, DownstreamLeases, Full, Invalidation, Joining, NoHold, Order};
use keyreeve_core::coherence::holding::{Awaited, ChangeScope, Holding, Span};
use keyreeve_core::coherence::invariants::{InvariantCounts, InvariantResult};
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_core::coherence::{Entry, Lease, Moment, wait_ms};
use keyreeve_core::{Digest, KeyId, RootKeyId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod changes;
mod views;

pub use views::{ChildCounts, ConnectedChild, Newcomer, OldestOrder};

/// The default for the longest lease of a downstream verifier, in milliseconds. A grant is always cut to what is left
/// of the node's own lease.
pub const CHILD_LEASE_MS: u64 = 15_000;
/// The shortest lease that a verifier may ask for, in milliseconds.
pub const CHILD_LEASE_MS_MIN: u64 = 1_000;

/// Sends messages to one verifier, in order and without waiting.
pub trait VerifierLine: Send + Sync {
    /// Sends an order to forget. False if the connection cannot take it.
    fn order(&self, order: Order, ended: &[KeyId], is_last: bool) -> bool;

    /// Closes the connection, whatever the verifier sends. What was queued before may still be written for a moment.
    fn close(&self);
}

/// All downstream verifiers of this process.
pub struct Children {
    state: Mutex<State>,
    lease_ms: AtomicU64,
    refused: AtomicU64,
    /// Called when a verifier has acknowledged something.
    acknowledged: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

#[derive(Default)]
struct State {
    downstream: DownstreamLeases,
    /// Every verifier that the `DownstreamLeases` knows, including disconnected ones that may still answer from their lease.
    lines: BTreeMap<ChildId, Arc<Connected>>,
    /// Verifiers that get no further messages: they were sent away, or have disconnected.
    deaf: BTreeSet<ChildId>,
    /// Until then, verifiers of an earlier process may still answer.
    not_before: Option<Moment>,
}

/// Why another verifier may not connect now.
pub(crate) enum JoinRefusal {
    /// Verifiers of its root key were overdue too often.
    Overdue {
        /// How long it is refused, in milliseconds.
        refused_ms: u64,
    },
    /// A limit is reached.
    Full(Full),
}

/// A verifier and its connection.
pub(crate) struct Connected {
    line: Arc<dyn VerifierLine>,
    pub(crate) newcomer: Newcomer,
    since: Timestamp,
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
    /// Returns the longest lease that a verifier is granted, in milliseconds.
    pub fn lease_ms(&self) -> u64 {
        self.lease_ms.load(Ordering::Relaxed)
    }

    /// Sets the longest lease. Call before the first verifier connects.
    pub fn set_lease_ms(&self, lease_ms: u64) {
        self.lease_ms.store(lease_ms, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists every verifier that is connected, or disconnected with a lease.
    pub fn connected_list(&self, now: Moment) -> Vec<ConnectedChild> {
        let state = self.state();
        let all = state.lines.iter().filter_map(|(id, child)| {
            let standing = state.downstream.standing(*id, now)?;
            Some(ConnectedChild {
                id: *id,
                reach: child.newcomer.reach.clone(),
                root_key: child.newcomer.pass.as_ref().map(RootPass::id),
                peer: child.newcomer.peer.clone(),
                since: child.since,
                presence: standing.presence,
                lease_left_ms: standing.lease_left_ms,
                keys: standing.held,
                oldest_order: standing
                    .oldest_order
                    .map(|(age_ms, revision)| OldestOrder { age_ms, revision }),
            })
        });
        all.collect()
    }

    /// Sends a verifier away and closes its connection soon. False if there is none with this id.
    pub fn disconnect(&self, id: ChildId) -> bool {
        let mut state = self.state();
        let is_there = state.lines.contains_key(&id) && !state.deaf.contains(&id);
        if is_there {
            state.send_away(id, None);
        }
        is_there
    }

    /// Sends a verifier away.
    pub(crate) fn send_away(&self, id: ChildId) {
        self.state().send_away(id, None);
    }

    /// Returns counts for the metrics.
    pub fn counts(&self, now: Moment) -> ChildCounts {
        let state = self.state();
        ChildCounts {
            connected: state.downstream.len(),
            orders_outstanding: state.downstream.orders_outstanding(now),
            overdue: state.downstream.overdue(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Checks what must always hold of verifiers, their orders and what they may remember.
    pub(crate) fn check(&self) -> InvariantResult {
        self.state().downstream.check()
    }

    /// Returns how many are connected.
    pub fn len(&self) -> usize {
        self.state().downstream.len()
    }

    /// Whether no verifier is connected or may still answer from its lease.
    pub fn is_empty(&self) -> bool {
        self.state().downstream.is_empty()
    }

    /// Registers what to do when a verifier has acknowledged something.
    pub fn on_acknowledged(&self, wake: impl Fn() + Send + Sync + 'static) {
        *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(wake));
    }

    /// Whether another verifier of a root key may connect now. A refusal is counted.
    pub(crate) fn may_join(&self, root_key: Option<RootKeyId>, reach: &Reach, now: Moment) -> Result<(), JoinRefusal> {
        let state = self.state();
        let refused_ms = root_key.and_then(|root_key| state.downstream.refused_ms(root_key, now));
        let may = match refused_ms {
            Some(refused_ms) => Err(JoinRefusal::Overdue { refused_ms }),
            None => state.downstream.has_room(root_key, reach).map_err(JoinRefusal::Full),
        };
        if may.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// Adds a verifier, whose memory is empty.
    pub(crate) fn join(
        &self,
        newcomer: Newcomer,
        line: Arc<dyn VerifierLine>,
        clock: &dyn Clock,
    ) -> Result<ChildId, Full> {
        let joining = Joining {
            capacity: newcomer.capacity,
            reach: newcomer.reach.clone(),
            root_key: newcomer.pass.as_ref().map(RootPass::id),
        };
        let mut state = self.state();
        let id = state.downstream.join(&joining, clock.moment())?;
        state.tidy();
        let since = clock.now();
        let connected = Connected { line, newcomer, since };
        state.lines.insert(id, Arc::new(connected));
        Ok(id)
    }

    /// Returns a verifier that may send requests.
    pub(crate) fn connected(&self, id: ChildId) -> Option<Arc<Connected>> {
        let state = self.state();
        state
            .lines
            .get(&id)
            .filter(|_| !state.deaf.contains(&id))
            .map(Arc::clone)
    }

    /// Whether a verifier was sent away and may still acknowledge its orders. It gets no answers, and its connection
    /// stays open until it has acknowledged, or [`VerifierUseCases::sweep`](crate::verifiers::VerifierUseCases::sweep) closes
    /// it.
    pub fn is_leaving(&self, id: ChildId) -> bool {
        self.state().downstream.is_leaving(id)
    }

    /// Notes that a verifier has carried out every order up to `number`.
    pub fn acknowledged(&self, id: ChildId, number: u64) {
        let mut state = self.state();
        state.downstream.acknowledged(id, number);
        if !state.downstream.knows(id) {
            // It was sent away, and has acknowledged its last order.
            state.close(id);
            state.deaf.remove(&id);
            state.lines.remove(&id);
        }
        drop(state);
        self.wake();
    }

    /// Notes that a verifier has ended its lease and forgotten everything.
    pub fn left(&self, id: ChildId) {
        let mut state = self.state();
        state.downstream.left(id);
        state.deaf.remove(&id);
        state.lines.remove(&id);
        drop(state);
        self.wake();
    }

    /// Notes that the connection to a verifier is closed. Its lease is still waited for.
    pub fn lost(&self, id: ChildId) {
        let mut state = self.state();
        state.deaf.insert(id);
        state.downstream.lost(id);
        state.tidy();
    }

    /// Rules R13 and R14: closes the connections of verifiers that did not acknowledge in time.
    pub(crate) fn sweep(&self, now: Moment) {
        let mut state = self.state();
        for id in state.downstream.sweep(now) {
            state.close(id);
        }
        state.tidy();
    }

    /// Returns the verifiers that have a root key and are not leaving.
    pub(crate) fn with_root_keys(&self) -> Vec<(ChildId, RootPass)> {
        let state = self.state();
        let staying = state.lines.iter().filter(|(id, _)| !state.downstream.is_leaving(**id));
        let with_pass = staying.filter_map(|(id, child)| Some((*id, child.newcomer.pass.clone()?)));
        with_pass.collect()
    }

    /// Whether a change waits for a verifier of this process.
    pub(crate) fn hold(&self, change: &Awaited, now: Moment) -> bool {
        let mut state = self.state();
        if state.minds_former(now) {
            return true;
        }
        !state.downstream.is_empty() && state.downstream.covers(change, now)
    }

    /// Returns the changes that wait for verifiers of this process.
    pub(crate) fn holding(&self, now: Moment) -> Holding {
        let mut state = self.state();
        if state.minds_former(now) {
            return Holding::everything();
        }
        match state.downstream.is_empty() {
            true => Holding::default(),
            false => state.downstream.holding(now),
        }
    }

    /// An earlier process had verifiers and did not see them leave: no change is effective until the last of their
    /// leases is over by both clocks.
    pub(crate) fn await_former(&self, lease_ms: u64, now: Moment) {
        self.state().not_before = Some(now.plus_ms(wait_ms(lease_ms)));
    }

    /// Orders every verifier to forget everything and to connect again, perhaps to another node.
    pub(crate) fn dismiss_all(&self) {
        let mut state = self.state();
        for id in state.downstream.connected() {
            state.send_away(id, None);
        }
    }

    /// Whether some verifier may still answer.
    pub(crate) fn has_leases(&self, now: Moment) -> bool {
        let mut state = self.state();
        state.minds_former(now) || state.downstream.has_leases(now)
    }

    /// Notes a grant before it is sent; `None` if the verifier is gone or overdue.
    pub(crate) fn grant(
        &self,
        id: ChildId,
        wish_ms: Option<u64>,
        (lease, counts): (&Lease, &InvariantCounts),
        clock: &dyn Clock,
    ) -> Option<u64> {
        // The deadline is loaded first: orders for what this node applied before its lease grew were then sent before
        // the grant.
        let deadline = lease.deadline();
        let now = clock.moment();
        let own = match wish_ms {
            Some(wish) => wish.max(CHILD_LEASE_MS_MIN).min(self.lease_ms()),
            None => self.lease_ms(),
        };
        let left = deadline.left_ms(now).min(own);
        let length = if keeps(Rule::LeasesNest) { left } else { own };
        counts.note(deadline.check_grant(length, now));
        self.state().downstream.grant(id, length, now).then_some(length)
    }

    /// Notes that a verifier holds a secret, before it is looked up for it. Returns the number of the hold.
    pub(crate) fn begin_to_tell(&self, id: ChildId, digest: Digest, revision: u64) -> Result<u64, NoHold> {
        let mut state = self.state();
        let (number, invalidation) = state.downstream.hold(id, digest, revision)?;
        if let Some(invalidation) = invalidation {
            state.send(invalidation, false);
        }
        Ok(number)
    }

    /// Ends a look-up for a verifier: it holds what was found, or nothing.
    pub(crate) fn settle(&self, id: ChildId, digest: &Digest, number: u64, found: Option<&Entry>) {
        let downstream = &mut self.state().downstream;
        match found {
            Some(entry) => downstream.settle(id, digest, number, entry.gate().slug(), entry.key_id()),
            None => downstream.release_hold(id, digest, number),
        }
    }

    /// It is unknown what was touched, but perhaps by which revisions.
    pub(crate) fn everything_touched(&self, span: Span, applied: u64) {
        let mut state = self.state();
        for invalidation in state.downstream.everything_touched(span, applied) {
            state.send(invalidation, false);
        }
    }

    /// No change of unknown outcome has a revision after `last`.
    pub(crate) fn known_to(&self, last: u64) {
        self.state().downstream.known_to(last);
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

    /// Removes verifiers that the `DownstreamLeases` has forgotten: none of them can answer any more.
    fn tidy(&mut self) {
        let downstream = &self.downstream;
        if self.lines.len() > downstream.known() {
            self.lines.retain(|id, _| downstream.knows(*id));
            self.deaf.retain(|id| downstream.knows(*id));
        }
    }

    fn close(&mut self, id: ChildId) {
        self.deaf.insert(id);
        if let Some(child) = self.lines.get(&id) {
            child.line.close();
        }
    }

    /// A verifier whose connection cannot take the order is lost: changes wait until its lease is over.
    fn send(&mut self, invalidation: Invalidation, is_last: bool) {
        let Some(child) = self.lines.get(&invalidation.child).map(Arc::clone) else {
            return;
        };
        if self.deaf.contains(&invalidation.child) && !is_last {
            return;
        }
        if !child.line.order(invalidation.order, &invalidation.ended, is_last) {
            self.downstream.lost(invalidation.child);
            self.close(invalidation.child);
        }
    }

    /// The verifier gets no further answers and an order to leave. Its connection is closed soon.
    fn send_away(&mut self, id: ChildId, change: Option<(&ChangeScope, Span)>) {
        let invalidation = self.downstream.send_away(id, change);
        self.deaf.insert(id);
        match invalidation {
            Some(invalidation) => self.send(invalidation, true),
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
