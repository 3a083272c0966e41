//! Holds: which verifier may remember which secret, of which tenant and key.
//!
//! A hold remains until the verifier has acknowledged the order to forget, so that a change before that waits for it
//! too.

use super::ChildId;
use crate::id::KeyId;
use crate::key::Digest;
use std::collections::HashMap;

/// Void holds are removed when there are more of them than valid ones, and more than this.
const VOID_MIN: usize = 10_000;

/// The number of a tenant, assigned by the `DownstreamLeases`.
pub(super) type TenantNumber = u32;
/// During a look-up the tenant of a secret is not known: it may be any.
pub(super) const UNKNOWN: TenantNumber = 0;

/// A verifier may remember a secret, or is looking it up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SecretHold {
    pub(super) child: ChildId,
    /// Two look-ups of one secret may run at once: each releases only its own hold.
    pub(super) number: u64,
    pub(super) tenant: TenantNumber,
    /// The key, once it was found.
    pub(super) key: Option<KeyId>,
    /// The number of the order to forget it; 0 is none.
    pub(super) order: u64,
}

/// The holds of one verifier in one tenant, counted separately before and after each order that covers all of them.
#[derive(Clone, Debug, Default)]
struct TenantHolds {
    /// Holds up to this number are void.
    void_to: u64,
    /// Counts of holds up to a number, and after the one before.
    before: Vec<(u64, usize)>,
    /// The count of those after the last of these numbers.
    after: usize,
}

impl TenantHolds {
    fn count(&self) -> usize {
        self.after + self.before.iter().map(|(_, count)| count).sum::<usize>()
    }

    /// Returns the count that a hold is part of; `None` if it is void.
    fn place(&mut self, number: u64) -> Option<&mut usize> {
        if number <= self.void_to {
            return None;
        }
        // Marks ascend: the first that is not below the number counts the hold.
        let part = self.before.iter_mut().find(|(mark, _)| *mark >= number);
        Some(part.map_or(&mut self.after, |(_, count)| count))
    }

    fn mark(&mut self, mark: u64) {
        self.before.push((mark, std::mem::take(&mut self.after)));
    }

    /// Makes every hold up to a mark void, and returns how many that were.
    fn void(&mut self, mark: u64) -> usize {
        self.void_to = self.void_to.max(mark);
        let gone = self.before.extract_if(.., |(known, _)| *known <= mark);
        gone.map(|(_, count)| count).sum()
    }
}

#[derive(Debug, Default)]
struct OfChild {
    by_tenant: HashMap<TenantNumber, TenantHolds>,
    void_to: u64,
    /// The marks of orders that cover everything, of all tenants.
    marks: Vec<u64>,
    newest: u64,
}

impl OfChild {
    fn held(&mut self, tenant: TenantNumber) -> &mut TenantHolds {
        let (void_to, marks) = (self.void_to, &self.marks);
        self.by_tenant.entry(tenant).or_insert_with(|| TenantHolds {
            void_to,
            before: marks.iter().map(|mark| (*mark, 0)).collect(),
            after: 0,
        })
    }
}

/// All holds of all verifiers.
///
/// All holds of a verifier become void in one step, however many there are, so that one that leaves does not block
/// others.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_secret: HashMap<Digest, Vec<SecretHold>>,
    by_child: HashMap<ChildId, OfChild>,
    last: u64,
    /// How many holds in `by_secret` are valid, and how many void.
    valid: usize,
    void: usize,
}

impl Holds {
    /// Adds a verifier without holds.
    pub(super) fn join(&mut self, child: ChildId) {
        self.by_child.insert(child, OfChild::default());
    }

    /// Removes a verifier. All its holds become void.
    pub(super) fn leave(&mut self, child: ChildId) {
        if let Some(gone) = self.by_child.remove(&child) {
            self.have_become_void(gone.by_tenant.values().map(TenantHolds::count).sum());
        }
    }

    /// Returns the number of valid holds.
    pub(super) fn len(&self) -> usize {
        self.valid
    }

    /// Returns the number of holds of a verifier.
    pub(super) fn count(&self, child: ChildId) -> usize {
        let held = self.by_child.get(&child);
        held.map_or(0, |held| held.by_tenant.values().map(TenantHolds::count).sum())
    }

    /// Whether a verifier may know a secret of a tenant: it holds one, or is looking up one whose tenant is not known
    /// yet.
    pub(super) fn may_know(&self, child: ChildId, tenant: TenantNumber, with_unknown: bool) -> bool {
        let Some(held) = self.by_child.get(&child) else {
            return false;
        };
        let has = |tenant: TenantNumber| held.by_tenant.get(&tenant).is_some_and(|held| held.count() > 0);
        (tenant != UNKNOWN && has(tenant)) || (with_unknown && has(UNKNOWN))
    }

    /// Returns the number of the newest hold of a verifier; 0 if it never had one.
    pub(super) fn newest(&self, child: ChildId) -> u64 {
        self.by_child.get(&child).map_or(0, |held| held.newest)
    }

    /// Adds a hold and returns its number.
    pub(super) fn add(&mut self, child: ChildId, digest: Digest) -> u64 {
        self.last += 1;
        let number = self.last;
        self.by_secret.entry(digest).or_default().push(SecretHold {
            child,
            number,
            tenant: UNKNOWN,
            key: None,
            order: 0,
        });
        self.valid += 1;
        let held = self.by_child.entry(child).or_default();
        held.newest = number;
        held.held(UNKNOWN).after += 1;
        number
    }

    /// A look-up found a secret: notes its tenant and key.
    pub(super) fn settle(&mut self, child: ChildId, digest: &Digest, number: u64, tenant: TenantNumber, key: KeyId) {
        let Some(holds) = self.by_secret.get_mut(digest) else {
            return;
        };
        let own = holds
            .iter_mut()
            .find(|hold| hold.child == child && hold.number == number);
        let (Some(hold), Some(held)) = (own, self.by_child.get_mut(&child)) else {
            return;
        };
        let Some(count) = held.held(hold.tenant).place(number) else {
            return;
        };
        *count -= 1;
        hold.tenant = tenant;
        hold.key = Some(key);
        match held.held(tenant).place(number) {
            Some(count) => *count += 1,
            // Since the look-up began, the verifier has forgotten the tenant, and voids the answer.
            None => self.have_become_void(1),
        }
    }

    /// Of a verifier's holds of a secret that no order covers, keeps only this one.
    pub(super) fn keep_only(
        &mut self,
        child: ChildId,
        digest: &Digest,
        number: u64,
        is_told: impl Fn(&SecretHold) -> bool,
    ) {
        let is_own = |hold: &SecretHold| hold.child == child && !is_told(hold);
        let has = |holds: &Vec<SecretHold>| holds.iter().any(|hold| hold.number == number && is_own(hold));
        if self.by_secret.get(digest).is_some_and(has) {
            self.remove_where(digest, |hold| is_own(hold) && hold.number != number);
        }
    }

    /// Removes one hold.
    pub(super) fn remove(&mut self, child: ChildId, digest: &Digest, number: u64) {
        self.remove_where(digest, |hold| hold.child == child && hold.number == number);
    }

    /// Returns the valid holds of a secret.
    pub(super) fn of_secret<'h>(&'h mut self, digest: &Digest) -> impl Iterator<Item = &'h mut SecretHold> {
        let by_child = &self.by_child;
        let holds = self
            .by_secret
            .get_mut(digest)
            .map(Vec::as_mut_slice)
            .unwrap_or_default();
        holds.iter_mut().filter(move |hold| is_valid(by_child, hold))
    }

    /// A verifier has acknowledged an order for some secrets.
    pub(super) fn forgot(&mut self, child: ChildId, digests: &[Digest], order: u64) {
        for digest in digests {
            self.remove_where(digest, |hold| hold.child == child && hold.order == order);
        }
    }

    /// An order covers all that a verifier holds now, of one tenant or of all. Returns the number of the newest hold.
    pub(super) fn mark(&mut self, child: ChildId, tenant: Option<TenantNumber>) -> u64 {
        let mark = self.last;
        if let Some(held) = self.by_child.get_mut(&child) {
            match tenant {
                Some(tenant) => held.held(tenant).mark(mark),
                None => {
                    held.by_tenant.values_mut().for_each(|held| held.mark(mark));
                    held.marks.push(mark);
                }
            }
        }
        mark
    }

    /// A verifier has forgotten what it held up to a mark, of one tenant or of all.
    pub(super) fn forgot_to(&mut self, child: ChildId, tenant: Option<TenantNumber>, mark: u64) {
        let Some(held) = self.by_child.get_mut(&child) else {
            return;
        };
        let gone = match tenant {
            Some(tenant) => held.held(tenant).void(mark),
            None => {
                held.void_to = held.void_to.max(mark);
                held.marks.retain(|known| *known > mark);
                let gone = held.by_tenant.values_mut().map(|held| held.void(mark)).sum();
                // A tenant that an order of its own has voided beyond the mark stays: made again, it would take void
                // holds for valid ones.
                held.by_tenant.retain(|_, held| held.count() > 0 || held.void_to > mark);
                gone
            }
        };
        self.have_become_void(gone);
    }

    fn have_become_void(&mut self, count: usize) {
        self.valid -= count;
        self.void += count;
        if self.void > self.valid.max(VOID_MIN) {
            self.sweep();
        }
    }

    /// Counts a hold out that was removed from `by_secret`.
    fn count_out(&mut self, hold: SecretHold) {
        let held = self.by_child.get_mut(&hold.child);
        match held.and_then(|held| held.held(hold.tenant).place(hold.number)) {
            Some(count) => {
                *count -= 1;
                self.valid -= 1;
            }
            None => self.void -= 1,
        }
    }

    fn remove_where(&mut self, digest: &Digest, goes: impl Fn(&SecretHold) -> bool) {
        let Some(holds) = self.by_secret.get_mut(digest) else {
            return;
        };
        let gone: Vec<_> = holds.extract_if(.., |hold| goes(hold)).collect();
        if holds.is_empty() {
            self.by_secret.remove(digest);
        }
        for hold in gone {
            self.count_out(hold);
        }
    }

    /// Runs when more holds are void than valid, so its cost is in proportion to what became void.
    fn sweep(&mut self) {
        let by_child = &self.by_child;
        self.by_secret.retain(|_, holds| {
            holds.retain(|hold| is_valid(by_child, hold));
            !holds.is_empty()
        });
        self.void = 0;
    }
}

fn is_valid(by_child: &HashMap<ChildId, OfChild>, hold: &SecretHold) -> bool {
    let Some(held) = by_child.get(&hold.child) else {
        return false;
    };
    let void_to = held
        .by_tenant
        .get(&hold.tenant)
        .map_or(held.void_to, |held| held.void_to);
    hold.number > void_to
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: TenantNumber = 1;
    const OTHER: TenantNumber = 2;

    fn digest(number: usize) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    fn key() -> KeyId {
        KeyId::new(crate::Timestamp::from_millis(1), 0, [0; crate::id::ID_ENTROPY_BYTES])
    }

    fn children(holds: &mut Holds, number: usize) -> Vec<ChildId> {
        holds.of_secret(&digest(number)).map(|hold| hold.child).collect()
    }

    /// Compares the counters with the stored holds.
    fn check(holds: &Holds) {
        let all = || holds.by_secret.values().flatten();
        let valid = all().filter(|hold| is_valid(&holds.by_child, hold)).count();
        assert_eq!((holds.valid, holds.void), (valid, all().count() - valid));
        let counted: usize = holds.by_child.keys().map(|child| holds.count(*child)).sum();
        assert_eq!(counted, valid);
    }

    #[test]
    fn what_a_child_let_go_of_all_at_once_is_nobodys_and_is_counted_so() {
        let mut holds = Holds::default();
        for child in [1, 2] {
            holds.join(child);
            (0..10).for_each(|number| _ = holds.add(child, digest(number)));
        }
        let mark = holds.mark(1, None);
        check(&holds);
        assert_eq!(children(&mut holds, 0), [1, 2], "it has not said so yet");
        let late = holds.add(1, digest(1));
        holds.forgot_to(1, None, mark);
        check(&holds);
        assert_eq!((holds.count(1), holds.count(2)), (1, 10));
        assert_eq!(children(&mut holds, 0), [2]);
        assert_eq!(children(&mut holds, 1), [2, 1], "what came later is another matter");
        holds.remove(1, &digest(1), late);
        holds.leave(2);
        check(&holds);
        assert!(children(&mut holds, 2).is_empty());
    }

    #[test]
    fn a_tenant_is_let_go_of_alone_and_with_what_was_on_its_way() {
        let mut holds = Holds::default();
        holds.join(1);
        let (known, foreign, early) = (
            holds.add(1, digest(1)),
            holds.add(1, digest(2)),
            holds.add(1, digest(3)),
        );
        holds.settle(1, &digest(1), known, ACME, key());
        holds.settle(1, &digest(2), foreign, OTHER, key());
        let mark = holds.mark(1, Some(ACME));
        let late = holds.add(1, digest(4));
        holds.settle(1, &digest(4), late, ACME, key());
        check(&holds);
        holds.forgot_to(1, Some(ACME), mark);
        check(&holds);
        assert!(children(&mut holds, 1).is_empty());
        assert_eq!(children(&mut holds, 2), [1]);
        assert_eq!(children(&mut holds, 4), [1]);
        // The answer to a look-up that the verifier no longer waits for.
        holds.settle(1, &digest(3), early, ACME, key());
        check(&holds);
        assert!(children(&mut holds, 3).is_empty());
        assert!(holds.may_know(1, ACME, true) && !holds.may_know(1, 9, true));
    }

    #[test]
    fn a_question_from_before_everything_was_forgotten_is_settled_as_what_it_was() {
        let mut holds = Holds::default();
        holds.join(1);
        let early = holds.add(1, digest(1));
        let mark = holds.mark(1, None);
        holds.settle(1, &digest(1), early, ACME, key());
        check(&holds);
        holds.forgot_to(1, None, mark);
        check(&holds);
        assert_eq!(holds.count(1), 0);
    }

    #[test]
    fn only_what_was_told_with_an_order_goes_with_its_acknowledgement() {
        let mut holds = Holds::default();
        holds.join(1);
        holds.add(1, digest(1));
        holds.of_secret(&digest(1)).for_each(|hold| hold.order = 7);
        holds.add(1, digest(1));
        holds.forgot(1, &[digest(1)], 7);
        check(&holds);
        assert_eq!(holds.count(1), 1);
    }

    #[test]
    fn void_holds_do_not_pile_up() {
        let mut holds = Holds::default();
        for child in 0..5 {
            holds.join(child);
            (0..VOID_MIN).for_each(|number| _ = holds.add(child, digest(number)));
            holds.leave(child);
            check(&holds);
            assert!(holds.void <= VOID_MIN, "{}", holds.void);
        }
        assert!(holds.by_secret.len() <= VOID_MIN);
    }
}
