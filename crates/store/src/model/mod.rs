//! What is passed to the store and returned by it.

mod activity;
mod check;
mod limits;
mod log;
mod login;
mod root_key;

pub use activity::{
    ActivityBatch, CENSUS_DAYS, CENSUS_ROOT_KEY_DAYS, CENSUS_TENANTS_MAX, Census, RefusalQuery, Trace, UsageCount,
};
pub use check::{ChangedCheckPolicy, CheckPolicyChange, CheckPolicyRecord};
pub use limits::SliceRequest;
pub use log::{AuditDraft, AuditQuery, AuditRecord, Event, Head, entry_of};
pub use login::{Login, LoginKind};
pub use root_key::{MayHold, RootKey, RootKeyRotation, RotatedRootKey};

use crate::version::Condition;
use keyreeve_core::access::{Actor, Permissions};
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
    /// Its display name.
    pub name: Name,
    /// Whether its keys can be used.
    pub status: Status,
    /// Its policy.
    pub policy: Policy,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Tenant {
    /// Whether all its keys are blocked.
    pub fn is_blocked(&self) -> bool {
        self.status != Status::Active
    }
}

/// What to change about a tenant. `None` leaves a field unchanged.
#[derive(Clone, Debug, Default)]
pub struct TenantEdit {
    /// A new name.
    pub name: Option<Name>,
    /// A new status; removing a tenant revokes its root keys too.
    pub status: Option<Status>,
    /// A new policy.
    pub policy: Option<Policy>,
}

/// The result of changing a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedUser {
    /// The user as it is now.
    pub user: User,
    /// The newest revision after it.
    pub revision: u64,
    /// How many of the user's keys worked until this change blocked them or, if it unblocked the user, work from now
    /// on. 0 if it did neither.
    pub keys: u32,
}

/// A request to change a user.
#[derive(Clone, Debug)]
pub struct UserChange {
    /// The tenant.
    pub tenant: Slug,
    /// The user.
    pub id: UserId,
    /// What to change.
    pub edit: UserEdit,
    /// The caller's permissions: a role is assigned only by a caller whose permissions cover it.
    pub giver: Permissions,
    /// Also changes the last admin: only for the operator, on the machine itself.
    pub is_forced: bool,
}

/// A key and what verification has recorded about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRecord {
    /// The key, settled at the time of the call.
    pub key: Key,
    /// When a call with a secret of it was last accepted, as far as stored.
    pub last_used_at: Option<Timestamp>,
    /// When a call with a secret of it was last refused, as far as stored.
    pub last_refused_at: Option<Timestamp>,
    /// Whether its present secret was ever presented, as far as stored.
    pub is_presented: bool,
    /// Whether it is refused because its owner is a user who is suspended or removed, or because its tenant is.
    pub owner_blocked: bool,
}

/// A presented secret as the store knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credential {
    /// The standing of the secret.
    pub secret: SecretStanding,
    /// Its key.
    pub key_id: KeyId,
    /// The key's tenant.
    pub tenant: Slug,
    /// Whether it is stored that it was ever presented.
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
    /// Its limits, joined by spaces.
    pub limits: Box<str>,
    /// The standing of the key.
    pub standing: KeyStanding,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// A value and the revision of the store, both from one snapshot.
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
    /// The root key that acts as the actor, if the actor does not call itself: it is checked again, too.
    pub acting: Option<RootKeyId>,
    /// The secret of the root key that makes the call, so that one that a rotation has replaced changes nothing more;
    /// `None` if no root key does.
    pub secret: Option<Digest>,
    /// From which network address.
    pub address: Option<Box<str>>,
    /// In which request.
    pub request_id: Box<str>,
    /// The idempotency key by which a repeated request is recognized.
    pub idempotency: Option<Idempotency>,
    /// Which versions of the record may be changed; `None` allows any.
    pub only_if: Option<Condition>,
}

/// The idempotency key of a request. Scoped to the actor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Idempotency {
    /// The `Idempotency-Key`.
    pub key: Box<str>,
    /// SHA-256 of method, path and body: the same key with another request is refused.
    pub fingerprint: [u8; 32],
    /// What a repeated request does.
    pub repeat: Repeat,
}

/// What a repeated request does with the secret that the first one created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// If it was never presented, a new one replaces it: the answer may have been lost.
    Replaces,
    /// It is kept: it may have been copied from the page that showed it.
    Reports,
}

/// Decides one item of an issue inside the transaction, from the tenant's policy and the facts about the subject.
/// Called once per item, in order; each call includes the items before it.
pub type DecideIssue = Box<dyn FnMut(usize, &Policy, IssueFacts) -> Result<(Key, AuditDraft), Refusal> + Send>;

/// Decides a change inside the transaction.
pub type DecideChange = Box<dyn FnOnce(ChangeFacts<'_>) -> Result<(Outcome, AuditDraft), Refusal> + Send>;

/// Gives a key whose secret never arrived a new one: (index in the request, the key) → the key with its new secret.
pub type ReplaceSecret = Box<dyn FnMut(usize, Key) -> Result<(Key, AuditDraft), Refusal> + Send>;

/// A request to issue keys, all or none.
pub struct IssueRequest {
    /// The tenant.
    pub tenant: Slug,
    /// Owner and name of each key, for the facts of its decision.
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
    /// The new name of the key, so that [`ChangeFacts::name_taken`] can be looked up.
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
    /// The decision, called for each key that exists.
    pub decide: DecideMany,
    /// Audit entries to write about a key that exists, before that of its change and whether or not it changes.
    pub notes: BTreeMap<KeyId, Vec<AuditDraft>>,
}

/// The result of changing many keys. Keys that are neither changed nor unchanged were refused or do not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChangedMany {
    /// Keys that were changed.
    pub changed: u64,
    /// Keys that already were as requested.
    pub unchanged: u64,
    /// The oldest revision that it wrote; one more than the newest if it wrote none.
    pub first: u64,
    /// The newest revision after it.
    pub revision: u64,
}

/// The facts for a decision on a change.
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
    /// It was, its secrets never arrived, and new ones replaced them.
    Replaced,
    /// It was, and there is nothing left to do.
    Completed,
}

/// The result of an issue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issued {
    /// The keys, in the requested order. On a replay, those that still exist.
    pub keys: Vec<KeyRecord>,
    /// The newest revision after it.
    pub revision: u64,
    /// Whether it was a retry.
    pub replay: Replay,
}

/// The result of a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// The key as it is now; as it was, if this change erased it; `None` on a replay whose key no longer exists.
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
    /// Nothing: the key already was as requested.
    Nothing,
    /// The key was stored with its changes.
    Stored,
    /// The record is deleted; its digests are tombstones.
    Erased,
}

/// Which keys to list, newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyQuery {
    /// The tenant.
    pub tenant: Slug,
    /// Only this owner's.
    pub subject: Option<Subject>,
    /// Only keys with this standing at `now`; the two `hide_` fields are then ignored.
    pub standing: Option<Standing>,
    /// Only keys whose owner is blocked (see [`KeyRecord::owner_blocked`]); or only the others.
    pub owner_blocked: Option<bool>,
    /// Leave out revoked keys.
    pub hide_revoked: bool,
    /// Leave out keys that are active but past their expiry. Disabled keys are always listed.
    pub hide_expired: bool,
    /// Only active keys that expire after `now` and before this time.
    pub expires_before: Option<Timestamp>,
    /// Only active keys that were created and last used before this time.
    pub unused_since: Option<Timestamp>,
    /// Only keys that hold this scope.
    pub scope: Option<String>,
    /// Only keys whose name contains this, without regard to case (Unicode case folding).
    pub search: Option<String>,
    /// With `search`: also keys whose secret ends in these four characters.
    pub last_four: Option<String>,
    /// Where to begin.
    pub start: PageStart,
    /// Maximum number of keys to return.
    pub limit: u32,
    /// Examine at most this many keys for the page, and as many for the total, the newest first: a filter that rarely
    /// matches among many keys then returns a short page, and where to continue. `None`: all keys are examined, and
    /// none are counted.
    pub look_at: Option<u32>,
    /// The time at which standing is determined.
    pub now: Timestamp,
}

impl KeyQuery {
    /// Returns a query for all keys of a tenant, without filters and without a total.
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
    /// After this many keys.
    Offset(u64),
    /// After (older than) this key.
    After(KeyId),
}

/// A page of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyRecord>,
    /// How many keys match the filter in all; `None` if they were not to be counted.
    pub total: Option<Total>,
    /// Where the next page begins, if there may be one.
    pub next: Option<KeyId>,
}

/// A number of matching keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Total {
    /// How many were found.
    pub count: u64,
    /// Whether these are all. If not, there may be more among the keys that were not examined.
    pub is_exact: bool,
}

/// Whether the store was new.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bootstrap {
    /// It was empty: the first tenant and root key were created.
    Founded,
    /// It was not; nothing was done.
    StoodAlready,
    /// It was empty, and the first root key could not be shown; nothing was done. The text is the reason.
    NotShown(String),
}

/// Shows the first root key to the operator, or returns why it cannot be shown. Called at most once, inside the
/// transaction that creates the root key and before its commit.
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
