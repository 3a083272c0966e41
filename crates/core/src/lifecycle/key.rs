//! The key itself: its record, how it is issued, and what each change leaves behind.

use super::{Refusal, Revocation, Standing, State};
use crate::id::KeyId;
use crate::key::{Digest, LastFour, Prefix, Secret};
use crate::limits::Limits;
use crate::policy::{ExpiryWish, Names, Policy};
use crate::scope::Scopes;
use crate::text::{Claims, Description, Name, Slug, Subject};
use crate::time::Timestamp;

/// A named grant. The secret is not here, only its digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// Its id, kept for its whole life.
    pub id: KeyId,
    /// The tenant it belongs to.
    pub tenant: Slug,
    /// Who owns it. Never changes silently.
    pub subject: Subject,
    /// What people call it.
    pub name: Name,
    /// A longer remark.
    pub description: Option<Description>,
    /// What the relying service wants to know about the holder.
    pub claims: Option<Claims>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// How often, and from where.
    pub limits: Limits,
    /// Who made it, in the caller's words.
    pub created_by: Option<Subject>,
    /// The live secret's digest and what may be shown of it.
    pub secret: NewSecret,
    /// The previous secret, while it is still good.
    pub retiring: Option<Retiring>,
    /// The stored state.
    pub state: State,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When anything of it last changed.
    pub updated_at: Timestamp,
    /// When it last got a new secret.
    pub rotated_at: Option<Timestamp>,
    /// When it expires; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// What is kept of a live secret.
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
    /// What is kept of `secret`, which was minted with `prefix`.
    pub fn of(secret: &Secret, prefix: &Prefix) -> Self {
        Self {
            digest: secret.digest(),
            prefix: prefix.clone(),
            last_four: secret.last_four(),
        }
    }
}

/// The secret before the last rotation, still good for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retiring {
    /// Its digest.
    pub digest: Digest,
    /// Until when it is good.
    pub until: Timestamp,
}

/// What a transition came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The key was already there: nothing to store, no audit entry.
    Unchanged(Key),
    /// The key as it must be stored now.
    Changed(Key),
    /// The record must go; this is what it was.
    Erased(Key),
}

impl Outcome {
    /// The key after the change, or as it was when erased.
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
    /// A remark.
    pub description: Option<Description>,
    /// Claims.
    pub claims: Option<Claims>,
    /// Scopes.
    pub scopes: Scopes,
    /// Limits.
    pub limits: Limits,
    /// Who makes it, in the caller's words.
    pub created_by: Option<Subject>,
    /// The wished expiry.
    pub expiry: ExpiryWish,
    /// The new secret.
    pub secret: NewSecret,
}

/// What the store knows about the subject at the moment of issuing, in the same transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IssueFacts {
    /// Keys of the subject that count toward the limit.
    pub used: u32,
    /// Whether a usable key of the subject has the wished name.
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

    /// The key as it is at `now`: a hold whose undo window is over is a revocation, an overlap that is over is gone.
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

    /// Where a settled key stands at `now`, as lists show it.
    pub fn standing(&self, now: Timestamp) -> Standing {
        match &self.state {
            State::Revoked(_) => Standing::Revoked,
            State::Disabled(_) => Standing::Disabled,
            State::Active if self.is_expired(now) => Standing::Expired,
            State::Active => Standing::Active,
        }
    }

    /// Whether the key keeps its name from other keys of its owner at `now`: it is neither revoked nor expired.
    pub fn holds_its_name(&self, now: Timestamp) -> bool {
        !matches!(self.state, State::Revoked(_)) && !self.is_expired(now)
    }

    /// Whether the key counts toward its subject's limit at `now`: whatever could work again without a new secret.
    pub fn counts(&self, policy: &Policy, now: Timestamp) -> bool {
        match &self.state {
            State::Revoked(_) => false,
            State::Active | State::Disabled(_) => policy.limit.count_expired || !self.is_expired(now),
        }
    }
}
