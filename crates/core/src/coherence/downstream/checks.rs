//! Checks of the invariants of downstream verifiers (docs/design/protocol.md, section 6).

use super::holds::TenantNumber;
use super::orders::Outstanding;
use super::{ChildId, DownstreamLeases, DownstreamVerifier, Stage, Takes};
use crate::access::Reach;
use crate::coherence::invariants::{Invariant, InvariantResult, number};

impl DownstreamLeases {
    /// Checks what is always true of verifiers, their orders and their holds. Its cost is in proportion to the
    /// verifiers, the tenants of their holds, and the orders that are not acknowledged.
    pub fn check(&self) -> InvariantResult {
        let mut children = self.children.iter();
        children.try_for_each(|(id, child)| self.check_child(*id, child))?;
        // No other verifier is waited for, or counted as disconnected.
        let waiting = self.children.values().filter(|child| !child.orders.is_empty());
        Invariant::WaitingOrders.same_count(waiting.count(), self.waiting.len())?;
        let gone = self.children.values().filter(|child| child.stage == Stage::Gone);
        Invariant::WaitingOrders.same_count(gone.count(), self.gone.len())?;
        let looking_up = self.children.values().map(|child| child.look_ups);
        Invariant::HoldCounts.same_count(looking_up.sum(), self.look_ups.len())?;
        let held = self.children.keys().map(|id| self.holds.count(*id));
        Invariant::HoldCounts.same_count(held.sum(), self.holds.len())
    }

    /// The same for one verifier, which a step has changed. Nothing is wrong with one that is not known.
    pub(super) fn check_one(&self, id: ChildId) -> InvariantResult {
        let child = self.children.get(&id);
        child.map_or(Ok(()), |child| self.check_child(id, child))
    }

    fn check_child(&self, id: ChildId, child: &DownstreamVerifier) -> InvariantResult {
        let has_orders = !child.orders.is_empty();
        Invariant::WaitingOrders.require(has_orders == self.waiting.contains(&id), number(child.orders.len()), id)?;
        let is_gone = child.stage == Stage::Gone;
        Invariant::WaitingOrders.require(is_gone == self.gone.contains(&id), u64::from(is_gone), id)?;
        child.orders.check()?;
        let mut orders = child.orders.iter();
        orders.try_for_each(|order| {
            self.check_order(child, order)?;
            order.changes.check()
        })
    }

    fn check_order(&self, child: &DownstreamVerifier, order: &Outstanding) -> InvariantResult {
        let is_covered = match (order.over_at, child.over_at) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(end), Some(newest)) => newest.is_surely_at_or_after(end),
        };
        let end = order.over_at.map_or(0, |end| end.boot);
        let newest = child.over_at.map_or(0, |end| end.boot);
        Invariant::OrderLease.require(is_covered, end, newest)?;
        match order.takes {
            Takes::UpTo(Some(tenant), _) => {
                Invariant::TenantReach.require(self.reaches(child, tenant), u64::from(tenant), order.number)
            }
            Takes::UpTo(None, _) | Takes::Secrets(_) => Ok(()),
        }
    }

    fn reaches(&self, child: &DownstreamVerifier, tenant: TenantNumber) -> bool {
        match &child.class.reach {
            Reach::Instance => true,
            Reach::Tenant(slug) => self.tenants.get(slug) == Some(&tenant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::orders::Because;
    use super::super::tests::{acme, at, changed, digest, downstream, slug};
    use super::*;
    use crate::coherence::Moment;
    use std::collections::HashSet;

    /// Returns the invariant that is violated after a wrong step.
    fn violated(step: impl FnOnce(&mut DownstreamLeases, ChildId)) -> Option<Invariant> {
        let (mut downstream, id) = downstream();
        assert_eq!(changed(&mut downstream, 7, &[digest(1)]).len(), 1);
        assert_eq!(downstream.check(), Ok(()));
        step(&mut downstream, id);
        downstream.check().err().map(|violation| violation.invariant)
    }

    #[test]
    fn a_verifier_with_an_order_that_no_change_waits_for_is_reported() {
        assert_eq!(violated(|_, _| {}), None);
        let forgotten = |downstream: &mut DownstreamLeases, id| _ = downstream.waiting.remove(&id);
        assert_eq!(violated(forgotten), Some(Invariant::WaitingOrders));
        let unknown = |downstream: &mut DownstreamLeases, id| _ = downstream.waiting.insert(id + 1);
        assert_eq!(violated(unknown), Some(Invariant::WaitingOrders));
        let closed = |downstream: &mut DownstreamLeases, id| _ = downstream.gone.insert(id);
        assert_eq!(violated(closed), Some(Invariant::WaitingOrders));
    }

    #[test]
    fn an_order_with_a_later_lease_or_about_a_foreign_tenant_is_reported() {
        let early = |downstream: &mut DownstreamLeases, id| {
            let child = downstream.children.get_mut(&id).unwrap();
            child.over_at = Some(Moment {
                raw: at(0).raw,
                ..child.over_at.unwrap()
            });
        };
        assert_eq!(violated(early), Some(Invariant::OrderLease));
        let foreign = |downstream: &mut DownstreamLeases, id| {
            let own = downstream.tenant(&acme());
            let other = downstream.tenant(&slug("other"));
            assert_ne!(own, other);
            let child = downstream.children.get_mut(&id).unwrap();
            child.orders.get_mut(1).unwrap().takes = Takes::UpTo(Some(other), 9);
        };
        assert_eq!(
            violated(foreign),
            Some(Invariant::WaitingOrders),
            "it is not among the wide ones"
        );
        let wide = |downstream: &mut DownstreamLeases, id| {
            let other = downstream.tenant(&slug("other"));
            let child = downstream.children.get_mut(&id).unwrap();
            child.order(Takes::UpTo(Some(other), 9), Because::default(), HashSet::new(), 0);
        };
        assert_eq!(violated(wide), Some(Invariant::TenantReach));
    }

    #[test]
    fn a_hold_or_a_look_up_that_is_counted_wrong_is_reported() {
        let look_up = |downstream: &mut DownstreamLeases, id| {
            downstream.children.get_mut(&id).unwrap().look_ups += 1;
        };
        assert_eq!(violated(look_up), Some(Invariant::HoldCounts));
        let hold = |downstream: &mut DownstreamLeases, id| {
            downstream.holds.leave(id);
            downstream.holds.join(id);
            downstream.holds.add(id + 1, digest(3));
        };
        assert_eq!(violated(hold), Some(Invariant::HoldCounts));
    }
}
