//! The memory that verdicts come from, and how commits reach it.

mod tallies;

pub use tallies::Tallies;

use crate::activity::Uses;
use crate::check::Checks;
use crate::children::Children;
use crate::meters::Meters;
use crate::tombstones::Tombstones;
use keyreeve_core::access::{Permissions, Reach};
use keyreeve_core::coherence::holding::Span;
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_core::coherence::{Cache, Cached, Entry, Gate, Lease};
use keyreeve_core::text::{Slug, Subject};
use keyreeve_core::{Digest, RootKeyId};
use keyreeve_store::model::{RootKey, Tenant};
use keyreeve_store::{Commit, CommitObserver};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

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
    /// Why this process answers nothing any more, if so.
    halted: OnceLock<String>,
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
            halted: OnceLock::new(),
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

    /// The newest revision that was heard of: by a poll, or as a commit of this process's own.
    pub(crate) fn newest(&self) -> u64 {
        self.keys.applied().max(self.applied())
    }

    /// Rule R19: a session begins with an empty memory, at a revision that may be lower than what was applied before.
    /// Verifiers that hang on this one begin anew too: what they remember has a floor of its own.
    pub(crate) fn begin_session(&self, revision: u64) {
        let is_older = revision < self.newest();
        self.root_keys.begin(revision);
        self.keys.begin(revision);
        match keeps(Rule::FloorOfTheSession) {
            true => self.covers.store(revision, Ordering::Release),
            false => drop(self.covers.fetch_max(revision, Ordering::Release)),
        }
        if is_older {
            self.children.dismiss_all();
        }
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
            self.forget_everything();
        }
    }

    /// Answers nothing any more until the process is started again: what lies on the disk is not what was answered for.
    /// The verifiers that hang on this one are sent away, and get no lease. The first reason stays.
    pub fn halt(&self, why: &str) {
        if self.halted.set(why.to_owned()).is_err() {
            return;
        }
        self.lease.drop_now();
        self.forget_everything();
        self.children.dismiss_all();
    }

    /// Why nothing is answered any more; `None` if all is well.
    pub fn halted(&self) -> Option<&str> {
        self.halted.get().map(String::as_str)
    }

    /// A change touched more than is known: everything is forgotten, here and by the children.
    pub(crate) fn everything_changed(&self, revision: u64) {
        self.forget_all();
        self.children.everything_touched(Span::one(revision), self.applied());
    }

    /// Forgets all that is remembered and voids every open fill, here and in the verifiers that are connected: for when
    /// it is not known what changed.
    pub fn forget_everything(&self) {
        self.forget_all();
        self.children.everything_touched(Span::from(0), 0);
    }

    fn forget_all(&self) {
        let mut gates = self.gates_mut();
        gates.changes += 1;
        gates.by_slug.drain().for_each(|(_, gate)| gate.make_void());
        drop(gates);
        self.checks.forget_all();
        self.root_keys.flush();
        self.keys.flush();
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
        self.apply_gates(commit, head);
        self.checks.forget(&commit.check_policies);
        self.root_keys.apply(commit.revision, &commit.root_keys);
        self.keep_uses(commit);
        self.meters.doubt(commit.keys.iter().map(|news| news.id));
        self.keys.apply(commit.revision, &commit.secrets);
        self.children.touched(commit, self.applied());
    }

    /// Before a change makes the memory forget a secret: what is not written yet of its uses would be invisible.
    fn keep_uses(&self, commit: &Commit) {
        for entry in commit.secrets.iter().filter_map(|digest| self.keys.peek(digest)) {
            self.uses.keep(&entry);
        }
    }

    /// Takes over what a commit says of tenants and owners, as of a revision. One that is not remembered is read when
    /// it is needed; so is one of which something newer is known already, because what it was between is not.
    fn apply_gates(&self, commit: &Commit, as_of: u64) {
        if commit.tenants.is_empty() && commit.owners.is_empty() {
            return;
        }
        let mut gates = self.gates_mut();
        gates.changes += 1;
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
    }

    /// Forgets the tenants that a commit of unknown outcome is about, so that they and their keys are read anew.
    fn forget_gates(&self, commit: &Commit) {
        if commit.tenants.is_empty() && commit.owners.is_empty() {
            return;
        }
        let mut gates = self.gates_mut();
        gates.changes += 1;
        let tenants = commit.tenants.iter().map(|tenant| &tenant.slug);
        for slug in tenants.chain(commit.owners.iter().map(|owner| &owner.tenant)) {
            if let Some(gate) = gates.by_slug.remove(slug) {
                gate.make_void();
            }
        }
    }
}

impl Gates {
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
        if self.lease.deadline().is_endless()
            && let Some(first) = commit.parts().map(|part| part.span.first).min()
        {
            // What had an unknown outcome before this either has an earlier revision, or was not committed.
            self.children.known_to(first.saturating_sub(1));
        }
        if !self.lease.deadline().is_endless() {
            self.children.committed(commit, self.applied());
        }
        self.apply_remote(commit, commit.revision);
        if self.lease.deadline().is_endless() {
            self.caught_up(commit.revision);
        }
    }

    /// Forgets what the commit would have touched and voids the fills of it; everything else is as true as before. Whether
    /// it was made is read from the store when somebody asks, and among several nodes the log brings it (rule R3).
    ///
    /// The revision is not taken over: if the commit was not made, it is beyond the end of the log, and a fill could never
    /// be new enough (rule R5).
    fn outcome_unknown(&self, touched: &Commit) {
        self.forget_gates(touched);
        self.checks.forget(&touched.check_policies);
        self.root_keys.apply(0, &touched.root_keys);
        self.keep_uses(touched);
        self.keys.apply(0, &touched.secrets);
        self.children.perhaps_touched(touched, self.applied());
    }
}
