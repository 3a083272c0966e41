//! Issues keys, all or none.

use super::audit_log::{Target, append};
use super::gate::not_blocked;
use super::{Written, change::store_keys, corrupt, idempotency, recheck_actor};
use crate::error::WriteError;
use crate::model::{IssueRequest, Issued, KeyRecord, Replay, Tenant, WriteContext};
use crate::store::Commit;
use crate::tx::{PrefetchHint, SubjectCount, Tx};
use keyreeve_core::lifecycle::IssueFacts;
use keyreeve_core::policy::Names;
use keyreeve_core::text::{Name, Subject};
use keyreeve_core::{KeyId, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of names to prefetch. More are read together, in a statement of their own.
const FORESEEN_NAMES: usize = 4;

pub(crate) async fn issue(
    tx: &mut dyn Tx,
    context: &WriteContext,
    mut request: IssueRequest,
) -> Result<Written<Issued>, WriteError> {
    // Most policies require unique names; whether this one does is known only when it is read.
    let is_few = request.items.len() <= FORESEEN_NAMES;
    tx.prefetch(PrefetchHint {
        tenant: &request.tenant,
        context,
        key: None,
        names: if is_few { &request.items } else { &[] },
    })
    .await?;
    let tenant = tx.tenant(&request.tenant).await?.ok_or(WriteError::NotFound)?;
    recheck_actor(tx, context, &tenant.slug).await?;
    if let Some(targets) = idempotency::seen(tx, context).await? {
        return replay(tx, context, request, &targets).await;
    }
    let items = std::mem::take(&mut request.items);
    let mut known = BatchIssueFacts::of(tx, &tenant, &items, context).await?;
    let mut keys = Vec::with_capacity(items.len());
    let mut entries = Vec::with_capacity(items.len());
    for (item, (subject, name)) in items.iter().enumerate() {
        let decided = (request.decide)(item, &tenant.policy, known.facts(subject, name));
        let (key, draft) = decided.map_err(|refusal| WriteError::Refused { item, refusal })?;
        entries.push((Target::key(&key), draft));
        keys.push(KeyRecord {
            key,
            last_used_at: None,
            last_refused_at: None,
            is_presented: false,
            owner_blocked: false,
        });
    }
    let new: Vec<_> = keys.iter().map(|record| &record.key).collect();
    tx.insert_keys(&new).await?;
    idempotency::remember(tx, context, keys.iter().map(|record| record.key.id).collect()).await?;
    let revision = append(tx, context, entries).await?;
    let secrets = keys.iter().map(|record| record.key.secret.digest).collect();
    let tenant = keys.first().map(|record| record.key.tenant.clone());
    Ok(Written {
        value: Issued {
            keys,
            revision,
            replay: Replay::First,
        },
        commit: Commit {
            revision,
            tenant,
            secrets,
            ..Commit::default()
        },
    })
}

/// The facts for the policy's decision: what is stored, and the items before in the same request.
#[derive(Default)]
struct BatchIssueFacts<'i> {
    used: BTreeMap<&'i Subject, u32>,
    taken: BTreeSet<(&'i Subject, &'i Name)>,
    /// Owners who are suspended or removed.
    blocked: BTreeSet<UserId>,
    is_tenant_blocked: bool,
}

impl<'i> BatchIssueFacts<'i> {
    /// Reads only what the policy needs.
    async fn of(
        tx: &mut dyn Tx,
        tenant: &Tenant,
        items: &'i [(Subject, Name)],
        context: &WriteContext,
    ) -> Result<Self, WriteError> {
        let owners: BTreeSet<_> = items.iter().filter_map(|(subject, _)| subject.user()).collect();
        let owners: Vec<_> = owners.into_iter().collect();
        let mut known = Self {
            is_tenant_blocked: tenant.is_blocked(),
            ..Self::default()
        };
        if !owners.is_empty() {
            let blocked = tx.are_users_blocked(&tenant.slug, &owners).await?;
            let blocked = owners.into_iter().zip(blocked).filter(|(_, is_blocked)| *is_blocked);
            known.blocked = blocked.map(|(owner, _)| owner).collect();
        }
        let limit = tenant.policy.limit;
        if let Some(max) = limit.keys_per_subject {
            let mut subjects: BTreeMap<_, u32> = BTreeMap::new();
            for (subject, _) in items {
                *subjects.entry(subject).or_default() += 1;
            }
            let counted = |(&subject, &adding): (&&'i Subject, &u32)| SubjectCount {
                tenant: &tenant.slug,
                subject,
                count_expired: limit.count_expired,
                now: context.at,
                adding,
                max,
            };
            let counted: Vec<_> = subjects.iter().map(counted).collect();
            let used = tx.count_keys(&counted).await?;
            known.used = subjects.into_keys().zip(used).collect();
        }
        if tenant.policy.names == Names::Unique {
            let names: BTreeSet<_> = items.iter().map(|(subject, name)| (subject, name)).collect();
            let names: Vec<_> = names.into_iter().collect();
            let taken = tx.are_names_taken(&tenant.slug, &names, None, context.at).await?;
            let taken = names.into_iter().zip(taken).filter(|(_, is_taken)| *is_taken);
            known.taken = taken.map(|(name, _)| name).collect();
        }
        Ok(known)
    }

    /// Returns the facts for the next item, and counts that item from then on.
    fn facts(&mut self, subject: &'i Subject, name: &'i Name) -> IssueFacts {
        let used = self.used.entry(subject).or_default();
        let facts = IssueFacts {
            used: *used,
            name_taken: !self.taken.insert((subject, name)),
            owner_blocked: self.is_tenant_blocked || subject.user().is_some_and(|id| self.blocked.contains(&id)),
        };
        *used += 1;
        facts
    }
}

/// A retry. New secrets replace those that never arrived; otherwise the request is reported as done.
async fn replay(
    tx: &mut dyn Tx,
    context: &WriteContext,
    mut request: IssueRequest,
    targets: &[KeyId],
) -> Result<Written<Issued>, WriteError> {
    let (records, is_undelivered) = idempotency::targets(tx, context, &request.tenant, targets).await?;
    if !is_undelivered || records.len() != request.items.len() {
        let revision = append(tx, context, Vec::new()).await?;
        return Ok(Written {
            value: Issued {
                keys: records,
                revision,
                replay: Replay::Completed,
            },
            commit: Commit {
                revision,
                ..Commit::default()
            },
        });
    }
    let mut commit = Commit {
        tenant: Some(request.tenant.clone()),
        ..Commit::default()
    };
    let mut entries = Vec::with_capacity(records.len());
    let mut keys = Vec::with_capacity(records.len());
    for (item, record) in records.into_iter().enumerate() {
        not_blocked(item, &record)?;
        let decided = (request.replace)(item, record.key.clone());
        let (key, draft) = decided.map_err(|refusal| WriteError::Refused { item, refusal })?;
        commit.secrets.extend(store_keys(tx, &[&key]).await?);
        entries.push((Target::key(&key), draft));
        keys.push(KeyRecord {
            key,
            is_presented: false,
            ..record
        });
    }
    if keys.is_empty() {
        return Err(corrupt("an idempotency mark without keys").into());
    }
    commit.revision = append(tx, context, entries).await?;
    let revision = commit.revision;
    Ok(Written {
        value: Issued {
            keys,
            revision,
            replay: Replay::Replaced,
        },
        commit,
    })
}
