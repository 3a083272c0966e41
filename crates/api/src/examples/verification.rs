//! Examples of verifications and of OAuth.

use super::{CREATED_AT, EXPIRES_AT, Examples, KEY_ID, KEY_NAME, REVISION, SCOPE, SECRET, SUBJECT, TENANT};
use crate::limits::{LimitHeaders, LimitStanding};
use crate::oauth::{
    ActiveToken, AuthorizationServer, IntrospectForm, Introspection, ProtectedResource, RevokeForm, TokenDetails,
};
use crate::verify::{Verdict, Verdicts, VerifyBatch, VerifyKey, VerifySecret};
use serde_json::value::RawValue;

const ISSUER: &str = "https://keys.example.com";

/// Adds the examples of this file.
pub(super) fn list(examples: &mut Examples) {
    examples.request::<VerifyKey<'_>>(
        r#"{
            "key": "ak_kr100000000000000000000000000000000000000000001wav2j",
            "scopes": ["invoices:read"],
            "ip": "192.0.2.1"
        }"#,
    );
    examples.request::<VerifyBatch<'_>>(
        r#"{
            "items": [
                {"key": "ak_kr100000000000000000000000000000000000000000001wav2j", "scopes": ["invoices:read"]},
                {"key": "acme_live_kr100000000000000000000000000000000000000000001SASgv"}
            ]
        }"#,
    );
    examples.request::<VerifySecret<'_>>(r#"{"secret": "ak_kr100000000000000000000000000000000000000000001wav2j"}"#);
    examples.schema(&accepted());
    let both = Verdicts {
        data: vec![accepted(), denied("API_KEY_INVALID", 401, "unknown")],
    };
    examples.schema(&both);
    let unavailable = || denied("SERVICE_UNAVAILABLE", 503, "unavailable");
    examples.answer("verify", "503", &unavailable());
    let one_is_unavailable = Verdicts {
        data: vec![accepted(), unavailable()],
    };
    examples.answer("verifyBatch", "503", &one_is_unavailable);
    oauth(examples);
}

fn oauth(examples: &mut Examples) {
    examples.schema(&IntrospectForm {
        token: SECRET.to_owned(),
        token_type_hint: None,
    });
    examples.schema(&RevokeForm {
        token: SECRET.to_owned(),
        token_type_hint: None,
        revocation_reason: Some("Found in a public repository".to_owned()),
        reason_code: Some("key_compromise".to_owned()),
    });
    examples.schema(&Introspection {
        active: true,
        token: Some(token()),
    });
    examples.schema(&AuthorizationServer {
        issuer: ISSUER.to_owned(),
        response_types_supported: [],
        grant_types_supported: [],
        introspection_endpoint: format!("{ISSUER}/oauth2/introspect"),
        introspection_endpoint_auth_methods_supported: ["client_secret_basic", "Bearer"],
        revocation_endpoint: format!("{ISSUER}/oauth2/revoke"),
        revocation_endpoint_auth_methods_supported: ["none"],
    });
    examples.schema(&ProtectedResource {
        resource: ISSUER.to_owned(),
        authorization_servers: [ISSUER.to_owned()],
        bearer_methods_supported: ["header"],
        resource_name: "Keyreeve",
    });
}

fn claims() -> Option<Box<RawValue>> {
    RawValue::from_string(r#"{"plan":"team"}"#.to_owned()).ok()
}

fn accepted() -> Verdict {
    Verdict {
        valid: true,
        code: "VALID",
        status: 200,
        reason: "valid",
        tenant: Some(TENANT.to_owned()),
        key_id: Some(KEY_ID.to_owned()),
        subject: Some(SUBJECT.to_owned()),
        name: Some(KEY_NAME.to_owned()),
        scopes: Some(vec![SCOPE.to_owned()]),
        claims: claims(),
        expiration: Some(EXPIRES_AT),
        limits: Some(vec![LimitStanding {
            name: "per-minute".to_owned(),
            limit: 120,
            remaining: 119,
            reset_seconds: Some(1),
        }]),
        headers: Some(LimitHeaders {
            rate_limit: "\"per-minute\";r=119;t=1".to_owned(),
            rate_limit_policy: "\"per-minute\";q=120;w=60".to_owned(),
            retry_after: None,
        }),
        revision: REVISION,
        source: "memory",
    }
}

/// Returns the verdict about a secret that no key has.
fn denied(code: &'static str, status: u16, reason: &'static str) -> Verdict {
    Verdict {
        valid: false,
        code,
        status,
        reason,
        tenant: None,
        key_id: None,
        subject: None,
        name: None,
        scopes: None,
        claims: None,
        expiration: None,
        limits: None,
        headers: None,
        revision: REVISION,
        source: "store",
    }
}

fn token() -> ActiveToken {
    let issued = CREATED_AT / 1_000;
    ActiveToken {
        scope: SCOPE.to_owned(),
        client_id: KEY_ID.to_owned(),
        token_type: "Bearer",
        exp: issued + 60,
        iat: issued,
        nbf: issued,
        sub: SUBJECT.to_owned(),
        aud: TENANT.to_owned(),
        iss: Some(ISSUER.to_owned()),
        jti: KEY_ID.to_owned(),
        keyreeve: TokenDetails {
            tenant: TENANT.to_owned(),
            key_id: KEY_ID.to_owned(),
            name: KEY_NAME.to_owned(),
            scopes: vec![SCOPE.to_owned()],
            claims: claims(),
            expiration: Some(EXPIRES_AT),
            revision: REVISION,
        },
    }
}
