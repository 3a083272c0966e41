//! The verifiers that hang on this one: what each of them may remember, until when it may answer from it, and what it
//! has yet to forget (coherence.md, section 2.5).
//!
//! A child asks its parent for secrets, and is told when one of those is touched by a change. It may answer only during
//! leases that the parent grants, none of which outlasts the parent's own. A change has reached a child when the child
//! has said so, or when the last lease that it can hold is surely over.

use super::lease::{Moment, wait_ms};
use super::rules::{Rule, keeps};
use crate::key::Digest;
use holds::Holds;
use std::collections::{BTreeMap, VecDeque};

mod holds;

/// Names one connection of one child; never used again.
pub type ChildId = u64;

/// A child that asks for more than so many times what it said it can hold is told to forget everything: it forgets on
/// its own without saying so.
const HELD_FACTOR: usize = 4;
/// Whoever has more than this to forget at once forgets everything.
const FORGOTTEN_MAX: usize = 5_000;

/// What a child is told. It carries it out, then acknowledges its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// Its number, counted for each child.
    pub number: u64,
    /// The change that makes it necessary.
    pub revision: u64,
    /// What to forget.
    pub what: Forget,
}

/// What to forget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forget {
    /// These secrets.
    Secrets(Vec<Digest>),
    /// Everything.
    Everything,
}

/// All children of one parent. Decides; sends nothing.
#[derive(Debug, Default)]
pub struct Nursery {
    children: BTreeMap<ChildId, Child>,
    holds: Holds,
    last_id: ChildId,
}

#[derive(Debug)]
struct Child {
    capacity: usize,
    /// When the last lease that it was granted is over, whatever its clock does. `None` before the first.
    over_at: Option<Moment>,
    /// Orders it has not acknowledged, with their revisions, oldest first.
    unacknowledged: VecDeque<(u64, u64)>,
    last_order: u64,
    is_gone: bool,
}

impl Child {
    fn order(&mut self, revision: u64, what: Forget) -> Order {
        self.last_order += 1;
        self.unacknowledged.push_back((self.last_order, revision));
        Order {
            number: self.last_order,
            revision,
            what,
        }
    }

    /// Whether it can hold no lease any more.
    fn is_over(&self, now: Moment) -> bool {
        self.over_at.is_none_or(|end| now.is_surely_at_or_after(end))
    }
}

impl Nursery {
    /// A new child, which says that it remembers at most `capacity` secrets. Its memory must be empty.
    pub fn join(&mut self, capacity: usize) -> ChildId {
        self.last_id += 1;
        let child = Child {
            capacity: capacity.max(1),
            over_at: None,
            unacknowledged: VecDeque::new(),
            last_order: 0,
            is_gone: false,
        };
        self.children.insert(self.last_id, child);
        self.holds.join(self.last_id);
        self.last_id
    }

    /// Notes that a child is about to be granted a lease of a length, counted from when it asked for it. Call before
    /// the grant is sent. False if nothing may be granted: the child is gone, and nobody would tell it what to forget.
    #[must_use = "a child that is gone must not get a lease"]
    pub fn grant(&mut self, id: ChildId, length_ms: u64, now: Moment) -> bool {
        let Some(child) = self.children.get_mut(&id).filter(|child| !child.is_gone) else {
            return false;
        };
        let end = now.plus_ms(wait_ms(length_ms));
        let later = child.over_at.is_none_or(|known| end.is_surely_at_or_after(known));
        if later {
            child.over_at = Some(end);
        }
        true
    }

    /// Notes that a child will be told of a secret. Call *before* the secret is looked up: a change that comes in
    /// between is then told to the child as well. The hold's number, and an order if the child has asked for too many.
    /// `None` if the child is gone: it must be told nothing.
    pub fn hold(&mut self, id: ChildId, digest: Digest, revision: u64) -> Option<(u64, Option<Order>)> {
        let child = self.children.get_mut(&id).filter(|child| !child.is_gone)?;
        let is_full = self.holds.count(id) >= child.capacity.saturating_mul(HELD_FACTOR);
        let order = is_full.then(|| child.order(revision, Forget::Everything));
        if is_full {
            self.holds.void_all_of(id);
        }
        Some((self.holds.add(id, digest), order))
    }

    /// A child was told of a secret: one hold is enough from here on.
    pub fn settle(&mut self, id: ChildId, digest: &Digest, number: u64) {
        self.holds.keep_only(id, digest, number);
    }

    /// A child was told nothing of a secret after all, and so remembers nothing: strangers could fill this otherwise.
    pub fn let_go(&mut self, id: ChildId, digest: &Digest, number: u64) {
        self.holds.remove(id, digest, number);
    }

    /// A change touched some secrets: what to tell whom. Call after the parent's own memory has forgotten them.
    ///
    /// `revision` is the oldest that waits for these orders: not of this change alone, if older ones that touch the same
    /// secrets may still come.
    pub fn touched<'d>(
        &mut self,
        revision: u64,
        digests: impl IntoIterator<Item = &'d Digest>,
    ) -> Vec<(ChildId, Order)> {
        let mut by_child: BTreeMap<ChildId, Vec<Digest>> = BTreeMap::new();
        for digest in digests {
            for child in self.holds.take(digest) {
                let touched = by_child.entry(child).or_default();
                if touched.last() != Some(digest) {
                    touched.push(*digest);
                }
            }
        }
        let mut orders = Vec::with_capacity(by_child.len());
        for (id, touched) in by_child {
            let what = match touched.len() > FORGOTTEN_MAX {
                true => {
                    self.holds.void_all_of(id);
                    Forget::Everything
                }
                false => Forget::Secrets(touched),
            };
            if let Some(child) = self.children.get_mut(&id) {
                orders.push((id, child.order(revision, what)));
            }
        }
        orders
    }

    /// A change touched what many secrets have in common, or nobody knows what: what to tell whom.
    pub fn everything_touched(&mut self, revision: u64) -> Vec<(ChildId, Order)> {
        self.holds.clear();
        let all = self.children.iter_mut();
        all.map(|(id, child)| (*id, child.order(revision, Forget::Everything)))
            .collect()
    }

    /// One child must forget everything, for instance because its credential has changed.
    pub fn dismissed(&mut self, id: ChildId, revision: u64) -> Option<Order> {
        self.holds.void_all_of(id);
        let child = self.children.get_mut(&id)?;
        Some(child.order(revision, Forget::Everything))
    }

    /// A child has carried out every order up to this number.
    pub fn acknowledged(&mut self, id: ChildId, number: u64) {
        if let Some(child) = self.children.get_mut(&id) {
            while child.unacknowledged.front().is_some_and(|(order, _)| *order <= number) {
                child.unacknowledged.pop_front();
            }
        }
    }

    /// A child has given its lease back and forgotten everything.
    pub fn left(&mut self, id: ChildId) {
        self.children.remove(&id);
        self.holds.leave(id);
    }

    /// The connection to a child is gone. It may go on answering until its lease is over, so it is waited for until
    /// then, by changes of what it may remember.
    pub fn lost(&mut self, id: ChildId) {
        if let Some(child) = self.children.get_mut(&id) {
            child.is_gone = true;
        }
        if !keeps(Rule::ChildrenAreWaitedFor) {
            self.left(id);
        }
    }

    /// Every change up to this revision has reached every child; `u64::MAX` if nothing is under way.
    pub fn covered(&mut self, now: Moment) -> u64 {
        if !keeps(Rule::ChildrenAreWaitedFor) {
            return u64::MAX;
        }
        self.bury(now);
        let waiting = self.children.values().filter(|child| !child.is_over(now));
        let oldest = waiting.filter_map(|child| child.unacknowledged.iter().map(|(_, revision)| *revision).min());
        oldest.min().map_or(u64::MAX, |revision| revision.saturating_sub(1))
    }

    /// Whether some child may still answer.
    pub fn has_leases(&mut self, now: Moment) -> bool {
        self.bury(now);
        self.children.values().any(|child| !child.is_over(now))
    }

    /// Every child that is connected.
    pub fn connected(&self) -> Vec<ChildId> {
        let connected = self.children.iter().filter(|(_, child)| !child.is_gone);
        connected.map(|(id, _)| *id).collect()
    }

    /// Children that are connected.
    pub fn len(&self) -> usize {
        self.children.values().filter(|child| !child.is_gone).count()
    }

    /// Whether there are none, not even ones that are gone and could still answer.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Forgets those who are gone and can answer nothing any more.
    fn bury(&mut self, now: Moment) {
        let is_dead = |child: &Child| child.is_gone && child.is_over(now);
        let dead: Vec<_> = self
            .children
            .iter()
            .filter(|(_, child)| is_dead(child))
            .map(|(id, _)| *id)
            .collect();
        for id in dead {
            self.left(id);
        }
    }
}

#[cfg(test)]
mod tests;
