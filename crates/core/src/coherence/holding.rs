//! The changes that a node has applied and its downstream verifiers may not have.
//!
//! A set instead of one low-water mark: a change waits for a node's verifiers only if one of them has an order for it.
//! The set stays small: beyond a bound it becomes coarser, never wider than a tenant.

use super::invariants::{Invariant, InvariantResult, number};
use super::rules::{Rule, keeps};
use crate::text::Slug;
use std::collections::BTreeMap;

/// Most separate runs of revisions for a tenant. Beyond it, the two nearest are joined.
pub const RUNS_MAX: usize = 32;

/// Revisions from the first to the last, inclusive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl Span {
    /// One revision.
    pub const fn one(revision: u64) -> Self {
        Self {
            first: revision,
            last: revision,
        }
    }

    /// Every revision from `first` on.
    pub const fn from(first: u64) -> Self {
        Self { first, last: u64::MAX }
    }

    fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// What a change is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChangeScope {
    /// No tenant: root keys of the instance.
    Instance,
    /// This tenant, its keys and its users.
    Tenant(Slug),
}

/// A change that is waited for: all its revisions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Awaited {
    /// What it is about; `None` if that is unknown, so that it may be about anything.
    pub scope: Option<ChangeScope>,
    /// Its revisions. Not empty.
    pub spans: Vec<Span>,
}

impl Awaited {
    /// Returns a change of one revision in a tenant.
    pub fn one(tenant: &Slug, revision: u64) -> Self {
        Self::in_tenant(tenant, vec![Span::one(revision)])
    }

    /// Returns a change of a tenant.
    pub fn in_tenant(tenant: &Slug, spans: Vec<Span>) -> Self {
        Self {
            scope: Some(ChangeScope::Tenant(tenant.clone())),
            spans,
        }
    }

    /// Returns its newest revision: a node that has applied it has applied all of the change.
    pub fn newest(&self) -> u64 {
        self.spans.iter().map(|span| span.last).max().unwrap_or(0)
    }
}

/// A set of revisions, as runs that neither touch nor overlap, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Revisions(Vec<Span>);

impl Revisions {
    /// Adds revisions.
    pub fn add(&mut self, span: Span) {
        // An open end is the greatest number: adding 1 would wrap.
        let touches = |run: &Span| run.first <= span.last.saturating_add(1) && span.first <= run.last.saturating_add(1);
        let mut whole = span;
        for run in self.0.extract_if(.., |run| touches(run)) {
            whole.first = whole.first.min(run.first);
            whole.last = whole.last.max(run.last);
        }
        let place = self.0.partition_point(|run| run.first < whole.first);
        self.0.insert(place, whole);
        if self.0.len() > RUNS_MAX {
            self.join_nearest();
        }
        debug_assert_eq!(self.check(), Ok(()));
    }

    /// Checks [`Invariant::ChangeSet`].
    pub fn check(&self) -> InvariantResult {
        Invariant::ChangeSet.at_most(number(self.0.len()), number(RUNS_MAX))?;
        let mut pairs = self.0.windows(2);
        pairs.try_for_each(|pair| match pair {
            [left, right] => {
                Invariant::ChangeSet.require(left.last.saturating_add(1) < right.first, right.first, left.last)
            }
            _ => Ok(()),
        })?;
        let mut runs = self.0.iter();
        runs.try_for_each(|run| Invariant::ChangeSet.at_most(run.first, run.last))
    }

    /// Joins the two nearest runs, with the revisions between them.
    fn join_nearest(&mut self) {
        let gaps = self.0.windows(2).enumerate().filter_map(|(place, pair)| match pair {
            [left, right] => Some((right.first - left.last, place)),
            _ => None,
        });
        // The smallest gap adds the fewest changes that are then waited for without need.
        let Some((_, place)) = gaps.min() else { return };
        let right = self.0.remove(place + 1);
        if let Some(left) = self.0.get_mut(place) {
            left.last = right.last;
        }
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|span| self.add(*span));
    }

    /// Whether one of these revisions is in it.
    pub fn meets(&self, span: Span) -> bool {
        self.0.iter().any(|run| run.meets(span))
    }

    /// Removes every revision after `last`.
    fn end_at(&mut self, last: u64) {
        self.0.retain(|run| run.first <= last);
        self.0.iter_mut().for_each(|run| run.last = run.last.min(last));
    }

    /// Returns the runs, oldest first.
    pub fn runs(&self) -> &[Span] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The changes for which some verifier has an order that it has neither acknowledged nor outlived.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Holding {
    by_scope: BTreeMap<ChangeScope, Revisions>,
    /// Revisions of which it is unknown what they are about.
    unknown: Revisions,
}

impl Holding {
    /// Every change is held.
    pub fn everything() -> Self {
        let mut all = Self::default();
        all.add(None, Span::from(0));
        all
    }

    /// Adds a change; a `None` scope is unknown.
    pub fn add(&mut self, scope: Option<&ChangeScope>, span: Span) {
        match scope {
            None => self.unknown.add(span),
            Some(scope) => match self.by_scope.get_mut(scope) {
                Some(known) => known.add(span),
                None => self.by_scope.entry(scope.clone()).or_default().add(span),
            },
        }
    }

    /// Adds all of another one.
    pub fn merge(&mut self, other: &Self) {
        for (scope, revisions) in &other.by_scope {
            self.by_scope.entry(scope.clone()).or_default().merge(revisions);
        }
        self.unknown.merge(&other.unknown);
    }

    /// Whether a change is among them.
    pub fn covers(&self, awaited: &Awaited) -> bool {
        if !keeps(Rule::ASetAndNoMark) {
            return self.oldest().is_some_and(|oldest| awaited.newest() >= oldest);
        }
        let meets = |revisions: &Revisions| awaited.spans.iter().any(|span| revisions.meets(*span));
        let of_scope = match &awaited.scope {
            Some(scope) => self.by_scope.get(scope).is_some_and(meets),
            None => self.by_scope.values().any(meets),
        };
        of_scope || meets(&self.unknown)
    }

    /// Checks [`Invariant::ChangeSet`] of each scope.
    pub fn check(&self) -> InvariantResult {
        let mut all = self.by_scope.values().chain([&self.unknown]);
        all.try_for_each(Revisions::check)
    }

    /// No change of unknown scope has a revision after `last`.
    pub fn end_unknown_at(&mut self, last: u64) {
        self.unknown.end_at(last);
    }

    /// The oldest revision in it.
    pub fn oldest(&self) -> Option<u64> {
        let all = self.by_scope.values().chain([&self.unknown]);
        all.filter_map(|revisions| revisions.0.first())
            .map(|run| run.first)
            .min()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.by_scope.is_empty() && self.unknown.is_empty()
    }
}

/// The text in a node's database row: `tenant=5-7,9` for each scope, `.` for the instance and `*` for an unknown scope,
/// separated by spaces. An open end is left out: `*=3-`.
impl Holding {
    /// As text.
    pub fn to_text(&self) -> String {
        let name = |scope: &ChangeScope| match scope {
            ChangeScope::Instance => ".".to_owned(),
            ChangeScope::Tenant(slug) => slug.as_str().to_owned(),
        };
        let known = self.by_scope.iter().map(|(scope, revisions)| (name(scope), revisions));
        let all = known.chain(std::iter::once(("*".to_owned(), &self.unknown)));
        let told = all.filter(|(_, revisions)| !revisions.is_empty());
        let words: Vec<_> = told
            .map(|(name, revisions)| format!("{name}={}", runs(revisions)))
            .collect();
        words.join(" ")
    }

    /// Parses the text. A text that cannot be parsed holds every change: a newer version may have written it.
    pub fn from_text(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(Self::everything)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut holding = Self::default();
        for word in text.split_ascii_whitespace() {
            let (name, runs) = word.split_once('=')?;
            let scope = match name {
                "*" => None,
                "." => Some(ChangeScope::Instance),
                slug => Some(ChangeScope::Tenant(Slug::parse(slug).ok()?)),
            };
            for run in runs.split(',') {
                let (first, last) = run.split_once('-').unwrap_or((run, run));
                let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
                let first = first.parse().ok()?;
                if first > last {
                    return None;
                }
                holding.add(scope.as_ref(), Span { first, last });
            }
        }
        Some(holding)
    }
}

fn runs(revisions: &Revisions) -> String {
    let run = |span: &Span| match span.last {
        u64::MAX => format!("{}-", span.first),
        last if last == span.first => last.to_string(),
        last => format!("{}-{last}", span.first),
    };
    revisions.0.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slug(text: &str) -> Slug {
        Slug::parse(text).unwrap()
    }

    fn tenant(text: &str) -> ChangeScope {
        ChangeScope::Tenant(slug(text))
    }

    #[test]
    fn a_change_is_held_only_where_it_was_told() {
        let mut holding = Holding::default();
        holding.add(Some(&tenant("acme")), Span { first: 5, last: 7 });
        holding.add(Some(&tenant("acme")), Span::one(9));
        let covers = |scope: &str, revision| holding.covers(&Awaited::one(&slug(scope), revision));
        assert_eq!(
            [4, 5, 7, 8, 9, 10].map(|revision| covers("acme", revision)),
            [false, true, true, false, true, false]
        );
        assert!(!covers("other", 5), "another tenant's");
        assert_eq!(holding.oldest(), Some(5));
        let anywhere = Awaited {
            scope: None,
            spans: vec![Span::one(6)],
        };
        assert!(holding.covers(&anywhere));
    }

    #[test]
    fn a_change_of_many_revisions_is_held_while_one_of_them_is() {
        let mut holding = Holding::default();
        holding.add(Some(&tenant("acme")), Span::one(50));
        let bulk = |first, last| Awaited::in_tenant(&slug("acme"), vec![Span { first, last }]);
        assert!(holding.covers(&bulk(1, 500)) && !holding.covers(&bulk(51, 500)));
    }

    #[test]
    fn what_nobody_knows_holds_every_tenant_until_it_is_known_where_it_ends() {
        let mut holding = Holding::default();
        holding.add(None, Span::from(8));
        let covers = |holding: &Holding, revision| holding.covers(&Awaited::one(&slug("acme"), revision));
        assert!(!covers(&holding, 7) && covers(&holding, 8) && covers(&holding, 1_000));
        holding.end_unknown_at(10);
        assert!(covers(&holding, 10) && !covers(&holding, 11));
        holding.end_unknown_at(7);
        assert!(holding.is_empty(), "nothing was committed");
    }

    #[test]
    fn it_stays_small_and_loses_nothing() {
        let mut set = Revisions::default();
        let told: Vec<u64> = (0..1_000).map(|number| number * number).collect();
        for revision in &told {
            set.add(Span::one(*revision));
        }
        assert!(set.runs().len() <= RUNS_MAX);
        assert!(told.iter().all(|revision| set.meets(Span::one(*revision))));
        assert!(!set.meets(Span::from(999 * 999 + 1)), "never wider than what is in it");
    }

    #[test]
    fn runs_that_touch_or_are_too_many_are_reported() {
        let run = |first, last| Span { first, last };
        let sound = Revisions(vec![run(1, 2), run(4, 4)]);
        assert_eq!(sound.check(), Ok(()));
        let many = (0..=u64::try_from(RUNS_MAX).unwrap()).map(|number| Span::one(number * 2));
        for wrong in [
            vec![run(1, 2), run(3, 4)],
            vec![run(4, 4), run(1, 2)],
            vec![run(2, 1)],
            many.collect(),
        ] {
            assert_eq!(Revisions(wrong).check().unwrap_err().invariant, Invariant::ChangeSet);
        }
    }

    #[test]
    fn it_is_read_back_as_it_was_written_and_what_cannot_be_read_holds_everything() {
        let mut holding = Holding::default();
        assert_eq!(Holding::from_text(&holding.to_text()), holding);
        holding.add(Some(&tenant("acme")), Span { first: 5, last: 7 });
        holding.add(Some(&tenant("acme")), Span::one(9));
        holding.add(Some(&ChangeScope::Instance), Span::one(3));
        holding.add(None, Span::from(12));
        assert_eq!(holding.to_text(), ".=3 acme=5-7,9 *=12-");
        assert_eq!(Holding::from_text(&holding.to_text()), holding);
        for wrong in ["acme", "acme=x", "acme=7-5", "=1", "acme=1,"] {
            assert_eq!(Holding::from_text(wrong), Holding::everything(), "{wrong}");
        }
    }
}
