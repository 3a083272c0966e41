//! A tower layer and an axum extractor in front of handlers, with the answers of RFC 6750.

#[cfg(feature = "axum")]
mod extract;
mod layer;
mod refusal;

pub use layer::{VerifyLayer, VerifyService};
pub use refusal::HttpRefusal;

use super::{Needs, Verdict, Verifier};
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The header for clients that cannot send `Authorization`.
const KEY_HEADER: &str = "x-api-key";

/// The verdict on a request whose key is good: in the request's extensions behind a [`VerifyLayer`], and as an argument
/// of axum's handlers.
#[derive(Clone, Debug)]
pub struct Verified(pub Verdict);

/// Finds the end user's address of a request.
type Locate = dyn Fn(&Extensions, &HeaderMap) -> Option<IpAddr> + Send + Sync;

/// What is required of a request's key.
#[derive(Clone, Default)]
struct RequiredKey {
    scopes: Vec<String>,
    realm: Option<String>,
    locate: Option<Arc<Locate>>,
}

impl fmt::Debug for RequiredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Wanted");
        shown.field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

impl RequiredKey {
    fn address(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
        self.locate.as_ref().and_then(|locate| locate(extensions, headers))
    }

    /// Verifies the one credential of a request.
    async fn check(
        &self,
        verifier: &Verifier,
        credential: RequestCredential,
        address: Option<IpAddr>,
    ) -> Result<Verified, HttpRefusal> {
        let key = match credential {
            RequestCredential::One(key) => key,
            RequestCredential::None => return Err(HttpRefusal::missing(self.realm.as_deref())),
            RequestCredential::Several => return Err(HttpRefusal::ambiguous(self.realm.as_deref())),
        };
        let scopes: Vec<_> = self.scopes.iter().map(String::as_str).collect();
        let needs = Needs {
            scopes: &scopes,
            address,
            ..Needs::default()
        };
        let verdict = verifier.verify_with(&key, &needs).await;
        match verdict.is_valid() {
            true => Ok(Verified(verdict)),
            false => Err(HttpRefusal::of(&verdict, &scopes, self.realm.as_deref())),
        }
    }
}

/// The credential of a request. With several it is undefined which one counts, so they are refused.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
enum RequestCredential {
    None,
    One(String),
    Several,
}

impl RequestCredential {
    /// `Authorization: Bearer …` (RFC 6750, section 2.1) or `X-API-Key: …`.
    fn of(headers: &HeaderMap) -> Self {
        let bearer = |value: &http::HeaderValue| {
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
        };
        let plain = |value: &http::HeaderValue| value.to_str().ok().map(|key| key.trim().to_owned());
        let bearers = headers.get_all(AUTHORIZATION).iter().filter_map(bearer);
        let mut keys = bearers
            .chain(headers.get_all(KEY_HEADER).iter().filter_map(plain))
            .filter(|key| !key.is_empty());
        match (keys.next(), keys.next()) {
            (None, _) => Self::None,
            (Some(key), None) => Self::One(key),
            (Some(_), Some(_)) => Self::Several,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_credential_counts_wherever_it_stands() {
        let of = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            RequestCredential::of(&headers)
        };
        let one = |key: &str| RequestCredential::One(key.to_owned());
        assert_eq!(of(&[("authorization", "Bearer k")]), one("k"));
        assert_eq!(of(&[("authorization", "bearer  k ")]), one("k"));
        assert_eq!(of(&[("x-api-key", "k")]), one("k"));
        assert_eq!(of(&[("authorization", "Basic eDp5"), ("x-api-key", "k")]), one("k"));
        assert_eq!(of(&[]), RequestCredential::None);
        assert_eq!(of(&[("authorization", "k")]), RequestCredential::None);
        assert_eq!(of(&[("authorization", "Bearer ")]), RequestCredential::None);
        for twice in ["authorization", "x-api-key"] {
            assert_eq!(
                of(&[("authorization", "Bearer k"), (twice, "Bearer l")]),
                RequestCredential::Several
            );
        }
    }
}
