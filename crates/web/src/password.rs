//! Digests passwords by argon2id (RFC 9106) with the parameters that OWASP recommends, on a blocking thread: one digest
//! occupies a processor for tens of milliseconds.

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use argon2::password_hash::phc::PasswordHash;
use keyreeve_api::users::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, Password};
use keyreeve_api::{Code, Problem};
use keyreeve_authority::env::Entropy;
use keyreeve_core::user::{Email, PasswordDigest};

/// Bytes of salt (RFC 9106, section 3.1).
const SALT_BYTES: usize = 16;

/// Fewest guesses that must be needed to find a password (OWASP ASVS 6.2.4). One that needs fewer is a common password,
/// or little more than one, a name or a date.
const GUESSES_MIN: u64 = 1_000_000;

/// Checks and digests a password. `whose` is the e-mail address of its user, and `entropy` gives the salt.
pub async fn digest(
    entropy: &dyn Entropy,
    password: Password,
    whose: Option<&Email>,
) -> Result<PasswordDigest, Problem> {
    let chars = password.0.chars().count();
    if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars) {
        let bounds = format!("must have from {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters");
        return Err(Problem::field("password", &bounds));
    }
    let failed = |why: String| {
        tracing::error!(why, "cannot hash a password");
        Problem::new(
            Code::InternalError,
            "The password could not be hashed. Nothing was changed.",
        )
    };
    let email = whose.map(|email| email.as_str().to_owned());
    let mut salt = [0; SALT_BYTES];
    entropy.fill(&mut salt).map_err(|error| failed(error.to_string()))?;
    let work = tokio::task::spawn_blocking(move || {
        if is_guessed_soon(&password.0, email.as_deref()) {
            return Ok(None);
        }
        let hash: Result<PasswordHash, _> = Argon2::default().hash_password_with_salt(password.0.as_bytes(), &salt);
        hash.map(|hash| Some(hash.to_string()))
    });
    let phc = work.await.map_err(|error| failed(error.to_string()))?;
    match phc.map_err(|error| failed(error.to_string()))? {
        Some(phc) => Ok(PasswordDigest::new(&phc)),
        None => Err(Problem::field(
            "password",
            "is among the first that are guessed: a common one, or the e-mail address. Take a longer one, such as some \
             words that do not belong together",
        )),
    }
}

/// Returns whether a password is among the first that an attacker tries.
fn is_guessed_soon(password: &str, email: Option<&str>) -> bool {
    let own: Vec<_> = email
        .into_iter()
        .flat_map(|email| std::iter::once(email).chain(email.split(['@', '.'])))
        .collect();
    let typed = password.trim().to_lowercase();
    let is_own =
        email.is_some_and(|email| typed == email || email.split_once('@').is_some_and(|(local, _)| typed == local));
    let inputs: Vec<_> = own
        .into_iter()
        .chain(["keyreeve"])
        .filter(|word| word.len() > 2)
        .collect();
    is_own || zxcvbn::zxcvbn(password, &inputs).guesses() < GUESSES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_first_is_no_password() {
        for common in [
            "password",
            "Password1",
            "password123",
            "P@ssw0rd",
            "12345678",
            "123456789",
            "1234567890",
            "qwertyuiop",
            "qwerty123",
            "iloveyou",
            "letmein1",
            "welcome1",
            "Welcome123",
            "admin123",
            "football1",
            "sunshine",
            "aaaaaaaa",
            "abcd1234",
            "11111111",
            "1q2w3e4r",
            "changeme",
            "keyreeve",
            "keyreeve1",
            "trustno1",
            "baseball",
        ] {
            assert!(is_guessed_soon(common, None), "{common}");
        }
    }

    #[test]
    fn an_own_address_is_no_password() {
        let email = Some("ada.lovelace@example.com");
        for own in [
            "ada.lovelace@example.com",
            "ADA.Lovelace@Example.com",
            "ada.lovelace",
            " ada.lovelace@example.com ",
        ] {
            assert!(is_guessed_soon(own, email), "{own}");
        }
        assert!(is_guessed_soon("lovelace1", email));
    }

    #[test]
    fn words_that_do_not_belong_together_are_a_password() {
        for good in [
            "correct horse battery",
            "a very particular password",
            "x8Kq-2mVz",
            "canary-password-0123456789",
            "a-long-password-for-a-test",
            "wrong password of mine",
        ] {
            assert!(!is_guessed_soon(good, Some("ada@example.com")), "{good}");
        }
        assert!(
            is_guessed_soon(&"x".repeat(256), None),
            "long, and guessed all the same"
        );
    }
}
