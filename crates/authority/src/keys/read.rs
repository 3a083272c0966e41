//! Get and list.

use super::KeyUseCases;
use crate::{Call, Failure};
use keyreeve_core::access::Permission;
use keyreeve_core::coherence::Entry;
use keyreeve_core::lifecycle::Standing;
use keyreeve_core::policy::{After, ListDefault};
use keyreeve_core::text::Subject;
use keyreeve_core::{KeyId, Policy, Timestamp};
use keyreeve_store::model::{KeyPage, KeyQuery, KeyRecord, PageStart};

/// Which keys a list shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShownKeys {
    /// As the policy sets it.
    ByPolicy,
    /// Only keys that could be accepted.
    Usable,
    /// All.
    All,
    /// Only keys in this state.
    Only(Standing),
}

/// A request for a page of keys.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Only keys of this owner.
    pub subject: Option<Subject>,
    /// Which states.
    pub shown: ShownKeys,
    /// Only keys whose owner is suspended or removed, or only the others. If unset, a list of active keys leaves out
    /// those of blocked owners.
    pub owner_blocked: Option<bool>,
    /// Only active keys that expire within this many seconds.
    pub expiring_within: Option<u64>,
    /// Only active keys that were not used since this time.
    pub unused_since: Option<Timestamp>,
    /// Only keys that have this scope.
    pub scope: Option<String>,
    /// Only keys whose name contains this.
    pub search: Option<String>,
    /// With `search`: also keys whose secret ends in these four characters.
    pub ending: Option<String>,
    /// Where to begin.
    pub start: PageStart,
    /// Most keys to return.
    pub limit: u32,
}

impl Listing {
    /// The first page, without any filter.
    pub const fn first(shown: ShownKeys, limit: u32) -> Self {
        Self {
            subject: None,
            shown,
            owner_blocked: None,
            expiring_within: None,
            unused_since: None,
            scope: None,
            search: None,
            ending: None,
            start: PageStart::Offset(0),
            limit,
        }
    }
}

/// Most keys that are read for one page, so that its cost does not grow with the number of keys.
const LOOK_AT: u32 = 50_000;

impl KeyUseCases<'_> {
    /// Returns one key of the tenant.
    pub async fn get(self, call: &Call, id: KeyId) -> Result<KeyRecord, Failure> {
        call.require(Permission::KeysRead)?;
        let record = self.0.store.key(&call.tenant, id, self.0.now()).await?;
        record
            .filter(|record| call.caller.owns(&record.key.subject))
            .map(|record| self.0.with_pending_use(record))
            .ok_or(Failure::NotFound)
    }

    /// Fails for a member unless the key is their own; another owner's key is not found. Read before the change: a key
    /// never moves to another owner.
    pub(super) async fn require_own(self, call: &Call, id: KeyId) -> Result<(), Failure> {
        if call.caller.own.is_none() {
            return Ok(());
        }
        let record = self.0.store.key(&call.tenant, id, self.0.now()).await?;
        match record {
            Some(record) if call.caller.owns(&record.key.subject) => Ok(()),
            Some(_) | None => Err(Failure::NotFound),
        }
    }

    /// Returns the key of a valid verdict if it is still active, for answers that show more than a verdict does.
    pub async fn record_of(self, entry: &Entry) -> Result<KeyRecord, Failure> {
        let now = self.0.now();
        let record = self.0.store.key(entry.gate().slug(), entry.key_id(), now).await?;
        let is_active = |record: &KeyRecord| record.key.standing(now) == Standing::Active;
        let record = record.filter(is_active).ok_or(Failure::NotFound)?;
        Ok(self.0.with_pending_use(record))
    }

    /// Returns a page of the tenant's keys, newest first.
    pub async fn list(self, call: &Call, listing: Listing) -> Result<KeyPage, Failure> {
        call.require(Permission::KeysRead)?;
        let tenant = self.0.store.tenant(&call.tenant).await?.ok_or(Failure::NotFound)?;
        if listing.subject.as_ref().is_some_and(|asked| !call.caller.owns(asked)) {
            return Err(Failure::OwnKeysOnly);
        }
        let (hide_revoked, hide_expired) = hidden(listing.shown, &tenant.policy);
        let only_active = listing.shown == ShownKeys::Only(Standing::Active)
            || listing.expiring_within.is_some()
            || listing.unused_since.is_some();
        let query = KeyQuery {
            owner_blocked: listing.owner_blocked.or(only_active.then_some(false)),
            subject: listing.subject.or_else(|| call.caller.own.clone()),
            expires_before: listing
                .expiring_within
                .map(|seconds| self.0.now().plus_seconds(seconds)),
            standing: match listing.shown {
                ShownKeys::Only(standing) => Some(standing),
                ShownKeys::ByPolicy | ShownKeys::Usable | ShownKeys::All => None,
            },
            hide_revoked,
            hide_expired,
            unused_since: listing.unused_since,
            scope: listing.scope,
            search: listing.search,
            last_four: listing.ending,
            look_at: Some(LOOK_AT),
            ..KeyQuery::all(call.tenant.clone(), listing.start, listing.limit, self.0.now())
        };
        let page = self.0.store.list(query).await?;
        let keys = page
            .keys
            .into_iter()
            .map(|record| self.0.with_pending_use(record))
            .collect();
        Ok(KeyPage { keys, ..page })
    }
}

/// Whether revoked and expired keys are left out. `after = hide` always keeps revoked keys out of the default list.
fn hidden(shown: ShownKeys, policy: &Policy) -> (bool, bool) {
    match shown {
        ShownKeys::Usable => (true, true),
        ShownKeys::All | ShownKeys::Only(_) => (false, false),
        ShownKeys::ByPolicy => {
            let usable = policy.list == ListDefault::Usable;
            (usable || policy.revoke.after == After::Hide, usable)
        }
    }
}
