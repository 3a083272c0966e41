//! The memory that verdicts come from, and how commits are applied to it.

pub use super::root_pass::RootPass;
pub use super::tallies::Tallies;

use super::check_policies::Checks;
use super::downstream::Children;
use super::gates::Gates;
use super::meters::Meters;
use super::root_uses::RootUses;
use super::tombstones::Tombstones;
use super::uses::Uses;
use keyreeve_core::coherence::holding::Span;
use keyreeve_core::coherence::invariants::InvariantCounts;
use keyreeve_core::coherence::rules::{Rule, keeps};
use keyreeve_core::coherence::{Cache, Entry, Lease};
use keyreeve_store::{Commit, CommitObserver};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Most root keys that are remembered. With more in use at once, some are looked up again now and then.
const ROOT_KEYS_REMEMBERED: usize = 65_536;

/// The memory of one process.
#[derive(Debug)]
pub struct VerifierMemory {
    pub(crate) keys: Cache<Entry>,
    pub(crate) root_keys: Cache<RootPass>,
    pub(crate) uses: Uses,
    pub(crate) root_uses: RootUses,
    pub(crate) meters: Meters,
    pub(crate) gates: Gates,
    tallies: Tallies,
    lease: Lease,
    /// Every change up to here is in the memory. Among several nodes this lags behind the revision of `keys`: a commit
    /// of this node may be applied before earlier ones of other nodes.
    covers: AtomicU64,
    tombstones: Tombstones,
    pub(crate) checks: Checks,
    children: Children,
    pub(crate) invariants: Arc<InvariantCounts>,
    /// Why this process no longer answers, if it was halted.
    halted: OnceLock<String>,
    /// Why no key is verified until an operator has decided, if so.
    withheld: Mutex<Option<Arc<str>>>,
    is_withheld: AtomicBool,
}

impl VerifierMemory {
    /// Returns the memory of a single process, for at most `capacity` secrets.
    pub fn new(capacity: usize) -> Self {
        Self::with_lease(capacity, Lease::endless())
    }

    /// Returns the memory of one node among several, which answers only while its lease lasts.
    pub fn leased(capacity: usize) -> Self {
        Self::with_lease(capacity, Lease::none())
    }

    fn with_lease(capacity: usize, lease: Lease) -> Self {
        Self {
            keys: Cache::new(capacity),
            root_keys: Cache::new(ROOT_KEYS_REMEMBERED.min(capacity)),
            uses: Uses::default(),
            root_uses: RootUses::default(),
            meters: Meters::default(),
            gates: Gates::default(),
            tallies: Tallies::default(),
            lease,
            covers: AtomicU64::new(0),
            tombstones: Tombstones::default(),
            checks: Checks::default(),
            children: Children::default(),
            invariants: Arc::default(),
            halted: OnceLock::new(),
            withheld: Mutex::default(),
            is_withheld: AtomicBool::new(false),
        }
    }

    /// Recent denials, for when the database loses one.
    pub(crate) fn tombstones(&self) -> &Tombstones {
        &self.tombstones
    }

    /// Returns the verifiers connected to this process.
    pub fn children(&self) -> &Children {
        &self.children
    }

    /// Returns the lease that this memory answers by.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Returns how often each verdict was given.
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// Returns the number of secrets remembered now.
    pub fn entries(&self) -> usize {
        self.keys.len()
    }

    /// Returns the number of secrets that may be remembered.
    pub fn capacity(&self) -> usize {
        self.keys.capacity()
    }

    /// Returns the revision up to which verdicts cover every change.
    pub fn applied(&self) -> u64 {
        self.covers.load(Ordering::Acquire)
    }

    /// Returns the newest revision known, from a poll or from a commit of this process.
    pub(crate) fn newest(&self) -> u64 {
        self.keys.applied().max(self.applied())
    }

    /// Rule R19: begins a session with an empty memory, at a revision that may be lower than what was applied before.
    /// Downstream verifiers then start again too: their memory has a floor of its own.
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

    /// Drops the lease and forgets everything: from here on nothing is answered from memory.
    pub(crate) fn lose_lease(&self) {
        self.lease.drop_now();
        if keeps(Rule::EmptyAtRegistration) {
            self.forget_everything();
        }
    }

    /// Stops all answers until the process is restarted: the data on disk is not what was answered from. Downstream
    /// verifiers are sent away and get no lease. Later calls do not replace the reason.
    pub fn halt(&self, why: &str) {
        if self.halted.set(why.to_owned()).is_err() {
            return;
        }
        self.lease.drop_now();
        self.forget_everything();
        self.children.dismiss_all();
    }

    /// Returns why nothing is answered; `None` in normal operation.
    pub fn halted(&self) -> Option<&str> {
        self.halted.get().map(String::as_str)
    }

    /// Verifies no key from now on, with the reason, or verifies again with `None`. Root keys and changes are not
    /// affected. Downstream verifiers are sent away and get no lease.
    pub fn withhold(&self, why: Option<&str>) {
        let is_withheld = why.is_some();
        *self.withheld.lock().unwrap_or_else(PoisonError::into_inner) = why.map(Arc::from);
        let was_withheld = self.is_withheld.swap(is_withheld, Ordering::AcqRel);
        if is_withheld && !was_withheld {
            self.forget_everything();
            self.children.dismiss_all();
        }
    }

    /// Whether no key is verified. Reads one atomic value.
    pub(crate) fn is_withheld(&self) -> bool {
        self.is_withheld.load(Ordering::Acquire)
    }

    /// Returns why no key is verified until an operator has decided; `None` in normal operation.
    pub fn withheld(&self) -> Option<Arc<str>> {
        self.withheld.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A change touched more than is known: everything is forgotten, here and by downstream verifiers.
    pub(crate) fn everything_changed(&self, revision: u64) {
        self.forget_all();
        self.children.everything_touched(Span::one(revision), self.applied());
    }

    /// Forgets all entries and voids every open fill, here and in the connected verifiers, because it is unknown what
    /// changed.
    pub fn forget_everything(&self) {
        self.forget_all();
        self.children.everything_touched(Span::from(0), 0);
    }

    fn forget_all(&self) {
        self.gates.forget_all();
        self.checks.forget_all();
        self.root_keys.flush();
        self.keys.flush();
    }

    /// Applies a change of another node. The tenants and owners in it are as of `head`.
    pub(crate) fn apply_remote(&self, commit: &Commit, head: u64) {
        self.tombstones.note(commit);
        self.gates.apply(commit, head);
        self.checks.forget(&commit.check_policies);
        self.root_keys.apply(commit.revision, &commit.root_keys);
        self.keep_uses(commit);
        self.meters.doubt(commit.keys.iter().map(|news| news.id));
        self.keys.apply(commit.revision, &commit.secrets);
        // After the memory: a verifier that looks a secret up again must not get what this change has removed.
        self.children.touched(commit, self.applied());
    }

    /// Call before a change removes a secret from memory: its unwritten uses would be lost with the entry.
    fn keep_uses(&self, commit: &Commit) {
        for entry in commit.secrets.iter().filter_map(|digest| self.keys.peek(digest)) {
            self.uses.keep(&entry);
        }
    }
}

impl CommitObserver for VerifierMemory {
    fn committed(&self, commit: &Commit) {
        self.tallies.count_events(&commit.actions);
        if self.lease.deadline().is_endless()
            && let Some(first) = commit.parts().map(|part| part.span.first).min()
        {
            // A commit of unknown outcome before this one has an earlier revision, or was not made.
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

    /// Forgets what the commit would have touched and voids the fills of it; all else stays. A later look-up reads from
    /// the store whether it was made, and among several nodes the log brings it (rule R3).
    ///
    /// The floor of fills is not raised: if the commit was not made, its revision is beyond the end of the log, and no
    /// fill could reach it (rule R5).
    fn outcome_unknown(&self, touched: &Commit) {
        self.gates.forget(touched);
        self.checks.forget(&touched.check_policies);
        self.root_keys.apply(0, &touched.root_keys);
        self.keep_uses(touched);
        self.keys.apply(0, &touched.secrets);
        self.children.perhaps_touched(touched, self.applied());
    }
}
