//! The key: its record, how it is issued, and the result of a change.

use super::{Refusal, Revocation, Standing, State};
use crate::id::KeyId;
use crate::key::{Digest, LastFour, Prefix, Secret};
use crate::limits::Limits;
use crate::policy::{ExpiryWish, Names, Policy};
use crate::scope::Scopes;
use crate::text::{Claims, Description, Name, Slug, Subject};
use crate::time::Timestamp;

/// An API key. It has the digest of its secret, never the secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// Its id, which never changes.
    pub id: KeyId,
    /// Its tenant.
    pub tenant: Slug,
    /// Its owner. Never changes.
    pub subject: Subject,
    /// Its display name.
    pub name: Name,
    /// A longer description.
    pub description: Option<Description>,
    /// What the relying service stores about the key holder.
    pub claims: Option<Claims>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// Its limits: how often, and from which networks.
    pub limits: Limits,
    /// Who created it, in the caller's words.
    pub created_by: Option<Subject>,
    /// The digest of the current secret and what may be shown of it.
    pub secret: NewSecret,
    /// The previous secret, while it is still accepted.
    pub retiring: Option<Retiring>,
    /// The stored state.
    pub state: State,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When any field of it last changed.
    pub updated_at: Timestamp,
    /// When it last got a new secret.
    pub rotated_at: Option<Timestamp>,
    /// When it expires; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// The stored form of a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewSecret {
    /// Its digest.
    pub digest: Digest,
    /// Its prefix.
    pub prefix: Prefix,
    /// Its last four characters.
    pub last_four: LastFour,
}

impl NewSecret {
    /// Returns the stored form of `secret`, which was minted with `prefix`.
    pub fn of(secret: &Secret, prefix: &Prefix) -> Self {
        Self {
            digest: secret.digest(),
            prefix: prefix.clone(),
            last_four: secret.last_four(),
        }
    }
}

/// The secret before the last rotation, still accepted for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retiring {
    /// Its digest.
    pub digest: Digest,
    /// When it stops being accepted.
    pub until: Timestamp,
}

/// The result of a transition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The key was in that state already: nothing to store, no audit entry.
    Unchanged(Key),
    /// The key to be stored.
    Changed(Key),
    /// The record is to be deleted; this is the key before that.
    Erased(Key),
}

impl Outcome {
    /// Returns the key after the change, or before it if erased.
    pub fn key(&self) -> &Key {
        match self {
            Self::Unchanged(key) | Self::Changed(key) | Self::Erased(key) => key,
        }
    }
}

/// Everything needed to issue a key.
#[derive(Clone, Debug)]
pub struct IssueOrder {
    /// The new id.
    pub id: KeyId,
    /// The tenant.
    pub tenant: Slug,
    /// The owner.
    pub subject: Subject,
    /// The name.
    pub name: Name,
    /// A description.
    pub description: Option<Description>,
    /// Claims.
    pub claims: Option<Claims>,
    /// Scopes.
    pub scopes: Scopes,
    /// Limits.
    pub limits: Limits,
    /// Who creates it, in the caller's words.
    pub created_by: Option<Subject>,
    /// The requested expiry.
    pub expiry: ExpiryWish,
    /// The new secret.
    pub secret: NewSecret,
}

/// What the store knows about the subject, read in the transaction that issues the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IssueFacts {
    /// Keys of the subject that count toward the limit.
    pub used: u32,
    /// Whether a usable key of the subject has the requested name.
    pub name_taken: bool,
    /// Whether the subject is a user who is suspended or removed, or the tenant is.
    pub owner_blocked: bool,
}

impl Key {
    /// Issues a key, if policy and facts allow it.
    pub fn issue(order: IssueOrder, facts: IssueFacts, policy: &Policy, now: Timestamp) -> Result<Self, Refusal> {
        if facts.owner_blocked {
            return Err(Refusal::OwnerBlocked);
        }
        if let Some(max) = policy.limit.keys_per_subject
            && facts.used >= max
        {
            return Err(Refusal::LimitReached { max, used: facts.used });
        }
        if policy.names == Names::Unique && facts.name_taken {
            return Err(Refusal::NameTaken);
        }
        let expires_at = policy.expiry_for(order.expiry, now)?;
        Ok(Self {
            id: order.id,
            tenant: order.tenant,
            subject: order.subject,
            name: order.name,
            description: order.description,
            claims: order.claims,
            scopes: order.scopes,
            limits: order.limits,
            created_by: order.created_by,
            secret: order.secret,
            retiring: None,
            state: State::Active,
            created_at: now,
            updated_at: now,
            rotated_at: None,
            expires_at,
        })
    }

    /// Returns the key as it is at `now`: a hold whose undo window is over is a revocation, and an overlap that is over
    /// has ended.
    pub fn settled(mut self, now: Timestamp) -> Self {
        if self.retiring.as_ref().is_some_and(|old| old.until <= now) {
            self.retiring = None;
        }
        self.state = match self.state {
            State::Disabled(hold) if hold.finalize_at.is_some_and(|end| end <= now) => State::Revoked(Revocation {
                at: hold.since,
                by: hold.by,
                code: hold.code,
                note: hold.note,
            }),
            state => state,
        };
        self
    }

    /// Whether the key's expiry is reached at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Returns the state of a settled key at `now`, as lists show it.
    pub fn standing(&self, now: Timestamp) -> Standing {
        match &self.state {
            State::Revoked(_) => Standing::Revoked,
            State::Disabled(_) => Standing::Disabled,
            State::Active if self.is_expired(now) => Standing::Expired,
            State::Active => Standing::Active,
        }
    }

    /// Whether the key's name is taken for other keys of its owner at `now`: it is neither revoked nor expired.
    pub fn holds_its_name(&self, now: Timestamp) -> bool {
        !matches!(self.state, State::Revoked(_)) && !self.is_expired(now)
    }

    /// Whether the key counts toward its subject's limit at `now`: it could be accepted again without a new secret.
    pub fn counts(&self, policy: &Policy, now: Timestamp) -> bool {
        match &self.state {
            State::Revoked(_) => false,
            State::Active | State::Disabled(_) => policy.limit.count_expired || !self.is_expired(now),
        }
    }
}
