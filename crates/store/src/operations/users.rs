//! Creates and changes users. The status of a user decides whether their keys work.

use super::audit_log::{Target, append, made};
use super::{Written, recheck_actor, require_version};
use crate::describe;
use crate::error::WriteError;
use crate::model::{AuditDraft, ChangedUser, UserChange, WriteContext};
use crate::store::{Commit, OwnerGate};
use crate::tx::Tx;
use crate::version::Version;
use keyreeve_core::User;
use keyreeve_core::audit::Action;
use keyreeve_core::user::{Status, UserRefusal};

/// Creates a user.
pub(crate) async fn create_user(
    tx: &mut dyn Tx,
    context: &WriteContext,
    user: &User,
) -> Result<Written<u64>, WriteError> {
    tx.tenant(&user.tenant).await?.ok_or(WriteError::NotFound)?;
    recheck_actor(tx, context, &user.tenant).await?;
    if tx.is_email_taken(&user.tenant, &user.email).await? {
        return Err(WriteError::EmailTaken);
    }
    tx.insert_user(user).await?;
    let entry = (target(user), made(Action::UserCreated, describe::user(user)));
    let revision = append(tx, context, vec![entry]).await?;
    Ok(Written {
        value: revision,
        commit: Commit {
            revision,
            ..Commit::default()
        },
    })
}

/// Changes a user; a change to the present values changes nothing.
pub(crate) async fn change_user(
    tx: &mut dyn Tx,
    context: &WriteContext,
    change: UserChange,
) -> Result<Written<ChangedUser>, WriteError> {
    recheck_actor(tx, context, &change.tenant).await?;
    let found = tx.user(&change.tenant, change.id).await?;
    let before = found
        .filter(|user| user.status != Status::Removed)
        .ok_or(WriteError::NotFound)?;
    require_version(context, || Version::of_user(&before))?;
    let others = tx.count_other_admins(&change.tenant, change.id).await?;
    let decided = before.changed(change.edit, others, change.giver, change.is_forced, context.at);
    let decided = decided.map_err(|refusal| match refusal {
        UserRefusal::LastAdmin => WriteError::LastAdmin,
        UserRefusal::RoleBeyond(role) => WriteError::RoleBeyond(role),
    });
    let Some(after) = decided? else {
        let revision = append(tx, context, Vec::new()).await?;
        let commit = Commit {
            revision,
            ..Commit::default()
        };
        let value = ChangedUser {
            user: before,
            revision,
            keys: 0,
        };
        return Ok(Written { value, commit });
    };
    let keys = match after.subject() {
        Some(subject) if before.is_blocked() != after.is_blocked() => {
            tx.count_working_keys(&after.tenant, &subject, context.at).await?
        }
        Some(_) | None => 0,
    };
    tx.update_user(&after).await?;
    // A blocked user, and one whose password changed, is signed out everywhere (OWASP ASVS 7.4.2, 7.4.3).
    if after.is_blocked() || before.password != after.password {
        tx.end_logins(after.id, None).await?;
    }
    let draft = AuditDraft {
        action: match after.status {
            Status::Removed => Action::UserRemoved,
            Status::Active | Status::Suspended => Action::UserUpdated,
        },
        reason: (before.password != after.password && after.password.is_some()).then(|| "new password".into()),
        before: Some(describe::user(&before)),
        after: (after.status != Status::Removed).then(|| describe::user(&after)),
    };
    let revision = append(tx, context, vec![(target(&after), draft)]).await?;
    let owner = after.subject().map(|subject| OwnerGate {
        tenant: after.tenant.clone(),
        subject,
        is_blocked: after.is_blocked(),
    });
    let tenant = after.tenant.clone();
    Ok(Written {
        value: ChangedUser {
            user: after,
            revision,
            keys,
        },
        commit: Commit {
            revision,
            tenant: Some(tenant),
            owners: owner.into_iter().collect(),
            ..Commit::default()
        },
    })
}

fn target(user: &User) -> Target {
    Target {
        tenant: user.tenant.to_string(),
        kind: "user",
        id: user.id.to_string(),
        subject: None,
    }
}
