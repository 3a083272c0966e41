//! Make and change users. Whether their keys are judged hangs on them.

use super::journal::{Target, append, made};
use super::{Written, recheck_actor};
use crate::error::WriteError;
use crate::model::{AuditDraft, UserChange, WriteContext};
use crate::store::{Commit, OwnerGate};
use crate::tx::Tx;
use keyreeve_core::User;
use keyreeve_core::audit::Action;
use keyreeve_core::text::Name;
use keyreeve_core::user::{Status, UserRefusal};
use serde_json::json;

/// Makes a user.
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
    let entry = (target(user), made(Action::UserCreated, describe(user)));
    let revision = append(tx, context, vec![entry]).await?;
    Ok(Written {
        value: revision,
        commit: Commit {
            revision,
            ..Commit::default()
        },
    })
}

/// Changes a user; a change to what already is changes nothing.
pub(crate) async fn change_user(
    tx: &mut dyn Tx,
    context: &WriteContext,
    change: UserChange,
) -> Result<Written<(User, u64)>, WriteError> {
    recheck_actor(tx, context, &change.tenant).await?;
    let found = tx.user(&change.tenant, change.id).await?;
    let before = found
        .filter(|user| user.status != Status::Removed)
        .ok_or(WriteError::NotFound)?;
    let others = tx.count_other_admins(&change.tenant, change.id).await?;
    let decided = before.changed(change.edit, others, change.is_forced, context.at);
    let Some(after) = decided.map_err(|UserRefusal::LastAdmin| WriteError::LastAdmin)? else {
        let revision = append(tx, context, Vec::new()).await?;
        let commit = Commit {
            revision,
            ..Commit::default()
        };
        let value = (before, revision);
        return Ok(Written { value, commit });
    };
    tx.update_user(&after).await?;
    // Whoever may no longer come in, or comes in by another password now, is not in any more (OWASP ASVS 7.4.2, 7.4.3).
    if after.is_blocked() || before.password != after.password {
        tx.end_logins(after.id, None).await?;
    }
    let draft = AuditDraft {
        action: match after.status {
            Status::Removed => Action::UserRemoved,
            Status::Active | Status::Suspended => Action::UserUpdated,
        },
        reason: (before.password != after.password && after.password.is_some()).then(|| "new password".into()),
        before: Some(describe(&before)),
        after: (after.status != Status::Removed).then(|| describe(&after)),
    };
    let revision = append(tx, context, vec![(target(&after), draft)]).await?;
    let owner = after.subject().map(|subject| OwnerGate {
        tenant: after.tenant.clone(),
        subject,
        is_blocked: after.is_blocked(),
    });
    Ok(Written {
        value: (after, revision),
        commit: Commit {
            revision,
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

fn describe(user: &User) -> String {
    json!({
        "email": user.email.as_str(),
        "name": user.name.as_ref().map(Name::as_str),
        "role": user.role.as_str(),
        "status": user.status.as_str(),
    })
    .to_string()
}
