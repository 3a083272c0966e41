//! Creates, changes and removes check policies.

use super::audit_log::{Target, append};
use super::{Written, recheck_actor, require_version};
use crate::describe;
use crate::error::WriteError;
use crate::model::{AuditDraft, ChangedCheckPolicy, CheckPolicyChange, CheckPolicyRecord, WriteContext};
use crate::store::Commit;
use crate::tx::Tx;
use crate::version::Version;
use keyreeve_core::CheckPolicy;
use keyreeve_core::audit::Action;
use keyreeve_core::check::{CHECK_POLICIES_MAX, DEFAULT_CHECK_POLICY};
use keyreeve_core::text::{CheckPolicyName, Slug};
use keyreeve_core::user::Status;

/// Carries out a change; one to the present values changes nothing.
pub(crate) async fn change_check_policy(
    tx: &mut dyn Tx,
    context: &WriteContext,
    tenant: &Slug,
    change: CheckPolicyChange,
) -> Result<Written<ChangedCheckPolicy>, WriteError> {
    let found = tx.tenant(tenant).await?;
    found
        .filter(|tenant| tenant.status != Status::Removed)
        .ok_or(WriteError::NotFound)?;
    recheck_actor(tx, context, tenant).await?;
    let before = tx.check_policy(tenant, change.name()).await?;
    require_present(context, tenant, before.as_ref(), &change)?;
    let is_removal = matches!(change, CheckPolicyChange::Remove(_));
    let after = decide(before.as_ref(), change)?;
    let is_change = before.as_ref().map(|record| &record.policy) != after.as_ref();
    let after = after.map(|policy| stored(policy, before.as_ref(), tenant, context));
    let mut commit = Commit::default();
    let mut entries = Vec::new();
    if is_change {
        write(tx, tenant, before.as_ref(), after.as_ref()).await?;
        entries.extend(entry(before.as_ref(), after.as_ref()));
        commit.check_policies.push(tenant.clone());
    }
    commit.revision = append(tx, context, entries).await?;
    commit.tenant = Some(tenant.clone());
    let record = match (is_removal, is_change) {
        (true, _) | (false, false) => before,
        (false, true) => after,
    };
    let revision = commit.revision;
    let value = ChangedCheckPolicy { record, revision };
    Ok(Written { value, commit })
}

/// Refuses a change of a policy that is in another version by now. [`decide`] handles a policy that does not exist.
fn require_present(
    context: &WriteContext,
    tenant: &Slug,
    before: Option<&CheckPolicyRecord>,
    change: &CheckPolicyChange,
) -> Result<(), WriteError> {
    let name = change.name();
    match (before, change) {
        (_, CheckPolicyChange::Create(_)) => Ok(()),
        (Some(record), _) => require_version(context, || Version::of_check_policy(record)),
        (None, _) if name.as_str() == DEFAULT_CHECK_POLICY => require_version(context, || {
            Version::of_check(tenant, &CheckPolicy::any(name.clone()), None)
        }),
        (None, _) => Ok(()),
    }
}

/// Returns the policy to store; `None` if it is to be removed.
fn decide(before: Option<&CheckPolicyRecord>, change: CheckPolicyChange) -> Result<Option<CheckPolicy>, WriteError> {
    let is_built_in = |name: &CheckPolicyName| name.as_str() == DEFAULT_CHECK_POLICY;
    match (change, before) {
        (CheckPolicyChange::Create(_), Some(_)) => Err(WriteError::CheckPolicyTaken),
        (CheckPolicyChange::Create(policy), None) if is_built_in(&policy.name) => Err(WriteError::CheckPolicyTaken),
        (CheckPolicyChange::Create(policy), None) => Ok(Some(policy)),
        (CheckPolicyChange::Update(_, edit), Some(record)) => Ok(Some(record.policy.clone().edited(edit))),
        (CheckPolicyChange::Update(name, edit), None) if is_built_in(&name) => {
            let unchanged = CheckPolicy::any(name);
            let edited = unchanged.clone().edited(edit);
            Ok(Some(edited).filter(|edited| *edited != unchanged))
        }
        (CheckPolicyChange::Remove(_), Some(_)) => Ok(None),
        (CheckPolicyChange::Remove(name), None) if is_built_in(&name) => Ok(None),
        (CheckPolicyChange::Update(..) | CheckPolicyChange::Remove(_), None) => Err(WriteError::NotFound),
    }
}

fn stored(
    policy: CheckPolicy,
    before: Option<&CheckPolicyRecord>,
    tenant: &Slug,
    context: &WriteContext,
) -> CheckPolicyRecord {
    CheckPolicyRecord {
        tenant: tenant.clone(),
        policy,
        created_at: before.map_or(context.at, |record| record.created_at),
        updated_at: context.at,
    }
}

async fn write(
    tx: &mut dyn Tx,
    tenant: &Slug,
    before: Option<&CheckPolicyRecord>,
    after: Option<&CheckPolicyRecord>,
) -> Result<(), WriteError> {
    match (before, after) {
        (None, Some(record)) => {
            let count = tx.count_check_policies(tenant).await?;
            if usize::try_from(count).unwrap_or(usize::MAX) >= CHECK_POLICIES_MAX {
                return Err(WriteError::TooManyCheckPolicies);
            }
            tx.put_check_policy(record).await?;
        }
        (Some(_), Some(record)) => tx.put_check_policy(record).await?,
        (Some(record), None) => tx.delete_check_policy(tenant, &record.policy.name).await?,
        (None, None) => {}
    }
    Ok(())
}

fn entry(before: Option<&CheckPolicyRecord>, after: Option<&CheckPolicyRecord>) -> Option<(Target, AuditDraft)> {
    let action = match (before, after) {
        (None, None) => return None,
        (None, Some(_)) => Action::CheckPolicyCreated,
        (Some(_), Some(_)) => Action::CheckPolicyUpdated,
        (Some(_), None) => Action::CheckPolicyRemoved,
    };
    let described = |record: &CheckPolicyRecord| describe::check_policy(&record.policy);
    let about = after.or(before)?;
    let target = Target {
        tenant: about.tenant.to_string(),
        kind: "check_policy",
        id: about.policy.name.to_string(),
        subject: None,
    };
    let draft = AuditDraft {
        action,
        reason: None,
        before: before.map(described),
        after: after.map(described),
    };
    Some((target, draft))
}
