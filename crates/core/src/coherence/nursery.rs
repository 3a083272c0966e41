//! The verifiers that hang on this one: what each of them may remember, until when it may answer from it, and what it
//! has yet to forget.
//!
//! A child asks its parent for secrets, and is told when one of those is touched by a change. It may answer only during
//! leases that the parent grants, none of which outlasts the parent's own. A change has reached a child when the child
//! has said so, or when the last lease that it can hold without having been told is surely over. A change of what a
//! child does not know waits for it never.

use super::holding::{Awaited, Holding, Scope, Span};
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
mod early;
mod holds;
mod looks;
mod messages;
mod orders;

pub use bounds::Full;
pub use looks::{NotTold, Standing};
pub use messages::{Forget, Joining, Order, Told, Touch};

/// Names one connection of one child; never used again.
pub type ChildId = u64;

/// A child that asks for more than so many times what it said it can hold is told to forget everything: it forgets on
/// its own without saying so.
const HELD_FACTOR: usize = 4;
/// Whoever has more than this to forget at once forgets everything of the tenant.
const FORGOTTEN_MAX: usize = 5_000;
/// How many more secrets a child is told of between two looks at what its root key and its tenant hold in all.
const COUNTED_EVERY: usize = 1_024;
/// More time than this between two looks at the clock was not the children's: this process did not run.
const STEP_MAX_MS: u64 = 500;
/// Shorter steps are not worth adding up.
const STEP_MIN_MS: u64 = 10;
/// An order counts as sent at the next look at the clock, which comes after this time at the latest.
const LOOK_MS: u64 = 250;

/// All children of one parent. Decides; sends nothing.
#[derive(Debug, Default)]
pub struct Nursery {
    children: BTreeMap<ChildId, Child>,
    holds: Holds,
    last_id: ChildId,
    /// Children with orders that are not acknowledged.
    waiting: BTreeSet<ChildId>,
    /// Children that are not connected.
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
    /// It was sent away, and may still say that it went.
    SentAway,
    /// Nobody hears of it any more.
    Gone,
}

#[derive(Debug)]
struct Child {
    capacity: usize,
    class: Class,
    /// When the last lease that it was granted is over, whatever its clock does. `None` before the first.
    over_at: Option<Moment>,
    orders: Orders,
    stage: Stage,
    look_ups: usize,
}

impl Child {
    /// Whether it can hold no lease any more.
    fn is_over(&self, now: Moment) -> bool {
        self.over_at.is_none_or(|end| now.is_surely_at_or_after(end))
    }

    fn order(&mut self, takes: Takes, because: Because<'_>, keys: HashSet<KeyId>, sent: u64) -> u64 {
        let number = self.orders.next_number();
        self.orders.push(Outstanding {
            number,
            takes,
            told: because.told(),
            keys,
            over_at: self.over_at,
            sent,
        });
        number
    }
}

/// Secrets that one child is to forget for one change.
#[derive(Default)]
struct Batch {
    number: u64,
    digests: Vec<Digest>,
    /// The keys that the child knows these secrets to be of.
    keys: HashSet<KeyId>,
    ended: Vec<KeyId>,
}

impl Nursery {
    /// A new child. Its memory must be empty. Refused if there are as many as there may be.
    pub fn join(&mut self, joining: &Joining, now: Moment) -> Result<ChildId, Full> {
        self.bury(now);
        let class = Class {
            root_key: joining.root_key,
            reach: joining.reach.clone(),
        };
        self.room_for(&class)?;
        self.last_id += 1;
        let child = Child {
            capacity: joining.capacity.max(1),
            class,
            over_at: None,
            orders: Orders::default(),
            stage: Stage::Connected,
            look_ups: 0,
        };
        self.children.insert(self.last_id, child);
        self.holds.join(self.last_id);
        Ok(self.last_id)
    }

    /// Notes that a child is about to be granted a lease of a length, counted from when it asked for it. Call before
    /// the grant is sent. False if nothing may be granted: the child is gone, or does not say that it forgets what it
    /// is told to forget (rule R13).
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
        if later {
            child.over_at = Some(end);
        }
        true
    }

    /// A change touched some secrets: what to tell whom. Call after the parent's own memory has forgotten them.
    ///
    /// A child that was told of a secret before and has not said that it forgot it may still know it: the change then
    /// waits for that order. So it does for an order of an earlier change of the same key: that one may have taken a secret
    /// that the key does not have any more, and this one says of the key as a whole that it is over.
    pub fn touched<'d>(
        &mut self,
        touch: &Touch<'_>,
        digests: impl IntoIterator<Item = &'d Digest>,
        ended: &HashSet<KeyId>,
    ) -> Vec<Told> {
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
        let told = batches
            .filter_map(|(id, batch)| self.order_to_forget(id, batch, touch, because))
            .collect();
        self.join_orders_about(touch);
        told
    }

    /// The change waits for every order about its keys, and so do later ones of these keys that came before it.
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
                    order.told.add(Some(touch.scope), *span);
                }
            }
        }
    }

    /// A change of this node's own comes before others that precede it: what these take that was the same key's waits for
    /// both. `applied`: up to here all changes were told.
    pub fn came_early(&mut self, span: Span, keys: &HashSet<KeyId>, applied: u64) {
        self.early.note(span, keys, applied);
    }

    fn order_to_forget(&mut self, id: ChildId, batch: Batch, touch: &Touch<'_>, because: Because<'_>) -> Option<Told> {
        let (takes, what) = match (batch.digests.len() > FORGOTTEN_MAX, touch.scope) {
            (false, _) => (Takes::Secrets(batch.digests.clone()), Forget::Secrets(batch.digests)),
            (true, Scope::Tenant(slug)) => {
                let tenant = self.tenant(slug);
                let mark = self.holds.mark(id, Some(tenant));
                (Takes::UpTo(Some(tenant), mark), Forget::Tenant(slug.clone()))
            }
            (true, Scope::Instance) => (Takes::UpTo(None, self.holds.mark(id, None)), Forget::Everything),
        };
        let told = self.order(id, takes, what, (because, batch.keys), touch.told_as)?;
        Some(Told {
            ended: batch.ended,
            ..told
        })
    }

    /// A change touched what all secrets of a tenant have in common: what to tell whom. It is told to those that may
    /// know one of them, and to nobody else (rule R12).
    pub fn tenant_touched(&mut self, slug: &Slug, touch: &Touch<'_>) -> Vec<Told> {
        let tenant = self.tenant(slug);
        let because = Because::of(touch);
        let may_know = |(id, child): (&ChildId, &Child)| {
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
            self.order(id, takes, Forget::Tenant(slug.clone()), reason, touch.told_as)
        };
        some.into_iter().filter_map(tell).collect()
    }

    /// Nobody knows what was touched: what to tell whom. `span` is open where the last revision is not known yet; then
    /// see [`Nursery::known_to`].
    pub fn everything_touched(&mut self, span: Span, told_as: u64) -> Vec<Told> {
        let knows = |id: &ChildId| self.holds.count(*id) > 0;
        let some: Vec<_> = self.children.keys().copied().filter(knows).collect();
        let because = Because {
            span: Some(span),
            ..Because::default()
        };
        some.into_iter()
            .filter_map(|id| self.forget_everything(id, because, told_as))
            .collect()
    }

    /// It is known now that what nobody knew of was not after a revision.
    pub fn known_to(&mut self, last: u64) {
        for id in &self.waiting {
            if let Some(child) = self.children.get_mut(id) {
                child.orders.end_unknown_at(last);
            }
        }
    }

    fn forget_everything(&mut self, id: ChildId, because: Because<'_>, told_as: u64) -> Option<Told> {
        let newest = self.holds.newest(id);
        let known = self.children.get_mut(&id)?.orders.that_takes_all(None, newest);
        if let Some(order) = known {
            order.join(because, None);
            return None;
        }
        let takes = Takes::UpTo(None, self.holds.mark(id, None));
        self.order(id, takes, Forget::Everything, (because, HashSet::new()), told_as)
    }

    /// A child must go, for instance because its root key was revoked (rule R14): it gets no lease and no answer any more,
    /// and is told to forget everything. What it knew waits until it says that it did, or until its lease is over.
    /// `change` is the one that it goes for, if there is one. The order, if it is the first that says so.
    pub fn send_away(&mut self, id: ChildId, change: Option<(&Scope, Span)>) -> Option<Told> {
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
            let takes = Takes::UpTo(None, self.holds.mark(id, None));
            let reason = (because, HashSet::new());
            return self.order(id, takes, Forget::Everything, reason, because.revision());
        }
        // It hears nothing any more: another change that it goes for waits as long as the first.
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

    /// What is ordered of a child that is gone is told to nobody, and waits for the end of its lease all the same.
    fn order(
        &mut self,
        id: ChildId,
        takes: Takes,
        what: Forget,
        (because, keys): (Because<'_>, HashSet<KeyId>),
        revision: u64,
    ) -> Option<Told> {
        let child = self.children.get_mut(&id)?;
        let number = child.order(takes, because, keys, self.ticks + LOOK_MS);
        self.waiting.insert(id);
        Some(Told {
            child: id,
            order: Order { number, revision, what },
            ended: Vec::new(),
        })
    }

    /// A child has carried out every order up to this number. One that was sent away is gone with that.
    pub fn acknowledged(&mut self, id: ChildId, number: u64) {
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
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
        // It has forgotten everything and gets nothing more: it is as if it had left.
        if self
            .children
            .get(&id)
            .is_some_and(|child| child.stage == Stage::SentAway && child.orders.is_empty())
        {
            self.left(id);
        }
    }

    /// A child has given its lease back and forgotten everything.
    pub fn left(&mut self, id: ChildId) {
        if let Some(child) = self.children.remove(&id) {
            self.look_ups.remove(&child.class, child.look_ups);
        }
        self.holds.leave(id);
        self.waiting.remove(&id);
        self.gone.remove(&id);
    }

    /// The connection to a child is gone. It may go on answering until its lease is over, so it is waited for until
    /// then, by changes of what it may remember.
    pub fn lost(&mut self, id: ChildId) {
        if let Some(child) = self.children.get_mut(&id) {
            child.stage = Stage::Gone;
            self.gone.insert(id);
        }
        if !keeps(Rule::ChildrenAreWaitedFor) {
            self.left(id);
        }
    }

    fn tenant(&mut self, slug: &Slug) -> TenantNumber {
        if let Some(number) = self.tenants.get(slug) {
            return *number;
        }
        let number = TenantNumber::try_from(self.tenants.len() + 1).unwrap_or(UNKNOWN);
        self.tenants.insert(slug.clone(), number);
        number
    }

    /// Forgets those who are gone and can answer nothing any more.
    fn bury(&mut self, now: Moment) {
        let is_dead = |id: &&ChildId| self.children.get(id).is_none_or(|child| child.is_over(now));
        let dead: Vec<_> = self.gone.iter().filter(is_dead).copied().collect();
        for id in dead {
            self.left(id);
        }
    }
}

/// Whether it has left an order unacknowledged for too long, by the time that this process ran.
fn is_overdue(child: &Child, ticks: u64) -> bool {
    let is_late = |order: &Outstanding| ticks.saturating_sub(order.sent) >= bounds::OVERDUE_MS;
    child.orders.oldest().is_some_and(is_late) || child.orders.len() > bounds::ORDERS_MAX
}

#[cfg(test)]
mod tests;
