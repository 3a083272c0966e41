//! What goes into the store and what comes out of it.

mod activity;
mod check;
mod limits;
mod log;
mod login;

pub use activity::{Activity, CENSUS_DAYS, CENSUS_TENANTS_MAX, Census, Refusals, Trace, UsageCount};
pub use check::{ChangedCheckPolicy, CheckPolicyChange, CheckPolicyRecord};
pub use limits::SliceRequest;
pub use log::{AuditDraft, AuditQuery, AuditRecord, Event, Head, entry_of};
pub use login::{Login, LoginKind};

use crate::version::Condition;
use keyreeve_core::access::{Actor, Permissions, Reach};
use keyreeve_core::key::LastFour;
use keyreeve_core::lifecycle::{IssueFacts, Outcome, Refusal, Standing};
use keyreeve_core::text::{Name, Slug, Subject};
use keyreeve_core::user::{Status, UserEdit};
use keyreeve_core::verdict::{KeyStanding, SecretStanding};
use keyreeve_core::{Digest, Key, KeyId, Policy, RootKeyId, Timestamp, User, UserId};
use std::collections::BTreeMap;
use std::fmt;

/// How long an idempotency key is remembered, in seconds: 24 hours.
pub const IDEMPOTENCY_SECONDS: u64 = 86_400;

/// An isolation boundary with its own policy and keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tenant {
    /// Its short name; never changes.
    pub slug: Slug,
    /// Its name for people.
    pub name: Name,
    /// Whether its keys are judged at all.
    pub status: Status,
    /// Its policy.
    pub policy: Policy,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Tenant {
    /// Whether all its keys are blocked.
    pub fn is_blocked(&self) -> bool {
        self.status != Status::Active
    }
}

/// What to change about a tenant. `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct TenantEdit {
    /// A new name.
    pub name: Option<Name>,
    /// A new status; removing ends its root keys too.
    pub status: Option<Status>,
    /// A new policy.
    pub policy: Option<Policy>,
}

/// What came of changing a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedUser {
    /// The user as it is now.
    pub user: User,
    /// The newest revision after it.
    pub revision: u64,
    /// How many of the user's keys worked until this change blocked them; or, where it opened the user again, how many
    /// work from now on. 0 if it did neither.
    pub keys: u32,
}

/// A wish to change a user.
#[derive(Clone, Debug)]
pub struct UserChange {
    /// The tenant.
    pub tenant: Slug,
    /// The user.
    pub id: UserId,
    /// What to change.
    pub edit: UserEdit,
    /// What the caller may do: a role is given only by a caller whose permissions cover it.
    pub giver: Permissions,
    /// Also the last admin: only for the operator, on the machine itself.
    pub is_forced: bool,
}

/// A credential for the management API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootKey {
    /// Its id.
    pub id: RootKeyId,
    /// Its name for people.
    pub name: Name,
    /// Where it reaches.
    pub reach: Reach,
    /// What it may do.
    pub permissions: Permissions,
    /// The digest of its secret.
    pub digest: Digest,
    /// The last four characters of its secret.
    pub last_four: LastFour,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A key and what verification has told about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRecord {
    /// The key, settled at the time of the call.
    pub key: Key,
    /// When a call with a secret of it was last accepted, as far as written.
    pub last_used_at: Option<Timestamp>,
    /// When a call with a secret of it was last refused, as far as written.
    pub last_refused_at: Option<Timestamp>,
    /// Whether its present secret was ever presented, as far as written.
    pub is_presented: bool,
    /// Whether it is refused because its owner is a user who is suspended or removed, or because its tenant is.
    pub owner_blocked: bool,
}

/// A presented secret as the store knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credential {
    /// How the secret stands to its key.
    pub secret: SecretStanding,
    /// Its key.
    pub key_id: KeyId,
    /// The key's tenant.
    pub tenant: Slug,
    /// Whether it is written down that it was ever presented.
    pub is_presented: bool,
    /// The key itself; `None` if it is erased.
    pub key: Option<KeyBrief>,
}

/// As much of a key as a verdict needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyBrief {
    /// The owner.
    pub subject: Box<str>,
    /// The name.
    pub name: Box<str>,
    /// The scopes, joined by spaces.
    pub scopes: Box<str>,
    /// The claims as JSON.
    pub claims: Option<Box<str>>,
    /// What limits it, joined by spaces.
    pub limits: Box<str>,
    /// How the key stands.
    pub standing: KeyStanding,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// A reading and the revision of the store it was made at, both from one snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamped<T> {
    /// What was read.
    pub value: T,
    /// `head.revision` in the same snapshot.
    pub revision: u64,
}

/// Who makes a change, when, and in which request. The actor's credential is checked again inside the transaction.
#[derive(Clone, Debug)]
pub struct WriteContext {
    /// The time of the change.
    pub at: Timestamp,
    /// Who makes it.
    pub actor: Actor,
    /// From which network address.
    pub address: Option<Box<str>>,
    /// In which request.
    pub request_id: Box<str>,
    /// A caller's mark by which a repeated request is known.
    pub idempotency: Option<Idempotency>,
    /// Which versions of the record may be changed; `None` is whichever there is.
    pub only_if: Option<Condition>,
}

/// A caller's mark on a request. Scoped to the actor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Idempotency {
    /// The `Idempotency-Key`.
    pub key: Box<str>,
    /// SHA-256 of method, path and body: the same mark on another request is refused.
    pub fingerprint: [u8; 32],
    /// What a repeat comes to.
    pub repeat: Repeat,
}

/// What becomes of a secret when the request that made it is repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// If it was never presented, a fresh one takes its place: the answer may have been lost.
    Replaces,
    /// It stays: somebody may have copied it from the page that showed it.
    Reports,
}

/// Decides one item of an issue inside the transaction, from the tenant's policy and what is true of the subject.
/// Called once per item, in order; each sees what the items before it did.
pub type DecideIssue = Box<dyn FnMut(usize, &Policy, IssueFacts) -> Result<(Key, AuditDraft), Refusal> + Send>;

/// Decides a change inside the transaction.
pub type DecideChange = Box<dyn FnOnce(ChangeFacts<'_>) -> Result<(Outcome, AuditDraft), Refusal> + Send>;

/// Gives a key whose secret never arrived another one: (place in the request, the key) → the key with its new secret.
pub type ReplaceSecret = Box<dyn FnMut(usize, Key) -> Result<(Key, AuditDraft), Refusal> + Send>;

/// A request to issue keys, all or none.
pub struct IssueRequest {
    /// The tenant.
    pub tenant: Slug,
    /// Owner and name of each key, for the facts that its decision needs.
    pub items: Vec<(Subject, Name)>,
    /// The decision.
    pub decide: DecideIssue,
    /// What to do when the request is a retry whose secrets were never presented.
    pub replace: ReplaceSecret,
}

/// A request to change one key.
pub struct ChangeRequest {
    /// The tenant.
    pub tenant: Slug,
    /// The key.
    pub id: KeyId,
    /// A name the key is to take, so that [`ChangeFacts::name_taken`] can be looked up.
    pub new_name: Option<Name>,
    /// The decision.
    pub decide: DecideChange,
    /// Only for a rotation: what to do when the request is a retry whose secret was never presented.
    pub replace: Option<ReplaceSecret>,
}

/// Decides each of many changes inside the transaction.
pub type DecideMany = Box<dyn FnMut(ChangeFacts<'_>) -> Result<(Outcome, AuditDraft), Refusal> + Send>;

/// A request to change many keys in one way.
pub struct ChangeManyRequest {
    /// The tenant.
    pub tenant: Slug,
    /// The keys.
    pub ids: Vec<KeyId>,
    /// The decision, for each that there is.
    pub decide: DecideMany,
    /// What is also written down about a key that there is, before what becomes of it and whether or not it changes.
    pub notes: BTreeMap<KeyId, Vec<AuditDraft>>,
}

/// What came of changing many keys. Those that are neither changed nor unchanged were refused, or were not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChangedMany {
    /// Keys that were changed.
    pub changed: u64,
    /// Keys that already were as they were to be.
    pub unchanged: u64,
    /// The oldest revision that it wrote; one more than the newest if it wrote none.
    pub first: u64,
    /// The newest revision after it.
    pub revision: u64,
}

/// What a change is decided on.
#[derive(Debug)]
pub struct ChangeFacts<'a> {
    /// The key as stored.
    pub key: Key,
    /// The tenant's policy.
    pub policy: &'a Policy,
    /// Whether another usable key of the subject has `new_name`.
    pub name_taken: bool,
}

/// Whether a request was seen before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay {
    /// It was not.
    First,
    /// It was, its secrets never arrived, and new ones took their place.
    Replaced,
    /// It was, and there is nothing left to do.
    Completed,
}

/// What came of an issue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issued {
    /// The keys, in the order asked for. On a replay, those that still exist.
    pub keys: Vec<KeyRecord>,
    /// The newest revision after it.
    pub revision: u64,
    /// Whether it was a retry.
    pub replay: Replay,
}

/// What came of a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// The key as it is now; as it was, if this change erased it; `None` on a replay whose key is gone by now.
    pub record: Option<KeyRecord>,
    /// What was done to the store.
    pub done: Done,
    /// The newest revision after it.
    pub revision: u64,
    /// Whether it was a retry.
    pub replay: Replay,
}

/// What a change did to the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// Nothing: the key was already there.
    Nothing,
    /// The key was stored anew.
    Stored,
    /// The record is gone; its digests are tombstones.
    Erased,
}

/// Which keys to list, newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyQuery {
    /// The tenant.
    pub tenant: Slug,
    /// Only this owner's.
    pub subject: Option<Subject>,
    /// Only keys that stand so at `now`; the two `hide_` fields are then not looked at.
    pub standing: Option<Standing>,
    /// Only keys whose owner is blocked, as [`KeyRecord::owner_blocked`] says it; or only the others.
    pub owner_blocked: Option<bool>,
    /// Leave out revoked keys.
    pub hide_revoked: bool,
    /// Leave out keys that are active but past their expiry. Disabled keys are always listed.
    pub hide_expired: bool,
    /// Only active keys that expire after `now` and before this time.
    pub expires_before: Option<Timestamp>,
    /// Only active keys that were made and last used before this time.
    pub unused_since: Option<Timestamp>,
    /// Only keys that hold this scope.
    pub scope: Option<String>,
    /// Only keys whose name contains this, without regard to case (Unicode case folding).
    pub search: Option<String>,
    /// With `search`: also keys whose secret ends in these four characters.
    pub last_four: Option<String>,
    /// Where to begin.
    pub start: PageStart,
    /// Most keys to give.
    pub limit: u32,
    /// Look at so many keys at most for this page, and as many for the total, the newest first: who filters by something
    /// rare among many keys then gets a short page, and where to go on. `None`: at all of them, and none are counted.
    pub look_at: Option<u32>,
    /// The time to judge standing at.
    pub now: Timestamp,
}

impl KeyQuery {
    /// All keys of a tenant, nothing left out and nothing counted.
    pub fn all(tenant: Slug, start: PageStart, limit: u32, now: Timestamp) -> Self {
        Self {
            tenant,
            subject: None,
            standing: None,
            owner_blocked: None,
            hide_revoked: false,
            hide_expired: false,
            expires_before: None,
            unused_since: None,
            scope: None,
            search: None,
            last_four: None,
            start,
            limit,
            look_at: None,
            now,
        }
    }
}

/// Where a page begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageStart {
    /// After so many keys.
    Offset(u64),
    /// After (older than) this key.
    After(KeyId),
}

/// A page of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyRecord>,
    /// How many the filter lets through in all; `None` if they were not to be counted.
    pub total: Option<Total>,
    /// Where the next page begins, if there may be one.
    pub next: Option<KeyId>,
}

/// How many there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Total {
    /// So many.
    pub count: u64,
    /// Whether that is all. If not, there may be more among the keys that were not looked at.
    pub is_exact: bool,
}

/// Whether the store was new.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Founding {
    /// It was empty: the first tenant and root key were made.
    Founded,
    /// There was one already; nothing was done.
    StoodAlready,
    /// It was empty, and the first root key could not be shown; nothing was done. The text says why.
    NotShown(String),
}

/// Shows the first root key to the operator, or says why it cannot be shown. Called at most once, inside the transaction
/// that makes the root key and before its commit.
pub type ShowRootKey = Box<dyn FnOnce() -> Result<(), String> + Send>;

impl fmt::Debug for IssueRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssueRequest")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ChangeManyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeManyRequest")
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ChangeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeRequest")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
