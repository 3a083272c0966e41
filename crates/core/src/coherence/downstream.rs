//! Downstream verifiers of a node: what each may remember, how long it may answer from that, and which orders to forget
//! it has not acknowledged. `Child` and `parent` in names are such a verifier and its node.
//!
//! A verifier looks secrets up at its node, and is sent an order to forget one when a change touches it. It may answer
//! only during leases that the node grants, none of which ends after the node's own. A change is effective at a
//! verifier when it has acknowledged the order, or when the last lease that it can have without the order is over by
//! both clocks. A change never waits for a verifier that cannot know what it touched.

use super::holding::{Awaited, ChangeScope, Holding, Span};
use super::lease::{Moment, wait_ms};
use super::rules::{Rule, keeps};
use crate::id::KeyId;
use crate::key::Digest;
use crate::text::Slug;
use bounds::{Class, Strikes, Tally};
use early::Early;
use holds::{Holds, TenantNumber, UNKNOWN};
use orders::{Because, Orders, Outstanding, Takes};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub mod bounds;
mod checks;
mod early;
mod holds;
mod looks;
mod messages;
mod orders;

pub use bounds::Full;
use looks::is_overdue;
pub use looks::{NoHold, Presence, VerifierStanding};
pub use messages::{Forget, Invalidation, Joining, Order, Touch};

/// The id of one connection of one verifier; never used again.
pub type ChildId = u64;

/// A verifier that has looked up more than this many times its capacity is ordered to forget everything: it evicts
/// entries without a message, so the node cannot release their holds.
const HELD_FACTOR: usize = 4;
/// With more secrets to forget at once, the order is to forget everything of the tenant.
const FORGOTTEN_MAX: usize = 5_000;
/// The holds of a root key and a tenant are summed once in this many holds of one verifier.
const COUNTED_EVERY: usize = 1_024;
/// Time beyond this between two clock readings is not counted against verifiers: this process did not run.
const STEP_MAX_MS: u64 = 500;
/// Shorter steps are added to the next one.
const STEP_MIN_MS: u64 = 10;
/// An order counts as sent at the next clock reading, which is after this time at the latest.
const LOOK_MS: u64 = 250;

/// All verifiers of one node. Decides only; sends nothing.
#[derive(Debug, Default)]
pub struct DownstreamLeases {
    children: BTreeMap<ChildId, DownstreamVerifier>,
    holds: Holds,
    last_id: ChildId,
    /// Verifiers with orders that are not acknowledged.
    waiting: BTreeSet<ChildId>,
    /// Verifiers whose connection is closed, and that may still have a lease.
    gone: BTreeSet<ChildId>,
    tenants: HashMap<Slug, TenantNumber>,
    strikes: Strikes,
    look_ups: Tally,
    /// Milliseconds that this process ran, and when they were last counted.
    ticks: u64,
    looked: Option<Moment>,
    overdue: u64,
    early: Early,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Connected,
    /// It was sent away, and may still acknowledge.
    SentAway,
    /// Its connection is closed: it gets no further orders.
    Gone,
}

#[derive(Debug)]
struct DownstreamVerifier {
    capacity: usize,
    class: Class,
    /// When its last lease is over, however wrong its clock is. `None` before the first.
    over_at: Option<Moment>,
    orders: Orders,
    stage: Stage,
    look_ups: usize,
    /// Whether nothing more is counted against its root key: it was counted already, or this node sent it away.
    is_counted: bool,
    /// Whether an order was unacknowledged when its connection ended.
    ended_owing: bool,
}

impl DownstreamVerifier {
    /// Whether it can have no lease any more.
    fn is_over(&self, now: Moment) -> bool {
        self.over_at.is_none_or(|end| now.is_surely_at_or_after(end))
    }

    fn order(&mut self, takes: Takes, because: Because<'_>, keys: HashSet<KeyId>, sent: u64) -> u64 {
        let number = self.orders.next_number();
        self.orders.push(Outstanding {
            number,
            takes,
            changes: because.changes(),
            keys,
            over_at: self.over_at,
            sent,
        });
        number
    }
}

/// Secrets that one verifier is ordered to forget for one change.
#[derive(Default)]
struct Batch {
    number: u64,
    digests: Vec<Digest>,
    /// The keys of these secrets, as the verifier knows them.
    keys: HashSet<KeyId>,
    ended: Vec<KeyId>,
}

impl DownstreamLeases {
    /// Registers a verifier. Its memory must be empty. Fails if a bound is reached.
    pub fn join(&mut self, joining: &Joining, now: Moment) -> Result<ChildId, Full> {
        // First: verifiers whose leases are over must not take the room of new ones.
        self.drop_ended(now);
        let class = Class {
            root_key: joining.root_key,
            reach: joining.reach.clone(),
        };
        self.room_for(&class)?;
        self.last_id += 1;
        let child = DownstreamVerifier {
            // Its own report. With 0, each look-up would order it to forget everything.
            capacity: joining.capacity.max(1),
            class,
            over_at: None,
            orders: Orders::default(),
            stage: Stage::Connected,
            look_ups: 0,
            is_counted: false,
            ended_owing: false,
        };
        self.children.insert(self.last_id, child);
        self.holds.join(self.last_id);
        debug_assert_eq!(self.check_one(self.last_id), Ok(()));
        Ok(self.last_id)
    }

    /// Notes a lease that is about to be granted, counted from when the verifier sent its request. Call before the
    /// grant is sent. False if nothing may be granted: the verifier is gone, or has an overdue order (rule R13).
    #[must_use = "a child that is gone or overdue must not get a lease"]
    pub fn grant(&mut self, id: ChildId, length_ms: u64, now: Moment) -> bool {
        self.look_at_the_clock(now);
        let ticks = self.ticks;
        let Some(child) = self
            .children
            .get_mut(&id)
            .filter(|child| child.stage == Stage::Connected)
        else {
            return false;
        };
        if keeps(Rule::OverdueEndsGrants) && is_overdue(child, ticks) {
            return false;
        }
        let end = now.plus_ms(wait_ms(length_ms));
        let later = child.over_at.is_none_or(|known| end.is_surely_at_or_after(known));
        // A shorter grant after a longer one ends nothing: the verifier may still answer from the first.
        if later {
            child.over_at = Some(end);
        }
        debug_assert_eq!(self.check_one(id), Ok(()));
        true
    }

    /// Returns the orders for a change that touched some secrets. Call after the node's own memory has forgotten them.
    ///
    /// A verifier with an unacknowledged order for one of the secrets may still know it, so the change joins that order
    /// instead of causing another one. It also joins orders of earlier changes of the same key: such an order may be
    /// for a secret that the key does not have any more, and this change may end the complete key.
    pub fn touched<'d>(
        &mut self,
        touch: &Touch<'_>,
        digests: impl IntoIterator<Item = &'d Digest>,
        ended: &HashSet<KeyId>,
    ) -> Vec<Invalidation> {
        let because = Because::of(touch);
        let mut by_child: BTreeMap<ChildId, Batch> = BTreeMap::new();
        for digest in digests {
            for hold in self.holds.of_secret(digest) {
                let Some(child) = self.children.get_mut(&hold.child) else {
                    continue;
                };
                if let Some(order) = child.orders.that_takes(hold) {
                    if keeps(Rule::LaterChangesJoin) {
                        order.join(because, hold.key);
                    }
                    continue;
                }
                let batch = by_child.entry(hold.child).or_default();
                batch.number = child.orders.next_number();
                // The acknowledgement releases the holds that are marked here, and none that is noted later.
                hold.order = batch.number;
                if batch.digests.last() != Some(digest) {
                    batch.digests.push(*digest);
                }
                batch.keys.extend(hold.key);
                batch
                    .ended
                    .extend(hold.key.filter(|key| ended.contains(key) && !batch.ended.contains(key)));
            }
        }
        let batches = by_child.into_iter();
        let invalidations = batches
            .filter_map(|(id, batch)| self.order_to_forget(id, batch, touch, because))
            .collect();
        self.join_orders_about(touch);
        debug_assert_eq!(self.check(), Ok(()));
        invalidations
    }

    /// The change joins every order about its keys. So do later changes of these keys that arrived before it.
    fn join_orders_about(&mut self, touch: &Touch<'_>) {
        if touch.keys.is_empty() || self.waiting.is_empty() || !keeps(Rule::LaterChangesJoin) {
            return;
        }
        let is_later = |span: &Span| span.last > touch.span.last;
        let early: Vec<_> = self.early.about(touch.keys).filter(is_later).collect();
        let because = Because::of(touch);
        for id in &self.waiting {
            let Some(child) = self.children.get_mut(id) else {
                continue;
            };
            for order in child.orders.about(touch.keys) {
                order.join(because, None);
                for span in &early {
                    order.changes.add(Some(touch.scope), *span);
                }
            }
        }
    }

    /// Notes a change of this node that arrived before earlier ones in the log: their orders about the same keys are
    /// waited for by both. Every change up to `applied` has its orders already.
    pub fn came_early(&mut self, span: Span, keys: &HashSet<KeyId>, applied: u64) {
        self.early.note(span, keys, applied);
    }

    fn order_to_forget(
        &mut self,
        id: ChildId,
        batch: Batch,
        touch: &Touch<'_>,
        because: Because<'_>,
    ) -> Option<Invalidation> {
        let (takes, what) = match (batch.digests.len() > FORGOTTEN_MAX, touch.scope) {
            (false, _) => (Takes::Secrets(batch.digests.clone()), Forget::Secrets(batch.digests)),
            (true, ChangeScope::Tenant(slug)) => {
                let tenant = self.tenant(slug);
                let mark = self.holds.mark(id, Some(tenant));
                (Takes::UpTo(Some(tenant), mark), Forget::Tenant(slug.clone()))
            }
            (true, ChangeScope::Instance) => (Takes::UpTo(None, self.holds.mark(id, None)), Forget::Everything),
        };
        let invalidation = self.order(id, takes, what, (because, batch.keys), touch.sent_as)?;
        Some(Invalidation {
            ended: batch.ended,
            ..invalidation
        })
    }

    /// Returns the orders for a change of something that all secrets of a tenant depend on. Only verifiers that may
    /// know one of these secrets get one (rule R12).
    pub fn tenant_touched(&mut self, slug: &Slug, touch: &Touch<'_>) -> Vec<Invalidation> {
        let tenant = self.tenant(slug);
        let because = Because::of(touch);
        let may_know = |(id, child): (&ChildId, &DownstreamVerifier)| {
            let is_asking = child.class.reach.has(slug);
            (self.holds.may_know(*id, tenant, is_asking) || !keeps(Rule::OnlyOfTheirReach)).then_some(*id)
        };
        let some: Vec<_> = self.children.iter().filter_map(may_know).collect();
        let tell = |id| {
            let newest = self.holds.newest(id);
            let known = self.children.get_mut(&id)?.orders.that_takes_all(Some(tenant), newest);
            if let Some(order) = known {
                order.join(because, None);
                return None;
            }
            let takes = Takes::UpTo(Some(tenant), self.holds.mark(id, Some(tenant)));
            let reason = (because, HashSet::new());
            self.order(id, takes, Forget::Tenant(slug.clone()), reason, touch.sent_as)
        };
        let orders = some.into_iter().filter_map(tell).collect();
        debug_assert_eq!(self.check(), Ok(()));
        orders
    }

    /// Returns the orders for a change of which it is unknown what it touched. `span` has no end while the last
    /// revision is unknown; see [`DownstreamLeases::known_to`].
    pub fn everything_touched(&mut self, span: Span, sent_as: u64) -> Vec<Invalidation> {
        let knows = |id: &ChildId| self.holds.count(*id) > 0;
        let some: Vec<_> = self.children.keys().copied().filter(knows).collect();
        let because = Because {
            span: Some(span),
            ..Because::default()
        };
        let orders = some
            .into_iter()
            .filter_map(|id| self.forget_everything(id, because, sent_as));
        let orders = orders.collect();
        debug_assert_eq!(self.check(), Ok(()));
        orders
    }

    /// No change of unknown outcome has a revision after `last`.
    pub fn known_to(&mut self, last: u64) {
        for id in &self.waiting {
            if let Some(child) = self.children.get_mut(id) {
                child.orders.end_unknown_at(last);
            }
        }
    }

    fn forget_everything(&mut self, id: ChildId, because: Because<'_>, sent_as: u64) -> Option<Invalidation> {
        let newest = self.holds.newest(id);
        let known = self.children.get_mut(&id)?.orders.that_takes_all(None, newest);
        if let Some(order) = known {
            order.join(because, None);
            return None;
        }
        let takes = Takes::UpTo(None, self.holds.mark(id, None));
        self.order(id, takes, Forget::Everything, (because, HashSet::new()), sent_as)
    }

    /// Sends a verifier away, for instance because its root key was revoked (rule R14): it gets no further lease or
    /// answer, and an order to forget everything. Changes of what it knew wait until it acknowledges, or until its
    /// lease is over. `change` is the cause, if there is one. Returns the order at the first call.
    pub fn send_away(&mut self, id: ChildId, change: Option<(&ChangeScope, Span)>) -> Option<Invalidation> {
        let child = self.children.get_mut(&id)?;
        if !keeps(Rule::SentAwayIsWaitedFor) {
            self.left(id);
            return None;
        }
        let because = Because {
            scope: change.map(|(scope, _)| scope),
            span: change.map(|(_, span)| span),
        };
        let is_first = child.stage == Stage::Connected;
        if is_first {
            child.stage = Stage::SentAway;
            child.is_counted = true;
            let takes = Takes::UpTo(None, self.holds.mark(id, None));
            let reason = (because, HashSet::new());
            return self.order(id, takes, Forget::Everything, reason, because.revision());
        }
        // It gets no further orders: another cause waits as long as the first.
        let newest = self.holds.newest(id);
        match child.orders.that_takes_all(None, newest) {
            Some(order) => order.join(because, None),
            None => {
                let takes = Takes::UpTo(None, self.holds.mark(id, None));
                drop(self.order(id, takes, Forget::Everything, (because, HashSet::new()), 0));
            }
        }
        None
    }

    /// Records an order. A disconnected verifier gets no message, and the order waits for the end of its lease.
    fn order(
        &mut self,
        id: ChildId,
        takes: Takes,
        what: Forget,
        (because, keys): (Because<'_>, HashSet<KeyId>),
        revision: u64,
    ) -> Option<Invalidation> {
        let child = self.children.get_mut(&id)?;
        let number = child.order(takes, because, keys, self.ticks + LOOK_MS);
        self.waiting.insert(id);
        Some(Invalidation {
            child: id,
            order: Order { number, revision, what },
            ended: Vec::new(),
        })
    }

    /// A verifier has carried out every order up to this number. One that was sent away is removed with its last order.
    pub fn acknowledged(&mut self, id: ChildId, number: u64) {
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        // A number beyond the last order acknowledges all of them: a verifier that lies deceives itself alone.
        let done = child.orders.acknowledged(number);
        if child.orders.is_empty() {
            self.waiting.remove(&id);
        }
        for order in done {
            match order.takes {
                Takes::Secrets(digests) => self.holds.forgot(id, &digests, order.number),
                Takes::UpTo(tenant, mark) => self.holds.forgot_to(id, tenant, mark),
            }
        }
        // It has forgotten everything and gets nothing more, as if it had left.
        if self
            .children
            .get(&id)
            .is_some_and(|child| child.stage == Stage::SentAway && child.orders.is_empty())
        {
            self.left(id);
        }
        debug_assert_eq!(self.check_one(id), Ok(()));
    }

    /// A verifier has ended its lease and forgotten everything.
    pub fn left(&mut self, id: ChildId) {
        if let Some(child) = self.children.remove(&id) {
            self.look_ups.remove(&child.class, child.look_ups);
        }
        self.holds.leave(id);
        self.waiting.remove(&id);
        self.gone.remove(&id);
        debug_assert_eq!(self.check(), Ok(()));
    }

    /// The connection to a verifier is closed. It may answer until its lease is over, so changes of what it may
    /// remember wait until then.
    pub fn lost(&mut self, id: ChildId) {
        if let Some(child) = self.children.get_mut(&id) {
            child.stage = Stage::Gone;
            child.ended_owing = child.orders.oldest().is_some();
            self.gone.insert(id);
        }
        if !keeps(Rule::ChildrenAreWaitedFor) {
            self.left(id);
        }
        debug_assert_eq!(self.check_one(id), Ok(()));
    }

    fn tenant(&mut self, slug: &Slug) -> TenantNumber {
        if let Some(number) = self.tenants.get(slug) {
            return *number;
        }
        let number = TenantNumber::try_from(self.tenants.len() + 1).unwrap_or(UNKNOWN);
        self.tenants.insert(slug.clone(), number);
        number
    }
}

#[cfg(test)]
mod tests;
