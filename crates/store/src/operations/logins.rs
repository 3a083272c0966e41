//! Sessions and links that work once. They are no part of the truth about keys: no revision, no audit entry.

use super::Written;
use crate::error::WriteError;
use crate::model::Login;
use crate::store::Commit;
use crate::tx::Tx;
use keyreeve_core::{Digest, Timestamp, UserId};

/// Stores a login.
pub(crate) async fn put_login(tx: &mut dyn Tx, login: &Login, now: Timestamp) -> Result<Written<()>, WriteError> {
    tx.put_login(login, now).await?;
    Ok(written(()))
}

/// Takes a login away: of two who come with the same link, one gets it.
pub(crate) async fn take_login(
    tx: &mut dyn Tx,
    digest: &Digest,
    now: Timestamp,
) -> Result<Written<Option<Login>>, WriteError> {
    let taken = tx.take_login(digest).await?;
    Ok(written(taken.filter(|login| login.expires_at > now)))
}

/// Takes away every login of a user but one.
pub(crate) async fn end_logins(
    tx: &mut dyn Tx,
    user: UserId,
    except: Option<&Digest>,
) -> Result<Written<u64>, WriteError> {
    let ended = tx.end_logins(user, except).await?;
    Ok(written(ended))
}

fn written<T>(value: T) -> Written<T> {
    Written {
        value,
        commit: Commit::default(),
    }
}
