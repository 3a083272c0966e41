//! Browsers that have signed in before. Each keeps a cookie with a MAC by the server. The cookie grants no access. A
//! browser that has one is limited separately, so guesses from other clients do not lock the user out.

use super::preferences::cookie;
use aws_lc_rs::hmac;
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use keyreeve_core::{Timestamp, User, hex};

const COOKIE: &str = "__Host-keyreeve-device";
/// Accounts in the cookie of one browser, the latest sign-ins first.
const ACCOUNTS_MAX: usize = 4;
/// Lifetime of an account's mark after a sign-in: half a year.
const LIFE_SECONDS: u64 = 180 * 86_400;
/// A longer cookie is ignored.
const BYTES_MAX: usize = 1_024;
const BETWEEN: char = '~';

/// Returns the mark of a browser that has signed in as one of `people`; `None` if it has none that is valid.
pub(super) fn mark<'h>(headers: &'h HeaderMap, people: &[User], now: Timestamp) -> Option<&'h str> {
    marks(headers).find(|mark| people.iter().any(|user| is_of(mark, user, now)))
}

/// Whether the request has a device cookie. It may be forged: [`mark`] checks it.
pub(super) fn is_said(headers: &HeaderMap) -> bool {
    cookie(headers, COOKIE).is_some()
}

/// Returns the cookie of a browser that has just signed in. The marks of other accounts are kept, unchecked.
pub(super) fn known(headers: &HeaderMap, user: &User, now: Timestamp) -> Option<HeaderValue> {
    let own = format!("{}.", user.id);
    let new = written(user, now)?;
    let others = marks(headers).filter(|mark| !mark.starts_with(&own));
    let all: Vec<_> = std::iter::once(&*new).chain(others).take(ACCOUNTS_MAX).collect();
    let value = all.join("~");
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={LIFE_SECONDS}; Secure; HttpOnly; SameSite=Lax");
    HeaderValue::from_str(&cookie).ok()
}

fn marks(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let value = cookie(headers, COOKIE).filter(|value| value.len() <= BYTES_MAX);
    value
        .into_iter()
        .flat_map(|value| value.split(BETWEEN))
        .take(ACCOUNTS_MAX)
}

/// Returns `user_….TIME.MAC`; `None` if the user has no password.
fn written(user: &User, at: Timestamp) -> Option<String> {
    let said = format!("{}.{}", user.id, at.millis());
    let tag = hmac::sign(&key(user)?, said.as_bytes());
    Some(format!("{said}.{}", hex(tag.as_ref())))
}

fn is_of(mark: &str, user: &User, now: Timestamp) -> bool {
    let at = || {
        let (id, rest) = mark.split_once('.')?;
        let (at, _) = rest.split_once('.')?;
        let at = Timestamp::from_millis(at.parse().ok()?);
        let is_fresh = now.millis_since(at) < LIFE_SECONDS * 1_000;
        (id == user.id.to_string() && is_fresh).then_some(at)
    };
    let written = at().and_then(|at| written(user, at));
    written.is_some_and(|written| subtle::ConstantTimeEq::ct_eq(written.as_bytes(), mark.as_bytes()).into())
}

/// Derives the key of the MAC from the stored password digest, which every node has and no client has. A new password
/// invalidates all marks.
fn key(user: &User) -> Option<hmac::Key> {
    let password = user.password.as_ref()?;
    let mut key = b"keyreeve device ".to_vec();
    key.extend_from_slice(password.as_phc().as_bytes());
    Some(hmac::Key::new(hmac::HMAC_SHA256, &key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::COOKIE as COOKIE_HEADER;
    use keyreeve_core::UserId;
    use keyreeve_core::access::Role;
    use keyreeve_core::text::Slug;
    use keyreeve_core::user::{Email, PasswordDigest, Status};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn user(number: u8, password: &str) -> User {
        User {
            id: UserId::from_bytes([number; 16]),
            tenant: Slug::parse("acme").unwrap(),
            email: Email::parse("ada@example.com").unwrap(),
            name: None,
            role: Role::Member,
            status: Status::Active,
            password: Some(PasswordDigest::new(password)),
            created_at: NOW,
            updated_at: NOW,
        }
    }

    fn sent(set: &HeaderValue) -> HeaderMap {
        let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
        HeaderMap::from_iter([(COOKIE_HEADER, HeaderValue::from_str(&pair).unwrap())])
    }

    #[test]
    fn a_browser_is_known_to_who_signed_in_with_it_and_to_nobody_else() {
        let (ada, bob) = (user(1, "a"), user(2, "a"));
        let headers = sent(&known(&HeaderMap::new(), &ada, NOW).unwrap());
        assert!(mark(&headers, std::slice::from_ref(&ada), NOW).is_some());
        assert!(mark(&headers, std::slice::from_ref(&bob), NOW).is_none());
        assert!(mark(&headers, &[user(1, "another password")], NOW).is_none());
        assert!(mark(&headers, std::slice::from_ref(&ada), NOW.plus_seconds(LIFE_SECONDS)).is_none());
        assert!(mark(&HeaderMap::new(), std::slice::from_ref(&ada), NOW).is_none());
        let both = sent(&known(&headers, &bob, NOW).unwrap());
        assert!(
            [ada, bob]
                .iter()
                .all(|one| mark(&both, std::slice::from_ref(one), NOW).is_some())
        );
    }

    #[test]
    fn a_cookie_that_was_changed_says_nothing() {
        let ada = user(1, "a");
        let headers = sent(&known(&HeaderMap::new(), &ada, NOW).unwrap());
        let value = headers.get(COOKIE_HEADER).unwrap().to_str().unwrap();
        let start = value.find('=').unwrap() + 1;
        for place in start..value.len() {
            let mut bytes = value.as_bytes().to_vec();
            bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
            let changed = HeaderMap::from_iter([(COOKIE_HEADER, HeaderValue::from_bytes(&bytes).unwrap())]);
            assert!(mark(&changed, std::slice::from_ref(&ada), NOW).is_none(), "{place}");
        }
    }
}
