//! Passwords: argon2id (RFC 9106) with the parameters that OWASP recommends, on a thread of its own: one digest keeps
//! a processor busy for tens of milliseconds.

use crate::world::OsEntropy;
use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use argon2::password_hash::phc::PasswordHash;
use keyreeve_api::users::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, Password};
use keyreeve_api::{Code, Problem};
use keyreeve_authority::env::Entropy as _;
use keyreeve_core::user::PasswordDigest;

/// Bytes of salt (RFC 9106, section 3.1).
const SALT_BYTES: usize = 16;

/// Checks a password's length and digests it.
pub(crate) async fn digest(password: Password) -> Result<PasswordDigest, Problem> {
    let chars = password.0.chars().count();
    if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars) {
        let bounds = format!("must have from {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters");
        return Err(Problem::field("password", &bounds));
    }
    let failed = |why: String| {
        tracing::error!(why, "a password could not be digested");
        Problem::new(
            Code::InternalError,
            "The password could not be digested. Nothing was changed.",
        )
    };
    let mut salt = [0; SALT_BYTES];
    OsEntropy.fill(&mut salt).map_err(|error| failed(error.to_string()))?;
    let work = tokio::task::spawn_blocking(move || {
        let hash: Result<PasswordHash, _> = Argon2::default().hash_password_with_salt(password.0.as_bytes(), &salt);
        hash.map(|hash| hash.to_string())
    });
    let phc = work.await.map_err(|error| failed(error.to_string()))?;
    phc.map(|phc| PasswordDigest::new(&phc))
        .map_err(|error| failed(error.to_string()))
}
