//! Which child may remember which secret.

use super::ChildId;
use crate::key::Digest;
use std::collections::HashMap;

/// Void holds are swept out when they are more than the valid ones, and more than this.
const VOID_MIN: usize = 10_000;

/// A child may come to remember a secret, or does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Hold {
    child: ChildId,
    /// Two questions about one secret may be under way at once: each lets go only of its own.
    number: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Its valid holds: a few more than secrets that it may remember.
    count: usize,
    /// Its holds up to this number are void.
    void_to: u64,
}

/// All holds of all children.
///
/// Whatever a child holds becomes void in one step, however much it is: a child that leaves holds nobody up.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_secret: HashMap<Digest, Vec<Hold>>,
    by_child: HashMap<ChildId, Held>,
    last: u64,
    /// How many of those in `by_secret` are valid, and how many void.
    valid: usize,
    void: usize,
}

impl Holds {
    /// A child that holds nothing yet.
    pub(super) fn join(&mut self, child: ChildId) {
        self.by_child.insert(child, Held::default());
    }

    /// A child that holds nothing any more, nor will.
    pub(super) fn leave(&mut self, child: ChildId) {
        self.void_all_of(child);
        self.by_child.remove(&child);
    }

    /// How many holds a child has.
    pub(super) fn count(&self, child: ChildId) -> usize {
        self.by_child.get(&child).map_or(0, |held| held.count)
    }

    /// Adds one, and gives its number.
    pub(super) fn add(&mut self, child: ChildId, digest: Digest) -> u64 {
        self.last += 1;
        let number = self.last;
        self.by_secret.entry(digest).or_default().push(Hold { child, number });
        self.valid += 1;
        self.by_child.entry(child).or_default().count += 1;
        number
    }

    /// Of all that a child has of a secret, keeps this one, if it is valid.
    pub(super) fn keep_only(&mut self, child: ChildId, digest: &Digest, number: u64) {
        let own = Hold { child, number };
        let is_there = self.by_secret.get(digest).is_some_and(|holds| holds.contains(&own));
        if is_there && self.is_valid(own) {
            self.remove_where(digest, |hold| hold.child == child && hold.number != number);
        }
    }

    /// Lets go of one.
    pub(super) fn remove(&mut self, child: ChildId, digest: &Digest, number: u64) {
        self.remove_where(digest, |hold| *hold == Hold { child, number });
    }

    /// Lets go of a secret, and names every child that held it; one may be named several times.
    pub(super) fn take(&mut self, digest: &Digest) -> Vec<ChildId> {
        let holds = self.by_secret.remove(digest).unwrap_or_default();
        let mut children = Vec::with_capacity(holds.len());
        for hold in holds {
            if self.count_out(hold) {
                children.push(hold.child);
            }
        }
        children
    }

    /// Lets go of everything that a child holds.
    pub(super) fn void_all_of(&mut self, child: ChildId) {
        let last = self.last;
        let Some(held) = self.by_child.get_mut(&child) else {
            return;
        };
        self.valid -= held.count;
        self.void += held.count;
        *held = Held {
            count: 0,
            void_to: last,
        };
        if self.void > self.valid.max(VOID_MIN) {
            self.sweep();
        }
    }

    /// Lets go of everything.
    pub(super) fn clear(&mut self) {
        self.by_secret.clear();
        (self.valid, self.void) = (0, 0);
        self.by_child.values_mut().for_each(|held| held.count = 0);
    }

    fn is_valid(&self, hold: Hold) -> bool {
        let held = self.by_child.get(&hold.child);
        held.is_some_and(|held| hold.number > held.void_to)
    }

    /// One is no longer in `by_secret`. Whether it was valid.
    fn count_out(&mut self, hold: Hold) -> bool {
        let is_valid = self.is_valid(hold);
        match self.by_child.get_mut(&hold.child).filter(|_| is_valid) {
            Some(held) => {
                held.count -= 1;
                self.valid -= 1;
            }
            None => self.void -= 1,
        }
        is_valid
    }

    fn remove_where(&mut self, digest: &Digest, goes: impl Fn(&Hold) -> bool) {
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

    /// In proportion to what became void since the last time, so that no step costs more than those before it saved.
    fn sweep(&mut self) {
        let by_child = &self.by_child;
        let is_valid = |hold: &Hold| by_child.get(&hold.child).is_some_and(|held| hold.number > held.void_to);
        self.by_secret.retain(|_, holds| {
            holds.retain(is_valid);
            !holds.is_empty()
        });
        self.void = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    /// What is counted is what is there.
    fn check(holds: &Holds) {
        let all = || holds.by_secret.values().flatten();
        let valid = all().filter(|hold| holds.is_valid(**hold)).count();
        assert_eq!((holds.valid, holds.void), (valid, all().count() - valid));
        let counted: usize = holds.by_child.values().map(|held| held.count).sum();
        assert_eq!(counted, valid);
    }

    #[test]
    fn what_a_child_let_go_of_all_at_once_is_nobodys_and_is_counted_so() {
        let mut holds = Holds::default();
        for child in [1, 2] {
            holds.join(child);
            (0..10).for_each(|number| _ = holds.add(child, digest(number)));
        }
        holds.void_all_of(1);
        check(&holds);
        assert_eq!((holds.count(1), holds.count(2)), (0, 10));
        assert_eq!(holds.take(&digest(0)), [2]);
        let again = holds.add(1, digest(1));
        holds.keep_only(1, &digest(1), again);
        check(&holds);
        assert_eq!(holds.take(&digest(1)), [2, 1]);
        holds.leave(2);
        check(&holds);
        assert!(holds.take(&digest(2)).is_empty());
        check(&holds);
        holds.clear();
        check(&holds);
    }

    #[test]
    fn a_void_hold_makes_no_valid_one_superfluous() {
        let mut holds = Holds::default();
        holds.join(1);
        let early = holds.add(1, digest(1));
        holds.void_all_of(1);
        let late = holds.add(1, digest(1));
        holds.keep_only(1, &digest(1), early);
        holds.remove(1, &digest(1), early);
        check(&holds);
        assert_eq!((holds.count(1), late), (1, 2));
        assert_eq!(holds.take(&digest(1)), [1]);
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
