//! Sessions and links that work once. They have no revision and no audit entry, because no verdict depends on them.

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

/// Removes and returns a login. A link that is presented twice is returned once.
pub(crate) async fn take_login(
    tx: &mut dyn Tx,
    digest: &Digest,
    now: Timestamp,
) -> Result<Written<Option<Login>>, WriteError> {
    let taken = tx.take_login(digest).await?;
    Ok(written(taken.filter(|login| login.expires_at > now)))
}

/// Removes every login of a user but one.
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
