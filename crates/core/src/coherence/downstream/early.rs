//! Changes of this node that arrived before earlier ones in the log.

use crate::coherence::holding::Span;
use crate::id::KeyId;
use std::collections::{HashSet, VecDeque};

/// Most keys that are stored of such changes. Beyond it the oldest changes count as being about any key.
const KEYS_MAX: usize = 10_000;

/// Changes that came early, and their keys.
#[derive(Debug, Default)]
pub(super) struct Early {
    changes: VecDeque<(Span, HashSet<KeyId>)>,
    /// The number of keys in `changes`.
    keys: usize,
    /// The changes whose keys were dropped.
    of_any_key: Option<Span>,
}

impl Early {
    /// Notes a change. Those up to `applied` are no longer early.
    pub(super) fn note(&mut self, span: Span, keys: &HashSet<KeyId>, applied: u64) {
        while self.changes.front().is_some_and(|(span, _)| span.last <= applied) {
            self.take_oldest();
        }
        self.of_any_key = self.of_any_key.filter(|span| span.last > applied);
        if keys.is_empty() {
            return;
        }
        self.keys += keys.len();
        self.changes.push_back((span, keys.clone()));
        while self.keys > KEYS_MAX
            && let Some(oldest) = self.take_oldest()
        {
            let widest = self.of_any_key.get_or_insert(oldest);
            widest.first = widest.first.min(oldest.first);
            widest.last = widest.last.max(oldest.last);
        }
    }

    fn take_oldest(&mut self) -> Option<Span> {
        let (span, keys) = self.changes.pop_front()?;
        self.keys -= keys.len();
        Some(span)
    }

    /// Returns the changes that are about one of these keys.
    pub(super) fn about<'e>(&'e self, keys: &'e HashSet<KeyId>) -> impl Iterator<Item = Span> + 'e {
        let is_about = |(_, known): &&(Span, HashSet<KeyId>)| !known.is_disjoint(keys);
        let known = self.changes.iter().filter(is_about).map(|(span, _)| *span);
        known.chain(self.of_any_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(number: u8) -> HashSet<KeyId> {
        let time = crate::Timestamp::from_millis(1);
        HashSet::from([KeyId::new(time, 0, [number; crate::id::ID_ENTROPY_BYTES])])
    }

    #[test]
    fn what_came_early_is_known_by_its_key_until_all_before_it_has_come() {
        let mut early = Early::default();
        early.note(Span::one(20), &keys(1), 18);
        early.note(Span::one(21), &keys(2), 18);
        let about = |early: &Early, number| early.about(&keys(number)).collect::<Vec<_>>();
        assert_eq!(about(&early, 1), [Span::one(20)]);
        assert_eq!(about(&early, 3), []);
        early.note(Span::one(23), &keys(3), 20);
        assert_eq!((about(&early, 1), about(&early, 2)), (vec![], vec![Span::one(21)]));
    }

    #[test]
    fn what_is_too_much_is_about_any_key() {
        let mut early = Early::default();
        for revision in 0..=u64::try_from(KEYS_MAX).unwrap() + 1 {
            early.note(Span::one(100 + revision), &keys(1), 18);
        }
        assert_eq!(
            early.about(&keys(2)).collect::<Vec<_>>(),
            [Span { first: 100, last: 101 }]
        );
        early.note(Span::one(50_000), &keys(3), 49_999);
        assert_eq!(early.keys, 1, "what is early no more is forgotten");
        assert_eq!(early.about(&keys(2)).count(), 0);
    }
}
