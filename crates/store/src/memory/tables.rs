//! The tables of the memory store, and reads of them.

use super::cluster::SharedCluster;
use super::table::Table;
use crate::folded::folded;
use crate::model::{
    AuditQuery, AuditRecord, CheckPolicyRecord, Credential, Head, KeyBrief, KeyPage, KeyQuery, KeyRecord, Login,
    PageStart, RootKey, Tenant, Total, Trace,
};
use crate::tx::IdempotencyRecord;
use keyreeve_core::access::Reach;
use keyreeve_core::lifecycle::{Standing, State};
use keyreeve_core::limits::Counter;
use keyreeve_core::text::{CheckPolicyName, LimitName, Slug};
use keyreeve_core::verdict::{KeyStanding, SecretStanding};
use keyreeve_core::{Digest, Key, KeyId, RootKeyId, Timestamp, User, UserId};

/// A secret that exists or existed.
#[derive(Clone, Debug)]
pub(super) struct SecretRow {
    pub(super) key: KeyId,
    pub(super) tenant: Slug,
    pub(super) standing: SecretStanding,
    pub(super) last_used_at: Option<Timestamp>,
}

/// A key, and when any secret of it was last used and last refused.
#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub(super) key: Key,
    pub(super) last_used_at: Option<Timestamp>,
    pub(super) last_refused_at: Option<Timestamp>,
}

/// The tables.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) head: Head,
    pub(super) committed_head: Head,
    pub(super) log: Table<u64, AuditRecord>,
    pub(super) tenants: Table<Slug, Tenant>,
    pub(super) root_keys: Table<RootKeyId, RootKey>,
    /// By the bytes of the digest: the root key, and since when.
    pub(super) replaced_root_secrets: Table<[u8; 32], (RootKeyId, Timestamp)>,
    pub(super) keys: Table<KeyId, KeyRow>,
    /// By the bytes of the digest: [`Digest`] compares in constant time and so has no order.
    pub(super) secrets: Table<[u8; 32], SecretRow>,
    pub(super) idempotency: Table<(String, String), IdempotencyRecord>,
    pub(super) users: Table<UserId, User>,
    /// By key, hour and outcome: the number of verdicts, and their cost beyond one unit each.
    pub(super) usage: Table<(KeyId, Timestamp, String), (u64, u64)>,
    /// By key, outcome and address.
    pub(super) traces: Table<(KeyId, String, String), Trace>,
    pub(super) logins: Table<[u8; 32], Login>,
    pub(super) check_policies: Table<(Slug, CheckPolicyName), CheckPolicyRecord>,
    pub(super) counters: Table<(KeyId, LimitName), Counter>,
    /// Not part of any transaction.
    pub(super) meeting: SharedCluster,
}

impl Default for Tables {
    fn default() -> Self {
        let head = Head {
            revision: 0,
            chain: [0; 32],
        };
        Self {
            head,
            committed_head: head,
            log: Table::default(),
            tenants: Table::default(),
            root_keys: Table::default(),
            replaced_root_secrets: Table::default(),
            keys: Table::default(),
            secrets: Table::default(),
            idempotency: Table::default(),
            users: Table::default(),
            usage: Table::default(),
            traces: Table::default(),
            logins: Table::default(),
            check_policies: Table::default(),
            counters: Table::default(),
            meeting: SharedCluster::default(),
        }
    }
}

impl Tables {
    pub(super) fn commit(&mut self) {
        self.committed_head = self.head;
        self.log.commit();
        self.tenants.commit();
        self.root_keys.commit();
        self.replaced_root_secrets.commit();
        self.keys.commit();
        self.secrets.commit();
        self.idempotency.commit();
        self.users.commit();
        self.usage.commit();
        self.traces.commit();
        self.logins.commit();
        self.check_policies.commit();
        self.counters.commit();
    }

    pub(super) fn roll_back(&mut self) {
        self.head = self.committed_head;
        self.log.roll_back();
        self.tenants.roll_back();
        self.root_keys.roll_back();
        self.replaced_root_secrets.roll_back();
        self.keys.roll_back();
        self.secrets.roll_back();
        self.idempotency.roll_back();
        self.users.roll_back();
        self.usage.roll_back();
        self.traces.roll_back();
        self.logins.roll_back();
        self.check_policies.roll_back();
        self.counters.roll_back();
    }

    /// Returns the key as stored, not settled.
    pub(super) fn key(&self, tenant: &Slug, id: KeyId) -> Option<KeyRecord> {
        let row = self.keys.get(&id).filter(|row| row.key.tenant == *tenant)?;
        Some(self.record(row))
    }

    fn record(&self, row: &KeyRow) -> KeyRecord {
        let secret = self.secrets.get(row.key.secret.digest.bytes());
        KeyRecord {
            key: row.key.clone(),
            last_used_at: row.last_used_at,
            last_refused_at: row.last_refused_at,
            is_presented: secret.is_some_and(|secret| secret.last_used_at.is_some()),
            owner_blocked: self.is_owner_blocked(&row.key),
        }
    }

    pub(super) fn is_user_blocked(&self, tenant: &Slug, id: UserId) -> bool {
        let user = self.users.get(&id).filter(|user| user.tenant == *tenant);
        user.is_some_and(User::is_blocked)
    }

    pub(super) fn is_owner_blocked(&self, key: &Key) -> bool {
        let owner = key.subject.user();
        owner.is_some_and(|id| self.is_user_blocked(&key.tenant, id))
            || self.tenants.get(&key.tenant).is_some_and(Tenant::is_blocked)
    }

    pub(super) fn counters_of(&self, key: KeyId) -> Vec<(LimitName, Counter)> {
        let rows = self.counters.rows().iter().filter(|((of, _), _)| *of == key);
        rows.map(|((_, name), counter)| (name.clone(), *counter)).collect()
    }

    pub(super) fn credential(&self, digest: &Digest) -> Option<Credential> {
        let secret = self.secrets.get(digest.bytes())?;
        Some(Credential {
            secret: secret.standing,
            key_id: secret.key,
            tenant: secret.tenant.clone(),
            is_presented: secret.last_used_at.is_some(),
            key: self.keys.get(&secret.key).map(|row| brief(&row.key)),
        })
    }

    /// Returns the root key with this secret, or of which it is retiring.
    pub(super) fn root_key_by(&self, digest: &Digest) -> Option<&RootKey> {
        let is_own = |root_key: &&RootKey| {
            root_key.digest == *digest || root_key.retiring.as_ref().is_some_and(|old| old.digest == *digest)
        };
        self.root_keys.rows().values().find(is_own)
    }

    pub(super) fn root_keys(&self, tenant: Option<&Slug>, limit: u32) -> Vec<RootKey> {
        let within = |root_key: &&RootKey| tenant.is_none_or(|slug| root_key.reach == Reach::Tenant(slug.clone()));
        let newest_first = self.root_keys.rows().values().rev().filter(within);
        newest_first.take(count(limit)).cloned().collect()
    }

    pub(super) fn audit(&self, query: &AuditQuery) -> Vec<AuditRecord> {
        let matching = self.log.rows().values().filter(|record| is_let_through(record, query));
        if query.oldest_first {
            return matching.take(count(query.limit)).cloned().collect();
        }
        matching.rev().take(count(query.limit)).cloned().collect()
    }

    pub(super) fn lapsed(&self, now: Timestamp) -> impl Iterator<Item = (Slug, KeyId)> {
        let is_over = move |row: &&KeyRow| match &row.key.state {
            State::Disabled(hold) => hold.finalize_at.is_some_and(|end| end <= now),
            State::Active | State::Revoked(_) => false,
        };
        let rows = self.keys.rows().values().filter(is_over);
        rows.map(|row| (row.key.tenant.clone(), row.key.id))
    }

    pub(super) fn list(&self, query: &KeyQuery) -> KeyPage {
        let (after, offset) = match query.start {
            PageStart::Offset(offset) => (None, usize::try_from(offset).unwrap_or(usize::MAX)),
            PageStart::After(id) => (Some(id), 0),
        };
        let by_expiry = query.expires_before.filter(|_| query.subject.is_none());
        let soonest = by_expiry.map(|end| self.expiring(query, end));
        let (matching, edge) = match &soonest {
            Some((rows, _)) => {
                let older = rows.iter().filter(|row| after.is_none_or(|id| row.key.id < id));
                (older.copied().collect(), None)
            }
            None => self.looked_at(query, after),
        };
        let rest = matching.get(offset..).unwrap_or_default();
        let page = rest.get(..count(query.limit)).unwrap_or(rest);
        let keys = page.iter().map(|row| self.record(row));
        let has_more = rest.len() > page.len();
        KeyPage {
            keys: keys.map(|record| settled(record, query.now)).collect(),
            total: query.look_at.map(|_| {
                let (all, is_exact) = soonest.unwrap_or_else(|| {
                    let (all, edge) = self.looked_at(query, None);
                    (all, edge.is_none())
                });
                let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
                Total { count, is_exact }
            }),
            next: page.last().filter(|_| has_more).map_or(edge, |row| Some(row.key.id)),
        }
    }

    /// Returns the matching keys among those that are examined, and the last examined one if there are others.
    fn looked_at(&self, query: &KeyQuery, after: Option<KeyId>) -> (Vec<&KeyRow>, Option<KeyId>) {
        let is_old_enough = |row: &&KeyRow| query.unused_since.is_none_or(|time| row.key.id < KeyId::first_at(time));
        let owned = |row: &&KeyRow| {
            let key = &row.key;
            key.tenant == query.tenant && query.subject.as_ref().is_none_or(|subject| key.subject == *subject)
        };
        let rows = self.keys.rows().values().rev().filter(owned).filter(is_old_enough);
        let rows: Vec<_> = rows.filter(|row| after.is_none_or(|id| row.key.id < id)).collect();
        let look_at = query.look_at.map_or(usize::MAX, count);
        let looked_at = rows.get(..look_at).unwrap_or(&rows);
        let edge = looked_at.last().filter(|_| rows.len() > looked_at.len());
        let matching = looked_at.iter().copied().filter(|row| self.is_asked_for(row, query));
        (matching.collect(), edge.map(|row| row.key.id))
    }

    /// Returns the keys that expire before a time, of which the soonest are examined; and whether those are all.
    fn expiring(&self, query: &KeyQuery, end: Timestamp) -> (Vec<&KeyRow>, bool) {
        let expires = |row: &&KeyRow| row.key.expires_at.is_some_and(|at| at > query.now && at < end);
        let rows = self.keys.rows().values().filter(|row| row.key.tenant == query.tenant);
        let mut soonest: Vec<_> = rows.filter(expires).collect();
        soonest.sort_by_key(|row| row.key.expires_at);
        let look_at = query.look_at.map_or(usize::MAX, count);
        let is_all = soonest.len() <= look_at;
        soonest.truncate(look_at);
        soonest.retain(|row| self.is_asked_for(row, query));
        soonest.sort_by_key(|row| std::cmp::Reverse(row.key.id));
        (soonest, is_all)
    }

    fn is_asked_for(&self, row: &KeyRow, query: &KeyQuery) -> bool {
        let is_owner_so = |wanted| self.is_owner_blocked(&row.key) == wanted;
        is_asked_for(row, query) && query.owner_blocked.is_none_or(is_owner_so)
    }
}

fn is_let_through(record: &AuditRecord, query: &AuditQuery) -> bool {
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let is_action = query.action.as_ref().is_none_or(|wanted| {
        *wanted == record.action || (wanted.ends_with('.') && record.action.starts_with(wanted.as_str()))
    });
    let is_within = |slug: &Slug| slug.as_str() == record.tenant || (query.with_instance && record.tenant.is_empty());
    query.tenant.as_ref().is_none_or(is_within)
        && is(&query.target_id, &record.target_id)
        && is(&query.actor_id, &record.actor_id)
        && (query.subject.is_none() || query.subject == record.subject)
        && is_action
        && query.since.is_none_or(|since| record.at >= since)
        && query.until.is_none_or(|until| record.at < until)
        && query.before.is_none_or(|before| record.revision < before)
        && query.after.is_none_or(|after| record.revision > after)
}

fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

pub(super) fn settled(record: KeyRecord, now: Timestamp) -> KeyRecord {
    KeyRecord {
        key: record.key.settled(now),
        ..record
    }
}

fn is_asked_for(row: &KeyRow, query: &KeyQuery) -> bool {
    let key = row.key.clone().settled(query.now);
    let standing = key.standing(query.now);
    let stands_so = match query.standing {
        Some(wanted) => standing == wanted,
        None => {
            !(query.hide_revoked && standing == Standing::Revoked
                || query.hide_expired && standing == Standing::Expired)
        }
    };
    let has_name = |text: &String| {
        folded(key.name.as_str()).contains(&folded(text))
            || query.last_four.as_deref() == Some(key.secret.last_four.as_str())
    };
    let is_unused = |time: Timestamp| {
        standing == Standing::Active && key.created_at < time && row.last_used_at.is_none_or(|used| used < time)
    };
    key.tenant == query.tenant
        && query.subject.as_ref().is_none_or(|subject| key.subject == *subject)
        && stands_so
        && query.expires_before.is_none_or(|end| is_expiring(&key, query.now, end))
        && query.search.as_ref().is_none_or(has_name)
        && query.unused_since.is_none_or(is_unused)
        && query
            .scope
            .as_ref()
            .is_none_or(|wanted| key.scopes.iter().any(|scope| scope == wanted))
}

fn is_expiring(key: &Key, now: Timestamp, end: Timestamp) -> bool {
    key.state == State::Active && key.expires_at.is_some_and(|expiry| expiry > now && expiry < end)
}

fn brief(key: &Key) -> KeyBrief {
    KeyBrief {
        subject: key.subject.as_str().into(),
        name: key.name.as_str().into(),
        scopes: key.scopes.joined().into(),
        limits: key.limits.joined().into(),
        claims: key.claims.as_ref().map(|claims| claims.as_json().into()),
        standing: match &key.state {
            State::Active => KeyStanding::Active,
            State::Disabled(hold) => KeyStanding::Disabled {
                finalize_at: hold.finalize_at,
            },
            State::Revoked(_) => KeyStanding::Revoked,
        },
        expires_at: key.expires_at,
    }
}
