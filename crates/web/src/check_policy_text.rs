//! Parses the wire form of check policies. An error names the field.

use crate::text;
use keyreeve_api::Problem;
use keyreeve_api::check_policies::{CreateCheckPolicy, UpdateCheckPolicy};
use keyreeve_api::seconds::Whole;
use keyreeve_core::CheckPolicy;
use keyreeve_core::check::{self, CACHE_SECONDS_MAX, CheckPolicyEdit, GatewayCredential, KeyHeader, Realm};
use keyreeve_core::text::CheckPolicyName;

/// Returns the policy that a request describes.
pub fn policy(wish: &CreateCheckPolicy) -> Result<CheckPolicy, Problem> {
    let called = name(&wish.name)?;
    let edit = CheckPolicyEdit {
        scopes: wish.scopes.as_deref().map(scopes).transpose()?,
        key_headers: wish.key_headers.as_deref().map(key_headers).transpose()?,
        meta: wish.meta,
        cache_max_age_seconds: wish.cache_max_age_seconds.map(seconds).transpose()?,
        realm: wish.realm.as_deref().map(realm).transpose()?,
        gateway_credential: wish.gateway_credential.as_deref().map(credential).transpose()?,
    };
    Ok(CheckPolicy::any(called).edited(edit))
}

/// Returns the changes that a request describes.
pub fn edit(wish: &UpdateCheckPolicy) -> Result<CheckPolicyEdit, Problem> {
    Ok(CheckPolicyEdit {
        scopes: wish.scopes.as_deref().map(scopes).transpose()?,
        key_headers: wish.key_headers.as_deref().map(key_headers).transpose()?,
        meta: wish.meta,
        cache_max_age_seconds: wish.cache_max_age_seconds.map(seconds).transpose()?,
        realm: wish.realm.as_deref().map(realm).transpose()?,
        gateway_credential: wish.gateway_credential.as_deref().map(credential).transpose()?,
    })
}

/// Parses the name of a check policy.
pub fn name(text: &str) -> Result<CheckPolicyName, Problem> {
    CheckPolicyName::parse(text).map_err(|error| Problem::field("name", &error.to_string()))
}

/// Parses the scopes that a key must have.
pub fn scopes(words: &[String]) -> Result<keyreeve_core::scope::Scopes, Problem> {
    text::scopes("scopes", words)
}

/// Parses the names of the headers in which a key may be.
pub fn key_headers(names: &[String]) -> Result<Vec<KeyHeader>, Problem> {
    let headers = check::key_headers(names.iter().map(String::as_str));
    headers.map_err(|error| Problem::field("key_headers", &error.to_string()))
}

/// Parses the realm of challenges.
pub fn realm(text: &str) -> Result<Realm, Problem> {
    Realm::parse(text).map_err(|error| Problem::field("realm", &error.to_string()))
}

/// Parses whether a gateway needs a credential of its own.
pub fn credential(word: &str) -> Result<GatewayCredential, Problem> {
    let unknown = || Problem::field("gateway_credential", "must be none or required");
    GatewayCredential::parse(word).ok_or_else(unknown)
}

/// Parses for how many seconds a gateway may cache an answer.
pub fn seconds(Whole(seconds): Whole) -> Result<u32, Problem> {
    let most = u64::from(CACHE_SECONDS_MAX);
    let seconds = u32::try_from(seconds).ok().filter(|_| seconds <= most);
    seconds.ok_or_else(|| {
        let what = format!("must be at most {most}: a gateway that caches answers can delay a revocation by this time");
        Problem::field("cache_max_age_seconds", &what)
    })
}
