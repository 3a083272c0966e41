//! Decides a gateway's check. Every transport (HTTP profiles and gRPC) ends here, so that all verdicts take one path.

use super::credential::{self, RequestHeaders};
use super::identity;
use crate::edge::Peer;
use crate::http::budget;
use crate::http::call::TENANT_HEADER;
use crate::http::credentials::RequestSource;
use crate::verdict_service::VerdictService;
use keyreeve_api::{Code, Family, Problem};
use keyreeve_authority::Failure;
use keyreeve_authority::tenants::DEFAULT_TENANT;
use keyreeve_authority::verify::{Question, Via};
use keyreeve_core::CheckPolicy;
use keyreeve_core::access::{Permission, Reach};
use keyreeve_core::check::GatewayCredential;
use keyreeve_core::text::{CheckPolicyName, Slug};
use keyreeve_core::verdict::{Denial, Outer};
use keyreeve_web::respond::{self, RETRY_AFTER_SECONDS};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// The header with the gateway's own credential (G-13). The supplied configurations remove it from client requests.
pub(super) const GATEWAY_HEADER: &str = "x-keyreeve-gateway";
const SECOND_MS: u64 = 1_000;
/// Seconds that a client should wait when the problem carries no exact time.
const RETRY_SECONDS: u64 = 1;

/// The policy that a path names: `name`, or `tenant:name`. `None` if no policy can have that name.
#[derive(Clone, Debug)]
pub(super) struct Named(Option<(Slug, CheckPolicyName)>);

impl Named {
    pub(super) fn parse(text: &str) -> Self {
        let (tenant, name) = text.split_once(':').unwrap_or((DEFAULT_TENANT, text));
        let parts = Slug::parse(tenant).ok().zip(CheckPolicyName::parse(name).ok());
        Self(parts)
    }

    pub(super) fn parts(&self) -> Option<(&Slug, &CheckPolicyName)> {
        self.0.as_ref().map(|(tenant, name)| (tenant, name))
    }
}

/// A check.
pub(super) struct GatewayQuestion<'q, F> {
    pub(super) policy: &'q Named,
    /// The headers of the client's request, with what the gateway has added.
    pub(super) fields: &'q F,
    /// Address of the end user.
    pub(super) address: Option<IpAddr>,
    /// The connection of the gateway.
    pub(super) peer: &'q Peer,
    pub(super) via: Via,
}

/// The request may pass.
pub(super) struct Allowed {
    /// The values of [`identity::NAMES`].
    pub(super) identity: [String; 7],
    pub(super) policy: Arc<CheckPolicy>,
    /// Seconds for which the gateway may cache the answer.
    pub(super) max_age: u64,
    /// State of the key's limits, if it has any.
    pub(super) budget: Option<budget::KeyLimitHeaders>,
}

/// The request is denied.
pub(super) struct GatewayDenial {
    pub(super) problem: Problem,
    /// For `WWW-Authenticate` (RFC 6750, section 3).
    pub(super) challenge: Option<String>,
    /// State of the key's limits, if it has any.
    pub(super) budget: Option<budget::KeyLimitHeaders>,
}

impl GatewayDenial {
    /// Returns the header fields that accompany the problem document and that a gateway can pass on to the client
    /// (G-02).
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let always = [
            ("content-type", Family::Problem.content_type()),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ];
        let challenge = self.challenge.as_ref().map(|text| ("www-authenticate", text.clone()));
        let wait = self.retry_after().map(|seconds| ("retry-after", seconds.to_string()));
        let budget = self.budget.iter().flat_map(budget::KeyLimitHeaders::named);
        let texts = always
            .into_iter()
            .chain(budget)
            .map(|(name, text)| (name, text.to_owned()));
        texts.chain(challenge).chain(wait)
    }

    /// Returns the seconds to wait before the next try; `None` where waiting changes nothing.
    fn retry_after(&self) -> Option<u64> {
        match (self.problem.code, &self.budget) {
            (Code::RateLimited, Some(budget)) => budget.retry_after,
            (Code::RateLimited | Code::ServiceUnavailable, _) => {
                let said = self.problem.meta.get(RETRY_AFTER_SECONDS).and_then(Value::as_u64);
                Some(said.unwrap_or(RETRY_SECONDS))
            }
            _ => None,
        }
    }
}

impl From<Problem> for GatewayDenial {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            challenge: None,
            budget: None,
        }
    }
}

impl<F: RequestHeaders> GatewayQuestion<'_, F> {
    /// Decides. What cannot be determined is a denial (fail closed).
    pub(super) async fn decide(&self, verdicts: &VerdictService) -> Result<Allowed, GatewayDenial> {
        let (tenant, name) = self.policy.parts().ok_or_else(unknown_policy)?;
        let policy = verdicts.authority().check_policy_named(tenant, name).await;
        let policy = policy.map_err(|failure| match failure {
            Failure::NotFound => unknown_policy(),
            other => unavailable(&other),
        })?;
        // Only the policy selects the tenant whose keys are judged; a client cannot select another one by a header.
        if self
            .fields
            .values(TENANT_HEADER)
            .any(|named| named != tenant.as_str().as_bytes())
        {
            return Err(another_tenant());
        }
        if policy.gateway_credential == GatewayCredential::Required {
            self.require_gateway(verdicts, tenant).await?;
        }
        let key = credential::find(self.fields, &policy.key_headers).map_err(|_| ambiguous(&policy))?;
        let scopes: Vec<_> = policy.scopes.iter().collect();
        let now = verdicts.authority().now();
        let question = Question {
            reach: &Reach::Tenant(tenant.clone()),
            scopes: &scopes,
            now,
            address: self.address,
            via: self.via,
            cost: Some(1),
        };
        let verdict = verdicts.verdict_for(self.address, key.unwrap_or(""), &question).await?;
        if matches!(verdict.outcome, Err(Denial::Malformed | Denial::Unknown)) {
            // Only unknown secrets count towards the limit: a valid key is accepted from the same address.
            verdicts.address_rate_limits().guesses.allow(self.address)?;
        }
        if verdict.outcome == Err(Denial::Undecided) {
            return Err(respond::no_verdict_for(Denial::Undecided).into());
        }
        let outer = verdict.outer();
        let budget = verdict.budget.map(|budget| budget::fields(&budget, now));
        let entry = match (outer, verdict.entry) {
            (None, Some(entry)) => entry,
            (outer, _) => {
                return Err(GatewayDenial {
                    budget,
                    ..denied(outer.unwrap_or(Outer::KeyInvalid), &policy)
                });
            }
        };
        let identity = identity::values(&entry, key.unwrap_or(""), policy.meta).map_err(|_| too_large())?;
        let lasts = entry
            .expires_at()
            .map_or(u64::MAX, |end| end.millis_since(now) / SECOND_MS);
        let max_age = u64::from(policy.cache_max_age_seconds).min(verdicts.authority().cache_seconds_max());
        // A cached answer would be charged once, however often it is used.
        let max_age = if budget.is_some() { 0 } else { max_age.min(lasts) };
        Ok(Allowed {
            identity,
            policy,
            max_age,
            budget,
        })
    }

    /// Requires the gateway's own root key, which must allow `keys:verify` in this tenant.
    async fn require_gateway(&self, verdicts: &VerdictService, tenant: &Slug) -> Result<(), GatewayDenial> {
        let refused = || {
            let detail = "This check policy demands that the gateway shows a root key with the permission keys:verify \
                          in the header X-Keyreeve-Gateway, and it showed none that is good.";
            GatewayDenial::from(Problem::new(Code::GatewayCredentialRequired, detail))
        };
        let mut values = self.fields.values(GATEWAY_HEADER);
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(refused());
        };
        let secret = str::from_utf8(value).map_err(|_| refused())?;
        // Look-ups are counted by the end user's address. The networks are those of the gateway, by its connection: headers
        // are about the end user.
        let source = RequestSource {
            counted: self.address,
            ..RequestSource::of(self.peer, self.peer.address)
        };
        let pass = verdicts.root_key(source, secret.trim()).await?;
        let pass = pass.map_err(|failure| unavailable(&failure))?.ok_or_else(refused)?;
        match pass.permissions().allows(Permission::KeysVerify) && pass.reach().has(tenant) {
            true => Ok(()),
            false => Err(refused()),
        }
    }
}

fn unknown_policy() -> GatewayDenial {
    let detail = "The gateway names a check policy that does not exist, so the request is denied. The path of the \
                  check ends in the policy's name, or in tenant:name.";
    Problem::new(Code::CheckPolicyUnknown, detail).into()
}

fn another_tenant() -> GatewayDenial {
    let detail = "The request names a tenant in Keyreeve-Tenant that is not the one of the check policy, so it is \
                  denied. Name the policy as tenant:name, or leave the header out.";
    Problem::new(Code::CheckPolicyUnknown, detail).into()
}

fn unavailable(failure: &Failure) -> GatewayDenial {
    tracing::warn!(%failure, "cannot answer a gateway's check");
    let detail = "Keys cannot be verified now, so the request is denied. Try again.";
    Problem::new(Code::ServiceUnavailable, detail).into()
}

fn too_large() -> GatewayDenial {
    let detail = "The key's claims do not fit into a header, so the request is denied.";
    Problem::new(Code::ServiceUnavailable, detail).into()
}

/// Lists the headers that may contain a key, separated by commas.
fn headers(policy: &CheckPolicy) -> String {
    let headers: Vec<_> = policy.key_headers.iter().map(ToString::to_string).collect();
    headers.join(", ")
}

fn ambiguous(policy: &CheckPolicy) -> GatewayDenial {
    let detail = format!(
        "The request has more than one key. Send exactly one, once, in one of the headers {}.",
        headers(policy)
    );
    Problem::new(Code::AmbiguousCredentials, detail).into()
}

/// Builds the denial that the client receives, with its challenge.
fn denied(outer: Outer, policy: &CheckPolicy) -> GatewayDenial {
    let problem = match outer {
        Outer::KeyRequired => {
            let detail = format!(
                "The request needs an API key in one of the headers {}.",
                headers(policy)
            );
            Problem::new(Code::ApiKeyRequired, detail)
        }
        Outer::KeyInvalid => Problem::new(Code::ApiKeyInvalid, "The API key is not valid."),
        Outer::KeyExpired => Problem::new(Code::ApiKeyExpired, "The API key has expired."),
        Outer::KeyDisabled => Problem::new(Code::ApiKeyDisabled, "The API key is disabled."),
        Outer::ContextDenied => Problem::new(
            Code::ApiKeyContextDenied,
            "The API key may not be used from this address.",
        ),
        Outer::InsufficientScope => Problem::new(
            Code::InsufficientScope,
            "The API key lacks a scope that this request needs.",
        ),
        Outer::RateLimited => Problem::new(
            Code::RateLimited,
            "The API key was used too often. Wait, then try again.",
        ),
        Outer::Unavailable => Problem::new(Code::ServiceUnavailable, "Keys cannot be verified now. Try again."),
    };
    let realm = policy.realm.as_str();
    let challenge = match outer {
        Outer::KeyRequired => Some(format!("Bearer realm=\"{realm}\"")),
        Outer::KeyInvalid | Outer::KeyExpired => Some(format!("Bearer realm=\"{realm}\", error=\"invalid_token\"")),
        Outer::InsufficientScope => {
            let scopes = policy.scopes.joined();
            let error = format!("error=\"insufficient_scope\", scope=\"{scopes}\"");
            Some(format!("Bearer realm=\"{realm}\", {error}"))
        }
        Outer::KeyDisabled | Outer::ContextDenied | Outer::RateLimited | Outer::Unavailable => None,
    };
    GatewayDenial {
        challenge,
        ..GatewayDenial::from(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_core::scope::Scopes;

    #[test]
    fn each_denial_has_the_status_and_the_challenge_of_the_standard() {
        let name = CheckPolicyName::parse("orders").unwrap();
        let policy = CheckPolicy {
            scopes: Scopes::parse(["a", "b"]).unwrap(),
            ..CheckPolicy::any(name)
        };
        let invalid = "Bearer realm=\"keyreeve\", error=\"invalid_token\"";
        let scope = "Bearer realm=\"keyreeve\", error=\"insufficient_scope\", scope=\"a b\"";
        for (outer, status, challenge) in [
            (Outer::KeyRequired, 401, Some("Bearer realm=\"keyreeve\"")),
            (Outer::KeyInvalid, 401, Some(invalid)),
            (Outer::KeyExpired, 401, Some(invalid)),
            (Outer::KeyDisabled, 403, None),
            (Outer::ContextDenied, 403, None),
            (Outer::InsufficientScope, 403, Some(scope)),
            (Outer::RateLimited, 429, None),
            (Outer::Unavailable, 503, None),
        ] {
            let denied = denied(outer, &policy);
            assert_eq!(denied.problem.code.status(), status, "{outer}");
            assert_eq!(denied.problem.code.as_str(), outer.as_str());
            assert_eq!(denied.challenge.as_deref(), challenge, "{outer}");
        }
    }
}
