//! A check policy as JSON. The name is not in it: it is a column.

use crate::error::StoreError;
use keyreeve_core::CheckPolicy;
use keyreeve_core::check::{GatewayCredential, KeyHeader, Realm, key_headers};
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::CheckPolicyName;
use serde::Deserialize;
use serde_json::{Value, json};

/// Returns the document.
pub(crate) fn to_json(policy: &CheckPolicy) -> Value {
    let headers = policy.key_headers.iter().map(KeyHeader::as_str);
    json!({
        "scopes": policy.scopes.iter().collect::<Vec<_>>(),
        "key_headers": headers.collect::<Vec<_>>(),
        "meta": policy.meta,
        "cache_max_age_seconds": policy.cache_max_age_seconds,
        "realm": policy.realm.as_str(),
        "gateway_credential": policy.gateway_credential.as_str(),
    })
}

#[derive(Deserialize)]
struct CheckPolicyDocument<'t> {
    #[serde(borrow)]
    scopes: Vec<&'t str>,
    #[serde(borrow)]
    key_headers: Vec<&'t str>,
    meta: bool,
    cache_max_age_seconds: u32,
    realm: &'t str,
    gateway_credential: &'t str,
}

/// Parses the document.
pub(crate) fn from_json(name: CheckPolicyName, text: &str) -> Result<CheckPolicy, StoreError> {
    let corrupt = || StoreError::Corrupt("check_policies.document".to_owned());
    let document: CheckPolicyDocument<'_> = serde_json::from_str(text).map_err(|_| corrupt())?;
    Ok(CheckPolicy {
        name,
        scopes: Scopes::parse(document.scopes).map_err(|_| corrupt())?,
        key_headers: key_headers(document.key_headers).map_err(|_| corrupt())?,
        meta: document.meta,
        cache_max_age_seconds: document.cache_max_age_seconds,
        realm: Realm::parse(document.realm).map_err(|_| corrupt())?,
        gateway_credential: GatewayCredential::parse(document.gateway_credential).ok_or_else(corrupt)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_back_as_it_was() {
        let name = CheckPolicyName::parse("orders").unwrap();
        let policy = CheckPolicy {
            scopes: Scopes::parse(["orders:read", "a/*"]).unwrap(),
            key_headers: key_headers(["X-Acme-Key"]).unwrap(),
            meta: true,
            cache_max_age_seconds: 5,
            realm: Realm::parse("Acme API").unwrap(),
            gateway_credential: GatewayCredential::Required,
            ..CheckPolicy::any(name.clone())
        };
        let text = to_json(&policy).to_string();
        assert_eq!(from_json(name.clone(), &text).unwrap(), policy);
        for bad in [
            "{}",
            "[]",
            &text.replace("x-acme-key", "host"),
            &text.replace("required", "perhaps"),
        ] {
            assert!(from_json(name.clone(), bad).is_err(), "{bad}");
        }
    }
}
