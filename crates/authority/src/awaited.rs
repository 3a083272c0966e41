//! What a repeated change waits for (rule R8): the change that it repeats, not everything in progress.

use crate::{Authority, Call, Failure};
use keyreeve_core::KeyId;
use keyreeve_core::access::Reach;
use keyreeve_core::coherence::holding::{Awaited, ChangeScope, Span};
use keyreeve_core::text::{Slug, Subject};
use keyreeve_store::model::AuditQuery;

/// Entries about one thing that are read. If there are more, the wait includes the tenant's older changes.
const ENTRIES_MAX: u32 = 100;
/// Things that are looked up one by one. If there are more, the wait includes all of the tenant's changes.
const THINGS_MAX: usize = 64;

/// Returns the scope of what a root key belongs to.
pub(crate) fn scope_of(reach: &Reach) -> ChangeScope {
    match reach {
        Reach::Instance => ChangeScope::Instance,
        Reach::Tenant(slug) => ChangeScope::Tenant(slug.clone()),
    }
}

impl Authority {
    /// Returns the number of forks of the database's history that this process has seen.
    pub(crate) fn history(&self) -> u64 {
        self.node().map_or(0, |node| node.health().forks)
    }

    /// Returns the most recent entries about one thing, which include its last change. `newest` is a revision that is
    /// not older than that change.
    pub(crate) async fn written_about(&self, scope: ChangeScope, target: &str, newest: u64) -> Awaited {
        let nothing_waits = self.node().is_none() && self.children().is_empty();
        let spans = match nothing_waits {
            true => vec![Span::one(newest)],
            // If the log cannot be read, every change of the scope up to `newest` is waited for.
            false => self.revisions_of(&scope, target, newest).await.unwrap_or_default(),
        };
        let all = || vec![Span { first: 0, last: newest }];
        Awaited {
            scope: Some(scope),
            spans: if spans.is_empty() { all() } else { spans },
        }
    }

    async fn revisions_of(&self, scope: &ChangeScope, target: &str, newest: u64) -> Result<Vec<Span>, Failure> {
        let tenant = match scope {
            ChangeScope::Instance => None,
            ChangeScope::Tenant(slug) => Some(slug.clone()),
        };
        let query = AuditQuery {
            tenant,
            target_id: Some(target.to_owned()),
            // Entries after the repeated change belong to other changes.
            before: Some(newest.saturating_add(1)),
            limit: ENTRIES_MAX,
            ..AuditQuery::default()
        };
        let entries = self.store.audit(query).await?;
        let mut spans: Vec<_> = entries.iter().map(|entry| Span::one(entry.revision)).collect();
        let oldest = entries.last().map(|entry| entry.revision);
        if let Some(oldest) = oldest.filter(|_| entries.len() >= usize::try_from(ENTRIES_MAX).unwrap_or(0)) {
            spans.push(Span { first: 0, last: oldest });
        }
        Ok(spans)
    }

    /// As `written_about`, for several keys of a tenant; returns spans.
    pub(crate) async fn written_about_keys(&self, tenant: &Slug, keys: &[KeyId], newest: u64) -> Vec<Span> {
        if keys.len() > THINGS_MAX {
            return vec![Span { first: 0, last: newest }];
        }
        let mut spans = Vec::new();
        for key in keys {
            let scope = ChangeScope::Tenant(tenant.clone());
            spans.extend(self.written_about(scope, &key.to_string(), newest).await.spans);
        }
        spans
    }

    /// Returns a change by its newest revision, as precisely as it is known here; [`Failure::NotFound`] if it is not of
    /// the caller's tenant. An instance caller who names no tenant sees those of all.
    pub(crate) async fn change_of(&self, call: &Call, named: Option<&Slug>, revision: u64) -> Result<Awaited, Failure> {
        let before = revision.checked_sub(1).ok_or(Failure::NotFound)?;
        let entries = self.store.audit_after(before, 1).await?;
        let entry = entries
            .first()
            .filter(|entry| entry.revision == revision)
            .ok_or(Failure::NotFound)?;
        let sees_all = call.caller.reach == Reach::Instance && named.is_none();
        let tenant = if sees_all {
            entry.tenant.as_str()
        } else {
            call.tenant.as_str()
        };
        if let (Some(known), None) = (self.remembered.get(self.history(), revision, tenant), &call.caller.own) {
            return Ok(known);
        }
        let own = call.caller.own.as_ref().map(Subject::as_str);
        if entry.tenant != tenant || own.is_some_and(|own| entry.subject.as_deref() != Some(own)) {
            return Err(Failure::NotFound);
        }
        // The change may have more entries than this one, all of them earlier.
        Ok(Awaited {
            scope: match tenant {
                "" => Some(ChangeScope::Instance),
                tenant => Slug::parse(tenant).ok().map(ChangeScope::Tenant),
            },
            spans: vec![Span {
                first: 0,
                last: revision,
            }],
        })
    }
}
