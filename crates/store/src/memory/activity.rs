//! Reads of counts and users.

use super::tables::Tables;
use crate::model::{
    CENSUS_DAYS, CENSUS_ROOT_KEY_DAYS, CENSUS_TENANTS_MAX, Census, RefusalQuery, RootKey, Trace, UsageCount,
};
use keyreeve_core::lifecycle::Standing;
use keyreeve_core::text::Slug;
use keyreeve_core::user::{Email, Status};
use keyreeve_core::{KeyId, Timestamp, User};
use std::cmp::Reverse;
use std::collections::BTreeMap;

impl Tables {
    pub(super) fn usage_of(&self, keys: &[KeyId], since: Timestamp, until: Timestamp) -> Vec<UsageCount> {
        let rows = self.usage.rows().iter();
        let asked_for = rows.filter(|((id, hour, _), _)| keys.contains(id) && *hour >= since && *hour < until);
        let count = |(place, count): (&(KeyId, Timestamp, String), &(u64, u64))| UsageCount {
            key: place.0,
            hour: place.1,
            outcome: place.2.clone(),
            count: count.0,
            extra_cost: count.1,
        };
        asked_for.map(count).collect()
    }

    pub(super) fn refusals(&self, wanted: &RefusalQuery) -> Vec<UsageCount> {
        let mut sums: BTreeMap<(KeyId, &str), (u64, Timestamp)> = BTreeMap::new();
        for ((key, hour, outcome), count) in self.usage.rows() {
            let is_wanted = self.keys.get(key).is_some_and(|row| {
                row.key.tenant == wanted.tenant && wanted.subject.as_ref().is_none_or(|own| row.key.subject == *own)
            });
            if is_wanted && *hour >= wanted.since && !UsageCount::is_accepted(outcome) {
                let sum = sums.entry((*key, outcome)).or_default();
                *sum = (sum.0 + count.0, sum.1.max(*hour));
            }
        }
        let row = |((key, outcome), (count, hour)): ((KeyId, &str), (u64, Timestamp))| UsageCount {
            key,
            hour,
            outcome: outcome.to_owned(),
            count,
            extra_cost: 0,
        };
        let mut rows: Vec<_> = sums.into_iter().map(row).collect();
        rows.sort_by_key(|row| (Reverse(row.count), row.key));
        rows.truncate(usize::try_from(wanted.limit).unwrap_or(usize::MAX));
        rows
    }

    pub(super) fn census(&self, now: Timestamp) -> Census {
        let mut census = Census::default();
        let mut endless: BTreeMap<Slug, u64> = BTreeMap::new();
        for row in self.keys.rows().values() {
            let key = row.key.clone().settled(now);
            let is_blocked = self.is_owner_blocked(&key);
            let counter = match key.standing(now) {
                Standing::Active if is_blocked => &mut census.owner_blocked,
                Standing::Active => &mut census.active,
                Standing::Disabled => &mut census.disabled,
                Standing::Expired => &mut census.expired,
                Standing::Revoked => &mut census.revoked,
            };
            *counter += 1;
            if is_blocked || key.standing(now) != Standing::Active {
                continue;
            }
            let Some(end) = key.expires_at else {
                *endless.entry(key.tenant.clone()).or_default() += 1;
                continue;
            };
            for (days, counter) in CENSUS_DAYS.into_iter().zip(&mut census.expiring) {
                *counter += u64::from(end <= Census::horizon(now, days));
            }
        }
        let soon = Census::horizon(now, CENSUS_ROOT_KEY_DAYS);
        let is_soon = |root_key: &&RootKey| {
            root_key.revoked_at.is_none() && root_key.expires_at.is_some_and(|end| end > now && end <= soon)
        };
        let expiring = self.root_keys.rows().values().filter(is_soon).count();
        census.root_keys_expiring = u64::try_from(expiring).unwrap_or(u64::MAX);
        census.endless = endless.into_iter().collect();
        census
            .endless
            .sort_by_key(|(tenant, count)| (Reverse(*count), tenant.clone()));
        census
            .endless
            .truncate(usize::try_from(CENSUS_TENANTS_MAX).unwrap_or(usize::MAX));
        census
    }

    pub(super) fn traces_of(&self, key: KeyId) -> Vec<Trace> {
        let mut traces: Vec<_> = self
            .traces
            .rows()
            .values()
            .filter(|trace| trace.key == key)
            .cloned()
            .collect();
        traces.sort_by_key(|trace| (Reverse(trace.last_at), trace.outcome.clone(), trace.address.clone()));
        traces
    }

    pub(super) fn people(&self, email: &Email, limit: u32) -> Vec<User> {
        let users = self.users.rows().values();
        let found = users.filter(|user| user.email == *email && user.status != Status::Removed);
        let mut people: Vec<_> = found.cloned().collect();
        people.sort_by(|one, other| one.tenant.cmp(&other.tenant));
        people.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        people
    }
}
