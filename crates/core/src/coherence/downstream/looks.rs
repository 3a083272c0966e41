//! Look-ups of verifiers, and their state.

use super::bounds::{CHILDREN_MAX, Class, Full, GOODBYE_MS, HOLDS_MAX, LOOK_UPS_MAX, ORDERS_MAX, OVERDUE_MS};
use super::orders::{Because, Outstanding};
use super::{
    Awaited, COUNTED_EVERY, ChildId, DownstreamLeases, DownstreamVerifier, HELD_FACTOR, Holding, Invalidation, Moment,
    Rule, STEP_MAX_MS, STEP_MIN_MS, Stage, keeps,
};
use crate::id::{KeyId, RootKeyId};
use crate::key::Digest;
use crate::text::Slug;

/// Whether a verifier is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// It is connected.
    Connected,
    /// It was sent away and may still acknowledge.
    Dismissed,
    /// Its connection is closed, and its lease is not over.
    Disconnected,
}

impl Presence {
    /// Returns the word for it in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Dismissed => "dismissed",
            Self::Disconnected => "disconnected",
        }
    }
}

/// The state of a verifier that is connected, or that may still have a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerifierStanding {
    /// Whether it is connected.
    pub presence: Presence,
    /// What is left of its last lease with the margin for its clock, in milliseconds.
    pub lease_left_ms: u64,
    /// Secrets that it may remember.
    pub held: usize,
    /// How long the oldest order is unacknowledged, in milliseconds, and the oldest change that waits for it.
    pub oldest_order: Option<(u64, u64)>,
}

/// Why a look-up of a verifier is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoHold {
    /// It is gone, or was sent away.
    Gone,
    /// The bound of look-ups or of remembered secrets is reached.
    Busy,
}

impl DownstreamVerifier {
    /// Whether its connection ended with an order that a change waits for, and that is not counted yet.
    fn went_owing(&self, now: Moment) -> bool {
        let mut held = self.orders.held(now, self.over_at);
        self.stage == Stage::Gone && !self.is_counted && held.any(|changes| !changes.is_empty())
    }

    /// Returns the orders that it must still acknowledge, or that changes still wait for, oldest first.
    fn open_orders(&self, now: Moment) -> impl Iterator<Item = &Outstanding> {
        let is_gone = self.stage == Stage::Gone;
        self.orders.iter().filter(move |order| !is_gone || !order.is_over(now))
    }
}

impl DownstreamLeases {
    /// Notes that a verifier looks up a secret. Call *before* the look-up: an order for a change between the two is
    /// then sent to the verifier. Returns the number of the hold, and an order if the verifier has looked up too many.
    pub fn hold(&mut self, id: ChildId, digest: Digest, revision: u64) -> Result<(u64, Option<Invalidation>), NoHold> {
        let child = self.children.get(&id).filter(|child| child.stage == Stage::Connected);
        let child = child.ok_or(NoHold::Gone)?;
        // Before anything is noted: a look-up that is refused leaves nothing behind.
        let counts = self.look_ups.counts(&child.class);
        LOOK_UPS_MAX.check(counts).map_err(|_| NoHold::Busy)?;
        let class = child.class.clone();
        let mut order = None;
        if self.is_full(child, id) {
            if self.holds.count(id) >= self.most_held(id).saturating_mul(2) {
                return Err(NoHold::Busy);
            }
            // One at a time: until the verifier acknowledges, it gets at most as many again.
            if !self
                .children
                .get(&id)
                .is_some_and(|child| child.orders.has_everything())
            {
                order = self.forget_everything(id, Because::default(), revision);
            }
        }
        self.look_ups.add(&class);
        if let Some(child) = self.children.get_mut(&id) {
            child.look_ups += 1;
        }
        Ok((self.holds.add(id, digest), order))
    }

    fn most_held(&self, id: ChildId) -> usize {
        let capacity = self.children.get(&id).map_or(0, |child| child.capacity);
        capacity.saturating_mul(HELD_FACTOR).min(HOLDS_MAX.root_key)
    }

    /// Whether a verifier, or those that share a bound with it, hold as much as they may.
    fn is_full(&self, child: &DownstreamVerifier, id: ChildId) -> bool {
        let own = self.holds.count(id);
        if own >= child.capacity.saturating_mul(HELD_FACTOR) || own >= HOLDS_MAX.root_key {
            return true;
        }
        // Summing is linear in the verifiers, so it is done once in many holds: each may exceed the bound by that many.
        if own == 0 || !own.is_multiple_of(COUNTED_EVERY) {
            return false;
        }
        let counts = self.counts(&child.class, |id, _| self.holds.count(id));
        HOLDS_MAX.check([counts[0], counts[1], self.holds.len()]).is_err()
    }

    /// A look-up has found a secret: one hold of it is enough from here on.
    pub fn settle(&mut self, id: ChildId, digest: &Digest, number: u64, tenant: &Slug, key: KeyId) {
        self.looked_up(id);
        let tenant = self.tenant(tenant);
        self.holds.settle(id, digest, number, tenant, key);
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        // A hold with an order stays until that is acknowledged: changes wait for it.
        let sent: Vec<u64> = {
            let own = self.holds.of_secret(digest).filter(|hold| hold.child == id);
            own.filter(|hold| child.orders.that_takes(hold).is_some())
                .map(|hold| hold.number)
                .collect()
        };
        self.holds
            .keep_only(id, digest, number, |hold| sent.contains(&hold.number));
        debug_assert_eq!(self.check_one(id), Ok(()));
    }

    /// A look-up has found nothing, so the hold is removed. Otherwise unknown secrets could fill the memory.
    pub fn release_hold(&mut self, id: ChildId, digest: &Digest, number: u64) {
        self.looked_up(id);
        self.holds.remove(id, digest, number);
    }

    fn looked_up(&mut self, id: ChildId) {
        // One that has left has taken its look-ups out of the count already.
        if let Some(child) = self.children.get_mut(&id) {
            child.look_ups = child.look_ups.saturating_sub(1);
            self.look_ups.remove(&child.class, 1);
        }
    }

    /// Rules R13 and R14: returns the verifiers whose connections must be closed now. They have not acknowledged an
    /// order in time, or their leaving; they get no further grant. Calls more than a quarter of a second apart delay
    /// this.
    ///
    /// A verifier whose connection ended before it acknowledged makes changes wait like a silent one, and is counted
    /// like one. Against its root key that counts only if an order was sent before: a proxy may end connections, and the
    /// verifiers behind it know of no order that is sent afterwards.
    pub fn sweep(&mut self, now: Moment) -> Vec<ChildId> {
        self.look_at_the_clock(now);
        let ticks = self.ticks;
        let mut late = Vec::new();
        for id in &self.waiting {
            let Some(child) = self.children.get_mut(id) else {
                continue;
            };
            let age = child
                .orders
                .oldest()
                .map_or(0, |order| ticks.saturating_sub(order.sent));
            match child.stage {
                Stage::Connected if is_overdue(child, ticks) && keeps(Rule::OverdueEndsGrants) => {
                    child.is_counted = true;
                    self.overdue += 1;
                    if let Some(root_key) = child.class.root_key {
                        self.strikes.note(root_key, now);
                    }
                    late.push(*id);
                }
                Stage::Gone if child.went_owing(now) => {
                    child.is_counted = true;
                    self.overdue += 1;
                    if let Some(root_key) = child.class.root_key.filter(|_| child.ended_owing) {
                        self.strikes.note_ended(root_key, now);
                    }
                }
                Stage::SentAway if age >= GOODBYE_MS => late.push(*id),
                Stage::Connected | Stage::SentAway | Stage::Gone => {}
            }
        }
        for id in &late {
            self.lost(*id);
        }
        self.drop_ended(now);
        debug_assert_eq!(self.check(), Ok(()));
        late
    }

    /// Removes disconnected verifiers that can answer nothing any more.
    pub(super) fn drop_ended(&mut self, now: Moment) {
        let is_dead = |id: &&ChildId| self.children.get(id).is_none_or(|child| child.is_over(now));
        let dead: Vec<_> = self.gone.iter().filter(is_dead).copied().collect();
        for id in dead {
            self.left(id);
        }
    }

    /// Counts the time that this process ran. While the node does not run, a verifier's acknowledgement cannot be read,
    /// so that time does not count.
    pub(super) fn look_at_the_clock(&mut self, now: Moment) {
        let Some(looked) = self.looked else {
            self.looked = Some(now);
            return;
        };
        // Callers read their clocks before they take the lock, so an older reading may come later.
        let passed = now.ms_since(looked);
        if passed >= STEP_MIN_MS && now.is_surely_at_or_after(looked) {
            self.ticks += passed.min(STEP_MAX_MS);
            self.looked = Some(now);
        }
    }

    /// Whether a change waits for a verifier.
    pub fn covers(&mut self, awaited: &Awaited, now: Moment) -> bool {
        self.drop_ended(now);
        if !keeps(Rule::ChildrenAreWaitedFor) {
            return false;
        }
        let waiting = self.waiting.iter().filter_map(|id| self.children.get(id));
        waiting
            .flat_map(|child| child.orders.held(now, child.over_at))
            .any(|changes| changes.covers(awaited))
    }

    /// Returns the changes that wait for verifiers.
    pub fn holding(&mut self, now: Moment) -> Holding {
        self.drop_ended(now);
        let mut all = Holding::default();
        if !keeps(Rule::ChildrenAreWaitedFor) {
            return all;
        }
        let waiting = self.waiting.iter().filter_map(|id| self.children.get(id));
        waiting
            .flat_map(|child| child.orders.held(now, child.over_at))
            .for_each(|changes| all.merge(changes));
        all
    }

    /// Whether some verifier may still answer.
    pub fn has_leases(&mut self, now: Moment) -> bool {
        self.drop_ended(now);
        self.children.values().any(|child| !child.is_over(now))
    }

    /// Returns for how many milliseconds a root key is still refused the stream (rule R15); `None` if it is not.
    pub fn refused_ms(&self, root_key: RootKeyId, now: Moment) -> Option<u64> {
        self.strikes.refused_ms(root_key, now)
    }

    /// Fails if there is no room for one more verifier of a root key and reach.
    pub fn has_room(&self, root_key: Option<RootKeyId>, reach: &crate::access::Reach) -> Result<(), Full> {
        self.room_for(&Class {
            root_key,
            reach: reach.clone(),
        })
    }

    pub(super) fn room_for(&self, class: &Class) -> Result<(), Full> {
        let [root_key, tenant] = self.counts(class, |_, _| 1);
        CHILDREN_MAX.check([root_key, tenant, self.children.len()])
    }

    /// Sums a count over the verifiers of the same root key, and over those that share the tenant bound.
    fn counts(&self, class: &Class, count: impl Fn(ChildId, &DownstreamVerifier) -> usize) -> [usize; 2] {
        let mut counts = [0, 0];
        for (id, child) in self.children.iter().filter(|(_, child)| child.class.is_beside(class)) {
            let own = count(*id, child);
            counts[1] += own;
            if class.root_key.is_some() && child.class.root_key == class.root_key {
                counts[0] += own;
            }
        }
        counts
    }

    /// Returns the number of verifiers that are connected, or disconnected with a lease.
    pub fn known(&self) -> usize {
        self.children.len()
    }

    /// Whether a verifier is still known: connected, or disconnected with a lease.
    pub fn knows(&self, id: ChildId) -> bool {
        self.children.contains_key(&id)
    }

    /// Whether a verifier was sent away and may still acknowledge. Its connection stays for [`GOODBYE_MS`] at most.
    pub fn is_leaving(&self, id: ChildId) -> bool {
        let child = self.children.get(&id);
        child.is_some_and(|child| child.stage == Stage::SentAway)
    }

    /// Returns every verifier that is connected and was not sent away.
    pub fn connected(&self) -> Vec<ChildId> {
        let connected = self
            .children
            .iter()
            .filter(|(_, child)| child.stage == Stage::Connected);
        connected.map(|(id, _)| *id).collect()
    }

    /// Returns the state of a verifier that is connected, or disconnected with a lease: changes wait for both.
    pub fn standing(&self, id: ChildId, now: Moment) -> Option<VerifierStanding> {
        let child = self.children.get(&id)?;
        let presence = match child.stage {
            Stage::Connected => Presence::Connected,
            Stage::SentAway => Presence::Dismissed,
            Stage::Gone if child.is_over(now) => return None,
            Stage::Gone => Presence::Disconnected,
        };
        let left = |end: Moment| end.surely_ms_since(now);
        let age = |order: &Outstanding| {
            let age = self.ticks.saturating_sub(order.sent);
            (age, order.changes.oldest().unwrap_or(0))
        };
        Some(VerifierStanding {
            presence,
            lease_left_ms: child.over_at.map_or(0, left),
            held: self.holds.count(id),
            oldest_order: child.open_orders(now).next().map(age),
        })
    }

    /// Returns the number of connected verifiers.
    pub fn len(&self) -> usize {
        self.children.len() - self.gone.len()
    }

    /// Whether no verifier is connected or could still answer from its lease.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Returns the number of orders that verifiers have not acknowledged. Those of a disconnected one count until the
    /// lease is over that it had when they were sent.
    pub fn orders_outstanding(&self, now: Moment) -> usize {
        let waiting = self.waiting.iter().filter_map(|id| self.children.get(id));
        waiting.map(|child| child.open_orders(now).count()).sum()
    }

    /// Returns the number of verifiers that did not acknowledge in time, or whose connection ended while a change waited
    /// for them.
    pub fn overdue(&self) -> u64 {
        self.overdue
    }
}

/// Whether it has an order that is unacknowledged for too long, by the time that this process ran.
pub(super) fn is_overdue(child: &DownstreamVerifier, ticks: u64) -> bool {
    let is_late = |order: &Outstanding| ticks.saturating_sub(order.sent) >= OVERDUE_MS;
    child.orders.oldest().is_some_and(is_late) || child.orders.len() > ORDERS_MAX
}
