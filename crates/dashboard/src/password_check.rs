//! Checks a password against its stored digest. An unknown user costs one digest too, so that the response time does
//! not reveal which addresses have a login.

use super::page_error::PageError;
use argon2::Argon2;
use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use keyreeve_api::users::PASSWORD_CHARS_MAX;
use keyreeve_core::User;
use tokio::sync::Semaphore;

/// Digests computed at the same time: each needs 19 MB and tens of milliseconds of processor time.
static AT_ONCE: Semaphore = Semaphore::const_new(2);
/// Compared with when there is no user: the same parameters, and a digest that no password has.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$a2V5cmVldmUga2V5cmVldmU$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Whether this is the user's password. Longer than [`PASSWORD_CHARS_MAX`] is always wrong and computes nothing.
pub(super) async fn fits(user: Option<&User>, password: &str) -> Result<bool, PageError> {
    let known = user.and_then(|user| user.password.as_ref());
    let phc = known.map_or(NOBODY, |digest| digest.as_phc()).to_owned();
    if password.chars().count() > PASSWORD_CHARS_MAX {
        return Ok(false);
    }
    let password = password.to_owned();
    let _permit = AT_ONCE
        .acquire()
        .await
        .map_err(|error| PageError::internal(&error.to_string()))?;
    let work = tokio::task::spawn_blocking(move || {
        let hash = PasswordHash::new(&phc).ok()?;
        Argon2::default().verify_password(password.as_bytes(), &hash).ok()
    });
    let fits = work.await.map_err(|error| PageError::internal(&error.to_string()))?;
    Ok(fits.is_some() && known.is_some())
}
