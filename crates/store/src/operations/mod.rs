//! The operations of the store inside one transaction, written once for every database.

mod activity;
mod audit_log;
mod change;
mod change_many;
mod check_policies;
mod gate;
mod idempotency;
mod issue;
mod limits;
mod logins;
mod root_keys;
mod rotation;
mod tenants;
mod users;

pub(crate) use activity::{probe_write, record_activity, record_events};
pub(crate) use change::change;
pub(crate) use change_many::change_many;
pub(crate) use check_policies::change_check_policy;
pub(crate) use issue::issue;
pub(crate) use limits::take_slices;
pub(crate) use logins::{end_logins, put_login, take_login};
pub(crate) use root_keys::{create_root_key, revoke_root_key};
pub(crate) use rotation::{finish_root_key_rotation, rotate_root_key};
pub(crate) use tenants::{change_tenant, create_tenant, found};
pub(crate) use users::{change_user, create_user};

use crate::error::{StoreError, WriteError};
use crate::model::WriteContext;
use crate::store::Commit;
use crate::tx::Tx;
use crate::version::Version;
use keyreeve_core::RootKeyId;
use keyreeve_core::access::Actor;
use keyreeve_core::lifecycle::State;
use keyreeve_core::text::Slug;
use keyreeve_core::user::Status;

/// The result of a transaction, and what the observer is notified of when it is committed.
pub(crate) struct Written<T> {
    pub(crate) value: T,
    pub(crate) commit: Commit,
}

/// Checks the credential of the call again, inside the transaction: a key or root key that is being revoked elsewhere
/// cannot change anything any more.
async fn recheck_actor(tx: &mut dyn Tx, context: &WriteContext, tenant: &Slug) -> Result<(), WriteError> {
    let is_good = match &context.actor {
        Actor::RootKey(id) => is_root_key_good(tx, *id, context).await?,
        Actor::Key(id) => tx.lock_keys(tenant, &[*id]).await?.pop().is_some_and(|record| {
            // A key can only revoke itself. It may do so also while it is disabled or expired.
            !matches!(record.key.settled(context.at).state, State::Revoked(_))
        }),
        Actor::User(id, role) => tx
            .user(tenant, *id)
            .await?
            .is_some_and(|user| user.status == Status::Active && user.role == *role),
        Actor::Operator | Actor::System => true,
    };
    let is_good = is_good
        && match context.acting {
            Some(id) => is_root_key_good(tx, id, context).await?,
            None => true,
        };
    if is_good { Ok(()) } else { Err(WriteError::ActorGone) }
}

async fn is_root_key_good(tx: &mut dyn Tx, id: RootKeyId, context: &WriteContext) -> Result<bool, StoreError> {
    let root_key = tx.root_key(id).await?;
    Ok(root_key.is_some_and(|root_key| root_key.is_good(context.secret.as_ref(), context.at)))
}

/// Refuses a change if the record is no longer in a version that the caller has seen.
fn require_version(context: &WriteContext, present: impl FnOnce() -> Version) -> Result<(), WriteError> {
    let Some(condition) = &context.only_if else {
        return Ok(());
    };
    let present = present();
    match condition.holds(&present) {
        true => Ok(()),
        false => Err(WriteError::Outdated { present }),
    }
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}

/// For operations that make no decision and so cannot refuse.
pub(crate) fn only_store_error(error: WriteError) -> StoreError {
    match error {
        WriteError::Store(error) => error,
        other => StoreError::Corrupt(other.to_string()),
    }
}
