//! The memory that verdicts come from, and how commits reach it.

use crate::activity::Uses;
use crate::check::Checks;
use crate::children::Children;
use crate::meters::Meters;
use crate::tombstones::Tombstones;
use crate::verify::Via;
use keyreeve_core::access::{Permissions, Reach};
use keyreeve_core::audit::Action;
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_core::coherence::{Cache, Cached, Entry, Gate, Lease};
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::verdict::Denial;
use keyreeve_core::{Digest, RootKeyId};
use keyreeve_store::model::{RootKey, Tenant};
use keyreeve_store::{Commit, CommitObserver};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Root keys are few; more than this many in use at once are looked up again now and then.
const ROOT_KEYS_REMEMBERED: usize = 65_536;

/// The memory of one process.
#[derive(Debug)]
pub struct Verifier {
    pub(crate) keys: Cache<Entry>,
    pub(crate) root_keys: Cache<RootPass>,
    pub(crate) uses: Uses,
    pub(crate) meters: Meters,
    gates: RwLock<Gates>,
    tallies: Tallies,
    lease: Lease,
    /// Every change up to here is in the memory. Among many nodes this lags behind what `keys` has heard of: a commit
    /// of this node's own may come before those of others that precede it.
    covers: AtomicU64,
    tombstones: Tombstones,
    pub(crate) checks: Checks,
    children: Children,
}

/// Tenants as their keys' verdicts see them. `changes` counts the commits that touched one, so that a reading which a
/// commit has overtaken is not put here (rule R5 for what keys share).
#[derive(Debug, Default)]
struct Gates {
    by_slug: HashMap<Slug, Arc<Gate>>,
    changes: u64,
}

/// A root key as it is remembered.
#[derive(Clone, Debug)]
pub struct RootPass(Arc<RootPassInner>);

#[derive(Debug)]
struct RootPassInner {
    digest: Digest,
    id: RootKeyId,
    reach: Reach,
    permissions: Permissions,
    is_revoked: bool,
    is_recent: AtomicBool,
}

impl RootPass {
    pub(crate) fn of(root_key: &RootKey) -> Self {
        Self(Arc::new(RootPassInner {
            digest: root_key.digest,
            id: root_key.id,
            reach: root_key.reach.clone(),
            permissions: root_key.permissions,
            is_revoked: root_key.revoked_at.is_some(),
            is_recent: AtomicBool::new(false),
        }))
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.0.is_revoked
    }

    /// Which root key it is.
    pub fn id(&self) -> RootKeyId {
        self.0.id
    }

    /// Where it reaches.
    pub fn reach(&self) -> &Reach {
        &self.0.reach
    }

    /// What it may do.
    pub fn permissions(&self) -> Permissions {
        self.0.permissions
    }
}

impl Cached for RootPass {
    fn digest(&self) -> &Digest {
        &self.0.digest
    }

    fn touch(&self) {
        if !self.0.is_recent.load(Ordering::Relaxed) {
            self.0.is_recent.store(true, Ordering::Relaxed);
        }
    }

    fn forget_touch(&self) -> bool {
        self.0.is_recent.swap(false, Ordering::Relaxed)
    }
}

/// How often each verdict was given on one way.
#[derive(Debug, Default)]
struct Outcomes {
    valid: AtomicU64,
    denied: [AtomicU64; Denial::ALL.len()],
}

/// How often each verdict was given, and where from. Monotonic since the start.
#[derive(Debug)]
pub struct Tallies {
    by_way: [Outcomes; Via::ALL.len()],
    from_memory: AtomicU64,
    from_store: AtomicU64,
    events: [AtomicU64; Action::ALL.len()],
}

impl Default for Tallies {
    fn default() -> Self {
        Self {
            by_way: Default::default(),
            from_memory: AtomicU64::new(0),
            from_store: AtomicU64::new(0),
            events: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Tallies {
    pub(crate) fn count(&self, via: Via, outcome: Result<(), Denial>) {
        let counts = self.by_way.get(via.place());
        if let Some(counter) = counts.and_then(|counts| counts.counter(outcome)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count_events(&self, actions: &[Action]) {
        for action in actions {
            let mut known = Action::ALL.iter().zip(&self.events);
            if let Some((_, counter)) = known.find(|(known, _)| *known == action) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Every action with the entries that this process has written into the audit log.
    pub fn events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let known = Action::ALL.iter().zip(&self.events);
        known.map(|(action, counter)| (action.as_str(), counter.load(Ordering::Relaxed)))
    }

    pub(crate) fn count_memory(&self) {
        self.from_memory.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_store(&self) {
        self.from_store.fetch_add(1, Ordering::Relaxed);
    }

    /// Every way with every outcome and its count: `valid`, then each denial.
    pub fn outcomes(&self) -> impl Iterator<Item = (Via, &'static str, u64)> {
        let ways = Via::ALL.iter().zip(&self.by_way);
        ways.flat_map(|(via, counts)| counts.all().map(|(outcome, count)| (*via, outcome, count)))
    }

    /// Look-ups answered from memory, and those that asked the store.
    pub fn look_ups(&self) -> (u64, u64) {
        (
            self.from_memory.load(Ordering::Relaxed),
            self.from_store.load(Ordering::Relaxed),
        )
    }
}

impl Outcomes {
    fn counter(&self, outcome: Result<(), Denial>) -> Option<&AtomicU64> {
        let Err(denial) = outcome else {
            return Some(&self.valid);
        };
        let mut denied = Denial::ALL.iter().zip(&self.denied);
        denied.find(|(known, _)| **known == denial).map(|(_, counter)| counter)
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let valid = ("valid", self.valid.load(Ordering::Relaxed));
        let denied = Denial::ALL.iter().zip(&self.denied);
        std::iter::once(valid).chain(denied.map(|(denial, n)| (denial.as_str(), n.load(Ordering::Relaxed))))
    }
}

impl Verifier {
    /// The memory of a single process, for at most `capacity` secrets.
    pub fn new(capacity: usize) -> Self {
        Self::with_lease(capacity, Lease::endless())
    }

    /// The memory of one node among several: it answers only while its lease lasts.
    pub fn leased(capacity: usize) -> Self {
        Self::with_lease(capacity, Lease::none())
    }

    fn with_lease(capacity: usize, lease: Lease) -> Self {
        Self {
            keys: Cache::new(capacity),
            root_keys: Cache::new(ROOT_KEYS_REMEMBERED.min(capacity)),
            uses: Uses::default(),
            meters: Meters::default(),
            gates: RwLock::default(),
            tallies: Tallies::default(),
            lease,
            covers: AtomicU64::new(0),
            tombstones: Tombstones::default(),
            checks: Checks::default(),
            children: Children::default(),
        }
    }

    /// What was denied of late, should the database forget it.
    pub(crate) fn tombstones(&self) -> &Tombstones {
        &self.tombstones
    }

    /// The verifiers that hang on this one.
    pub fn children(&self) -> &Children {
        &self.children
    }

    /// Until when this memory may answer.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// How often each verdict was given.
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// Secrets remembered now.
    pub fn entries(&self) -> usize {
        self.keys.len()
    }

    /// Secrets that may be remembered at most.
    pub fn capacity(&self) -> usize {
        self.keys.capacity()
    }

    /// Every change up to this revision is taken into account by verdicts.
    pub fn applied(&self) -> u64 {
        self.covers.load(Ordering::Acquire)
    }

    /// Notes that every change up to a revision is in the memory.
    pub(crate) fn caught_up(&self, revision: u64) {
        self.root_keys.apply(revision, []);
        self.keys.apply(revision, []);
        self.covers.fetch_max(revision, Ordering::Release);
    }

    /// Gives the lease up and forgets everything: from here on nothing is answered from memory.
    pub(crate) fn lose_lease(&self) {
        self.lease.drop_now();
        if keeps(Rule::EmptyAtRegistration) {
            self.outcome_unknown();
        }
    }

    fn gates(&self) -> RwLockReadGuard<'_, Gates> {
        self.gates.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn gates_mut(&self) -> RwLockWriteGuard<'_, Gates> {
        self.gates.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn gate(&self, slug: &Slug) -> Option<Arc<Gate>> {
        self.gates().by_slug.get(slug).map(Arc::clone)
    }

    /// Commits that have touched tenants or owners so far: read before a tenant is read from the store.
    pub(crate) fn gate_changes(&self) -> u64 {
        self.gates().changes
    }

    /// Remembers a tenant that was read after `changes` and before `revision`; `None` if a commit came meanwhile and it
    /// must be read again.
    pub(crate) fn remember_gate(
        &self,
        tenant: &Tenant,
        blocked: &[Subject],
        changes: u64,
        revision: u64,
    ) -> Option<Arc<Gate>> {
        let mut gates = self.gates_mut();
        if gates.changes != changes {
            return None;
        }
        let gate = gates.by_slug.entry(tenant.slug.clone()).or_insert_with(|| {
            let gate = Gate::new(tenant.slug.clone(), tenant.status, tenant.policy.reveal);
            for owner in blocked {
                gate.block(owner, true);
            }
            gate.note_revision(revision);
            Arc::new(gate)
        });
        Some(Arc::clone(gate))
    }

    /// Takes over a change that another node made. What it says of tenants and owners is as of `head`.
    pub(crate) fn apply_remote(&self, commit: &Commit, head: u64) {
        self.tombstones.note(commit);
        let is_shared = self.apply_gates(commit, head);
        self.checks.forget(&commit.check_policies);
        self.root_keys.apply(commit.revision, &commit.root_keys);
        self.keep_uses(commit);
        self.keys.apply(commit.revision, &commit.secrets);
        self.children.touched(commit, is_shared, self.applied());
    }

    /// Before a change makes the memory forget a secret: what is not written yet of its uses would be invisible.
    fn keep_uses(&self, commit: &Commit) {
        for entry in commit.secrets.iter().filter_map(|digest| self.keys.peek(digest)) {
            self.uses.keep(&entry);
        }
    }

    /// Takes over what a commit says of tenants and owners, as of a revision. One that is not remembered is read when
    /// it is needed; so is one of which something newer is known already, because what it was between is not.
    ///
    /// Whether one of them was remembered, so that somebody may know keys by what it said.
    fn apply_gates(&self, commit: &Commit, as_of: u64) -> bool {
        if commit.tenants.is_empty() && commit.owners.is_empty() {
            return false;
        }
        let mut gates = self.gates_mut();
        gates.changes += 1;
        let is_shared = gates.know_some_of(commit);
        for tenant in &commit.tenants {
            if let Some(gate) = gates.open(&tenant.slug, as_of) {
                gate.set(tenant.status, tenant.policy.reveal);
            }
        }
        for owner in &commit.owners {
            if let Some(gate) = gates.open(&owner.tenant, as_of) {
                gate.block(&owner.subject, owner.is_blocked);
            }
        }
        is_shared
    }
}

impl Gates {
    fn know_some_of(&self, commit: &Commit) -> bool {
        let tenants = commit.tenants.iter().map(|tenant| &tenant.slug);
        let mut touched = tenants.chain(commit.owners.iter().map(|owner| &owner.tenant));
        touched.any(|slug| self.by_slug.contains_key(slug))
    }

    /// A gate that something as of a revision may be written to; one that is newer is thrown away.
    fn open(&mut self, slug: &Slug, as_of: u64) -> Option<&Gate> {
        if self.by_slug.get(slug)?.revision() > as_of {
            let newer = self.by_slug.remove(slug)?;
            newer.make_void();
            return None;
        }
        let gate = self.by_slug.get(slug)?;
        gate.note_revision(as_of);
        Some(gate)
    }
}

impl CommitObserver for Verifier {
    fn committed(&self, commit: &Commit) {
        self.tallies.count_events(&commit.actions);
        self.apply_remote(commit, commit.revision);
        if self.lease.deadline().is_endless() {
            self.caught_up(commit.revision);
        }
    }

    fn outcome_unknown(&self) {
        let mut gates = self.gates_mut();
        gates.changes += 1;
        gates.by_slug.drain().for_each(|(_, gate)| gate.make_void());
        drop(gates);
        self.checks.forget_all();
        self.root_keys.flush();
        self.keys.flush();
        self.children.everything_touched(0);
    }
}
