//! Orders that a verifier has not acknowledged, and the changes that wait for each.

use super::Touch;
use super::holds::{SecretHold, TenantNumber, UNKNOWN};
use crate::coherence::Moment;
use crate::coherence::holding::{ChangeScope, Holding, Span};
use crate::coherence::invariants::{Invariant, InvariantResult, number};
use crate::coherence::rules::{Rule, keeps};
use crate::id::KeyId;
use crate::key::Digest;
use std::collections::{HashSet, VecDeque};

/// What an order covers.
#[derive(Debug)]
pub(super) enum Takes {
    Secrets(Vec<Digest>),
    /// Everything up to a mark: of one tenant, or of all.
    UpTo(Option<TenantNumber>, u64),
}

/// An order that is not acknowledged.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) number: u64,
    pub(super) takes: Takes,
    /// The changes that wait for it.
    pub(super) changes: Holding,
    /// The keys of the secrets that it covers, if the verifier got an answer for them. A secret that was still being
    /// looked up has no key yet; its answer is older than this order, and void for the verifier.
    pub(super) keys: HashSet<KeyId>,
    /// When the verifier's lease at the time of the order is over. A later grant comes after the order on the same
    /// connection, so a verifier that has the grant has carried out the order.
    pub(super) over_at: Option<Moment>,
    /// By the `DownstreamLeases`'s count of the time that this process ran.
    pub(super) sent: u64,
}

impl Outstanding {
    /// Whether no verifier can answer any more without having carried it out.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        self.over_at.is_none_or(|end| now.is_surely_at_or_after(end))
    }

    /// One more change waits for it, perhaps for a secret of a key.
    pub(super) fn join(&mut self, because: Because<'_>, key: Option<KeyId>) {
        because.add_to(&mut self.changes);
        self.keys.extend(key);
    }

    fn takes(&self, hold: &SecretHold) -> bool {
        match self.takes {
            Takes::Secrets(_) => hold.order == self.number,
            Takes::UpTo(tenant, mark) => {
                let is_of = tenant.is_none_or(|tenant| tenant == hold.tenant || hold.tenant == UNKNOWN);
                hold.number <= mark && is_of
            }
        }
    }
}

/// The orders of one verifier, oldest first.
#[derive(Debug, Default)]
pub(super) struct Orders {
    outstanding: VecDeque<Outstanding>,
    /// Numbers of those that cover more than named secrets.
    wide: Vec<u64>,
    last: u64,
}

impl Orders {
    pub(super) fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.outstanding.len()
    }

    /// Returns all of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Outstanding> {
        self.outstanding.iter()
    }

    pub(super) fn oldest(&self) -> Option<&Outstanding> {
        self.outstanding.front()
    }

    /// Checks [`Invariant::WaitingOrders`] of the list itself: orders are found by their numbers, and those that cover
    /// more than named secrets by `wide`.
    pub(super) fn check(&self) -> InvariantResult {
        let numbers = self.outstanding.iter().map(|order| order.number);
        let is_ascending = numbers.clone().is_sorted_by(|one, next| one < next);
        let newest = numbers.max().unwrap_or(0);
        Invariant::WaitingOrders.require(is_ascending && newest <= self.last, newest, self.last)?;
        let wide = self
            .outstanding
            .iter()
            .filter(|order| matches!(order.takes, Takes::UpTo(..)));
        let is_known = wide.map(|order| order.number).eq(self.wide.iter().copied());
        let (found, allowed) = (number(self.wide.len()), number(self.outstanding.len()));
        Invariant::WaitingOrders.require(is_known, found, allowed)
    }

    /// Returns the number of the next order.
    pub(super) fn next_number(&self) -> u64 {
        self.last + 1
    }

    pub(super) fn push(&mut self, order: Outstanding) {
        self.last = order.number;
        if matches!(order.takes, Takes::UpTo(..)) {
            self.wide.push(order.number);
        }
        self.outstanding.push_back(order);
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Outstanding> {
        let place = self
            .outstanding
            .binary_search_by_key(&number, |order| order.number)
            .ok()?;
        self.outstanding.get_mut(place)
    }

    /// Returns the order that already covers a hold.
    pub(super) fn that_takes(&mut self, hold: &SecretHold) -> Option<&mut Outstanding> {
        let wide = self.wide.iter().copied();
        let candidates: Vec<u64> = [hold.order]
            .into_iter()
            .filter(|number| *number > 0)
            .chain(wide)
            .collect();
        let number = candidates.into_iter().find(|number| {
            let place = self.outstanding.binary_search_by_key(number, |order| order.number).ok();
            place
                .and_then(|place| self.outstanding.get(place))
                .is_some_and(|order| order.takes(hold))
        })?;
        self.get_mut(number)
    }

    /// Returns the order that already covers all of a tenant, or everything, up to the verifier's newest hold.
    pub(super) fn that_takes_all(&mut self, tenant: Option<TenantNumber>, newest: u64) -> Option<&mut Outstanding> {
        let wide = self.wide.clone();
        let number = wide.into_iter().find(|number| {
            let place = self.outstanding.binary_search_by_key(number, |order| order.number).ok();
            let order = place.and_then(|place| self.outstanding.get(place));
            order.is_some_and(|order| match order.takes {
                Takes::UpTo(of, mark) => mark >= newest && (of.is_none() || of == tenant),
                Takes::Secrets(_) => false,
            })
        })?;
        self.get_mut(number)
    }

    /// Returns the orders that cover a secret of one of these keys.
    pub(super) fn about<'o>(&'o mut self, keys: &'o HashSet<KeyId>) -> impl Iterator<Item = &'o mut Outstanding> {
        let is_about = |order: &&mut Outstanding| !order.keys.is_disjoint(keys);
        self.outstanding.iter_mut().filter(is_about)
    }

    /// Whether an order to forget everything is not acknowledged.
    pub(super) fn has_everything(&self) -> bool {
        let is_it = |order: &Outstanding| matches!(order.takes, Takes::UpTo(None, _));
        !self.wide.is_empty() && self.outstanding.iter().any(is_it)
    }

    /// Removes and returns the acknowledged orders.
    pub(super) fn acknowledged(&mut self, number: u64) -> Vec<Outstanding> {
        let count = self
            .outstanding
            .iter()
            .take_while(|order| order.number <= number)
            .count();
        self.wide.retain(|wide| *wide > number);
        self.outstanding.drain(..count).collect()
    }

    /// Rule R13: returns all changes that still wait. For each order, the lease counts that the verifier had when the
    /// order was sent. `present` is the end of its present lease, which came later.
    pub(super) fn held(&self, now: Moment, present: Option<Moment>) -> impl Iterator<Item = &Holding> {
        let is_over = move |order: &Outstanding| match keeps(Rule::LeaseGivenBefore) {
            true => order.is_over(now),
            false => present.is_none_or(|end| now.is_surely_at_or_after(end)),
        };
        self.outstanding
            .iter()
            .filter(move |order| !is_over(order))
            .map(|order| &order.changes)
    }

    /// No change of unknown outcome has a revision after `last`.
    pub(super) fn end_unknown_at(&mut self, last: u64) {
        for order in &mut self.outstanding {
            order.changes.end_unknown_at(last);
        }
    }
}

/// The changes that cause an order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Because<'b> {
    pub(super) scope: Option<&'b ChangeScope>,
    pub(super) span: Option<Span>,
}

impl<'b> Because<'b> {
    pub(super) fn of(touch: &Touch<'b>) -> Self {
        Self {
            scope: Some(touch.scope),
            span: Some(touch.span),
        }
    }

    pub(super) fn add_to(&self, changes: &mut Holding) {
        if let Some(span) = self.span {
            changes.add(self.scope, span);
        }
    }

    pub(super) fn changes(&self) -> Holding {
        let mut changes = Holding::default();
        self.add_to(&mut changes);
        changes
    }

    /// Returns the newest revision to name in an order; 0 if there is none.
    pub(super) fn revision(&self) -> u64 {
        self.span
            .map_or(0, |span| if span.last == u64::MAX { span.first } else { span.last })
    }
}
