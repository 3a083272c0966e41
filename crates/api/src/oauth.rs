//! OAuth 2.0 on the wire: introspection (RFC 7662), revocation (RFC 7009), metadata (RFC 8414, RFC 9728). Times are
//! whole Unix seconds here, as those papers have it.

use crate::text::ReasonText;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// The form of a question, for the published document.
#[derive(ToSchema)]
#[schema(as = IntrospectionRequest)]
#[expect(missing_debug_implementations, reason = "it holds a plaintext secret")]
pub struct IntrospectForm {
    /// The API key.
    #[schema(min_length = 1)]
    pub token: String,
    /// Not looked at: there is one type of token.
    pub token_type_hint: Option<String>,
}

/// The form of a revocation, for the published document.
#[derive(ToSchema)]
#[schema(as = RevocationRequest)]
#[expect(missing_debug_implementations, reason = "it holds a plaintext secret")]
pub struct RevokeForm {
    /// The API key, which ends itself.
    #[schema(min_length = 1)]
    pub token: String,
    /// Not looked at: there is one type of token.
    pub token_type_hint: Option<String>,
    /// Why, in words. Ours beyond RFC 7009.
    #[schema(value_type = Option<ReasonText>)]
    pub revocation_reason: Option<String>,
    /// Why, as a code: `key_compromise` and `leaked` are final under every policy. Ours beyond RFC 7009.
    #[schema(
        pattern = "^(unspecified|key_compromise|leaked|superseded|affiliation_changed|cessation|privilege_withdrawn)$"
    )]
    pub reason_code: Option<String>,
}

/// Whether a token is good. Of one that is not, nothing else is told.
#[derive(Debug, Serialize, ToSchema)]
pub struct Introspection {
    /// Whether it is.
    pub active: bool,
    /// What is told of a good one.
    #[serde(flatten)]
    #[schema(inline)]
    pub token: Option<ActiveToken>,
}

/// What is told of a token that is good.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActiveToken {
    /// The key's scopes with a space between; empty if it has none.
    #[schema(required = false)]
    pub scope: String,
    /// The key's id.
    #[schema(required = false)]
    pub client_id: String,
    /// `Bearer`.
    #[schema(required = false)]
    pub token_type: &'static str,
    /// Until when the answer may be relied on: the end of the key, but never later than the setting
    /// `introspection.max_exp` from now, because gateways remember an answer until then.
    #[schema(required = false)]
    pub exp: i64,
    /// When the key was issued.
    #[schema(required = false)]
    pub iat: i64,
    /// From when on it is good.
    #[schema(required = false)]
    pub nbf: i64,
    /// The key's owner.
    #[schema(required = false)]
    pub sub: String,
    /// The key's tenant.
    #[schema(required = false)]
    pub aud: String,
    /// This server, if it knows by which name it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub iss: Option<String>,
    /// The key's id.
    #[schema(required = false)]
    pub jti: String,
    /// What RFC 7662 has no words for.
    #[schema(required = false)]
    pub keyreeve: TokenDetails,
}

/// What only Keyreeve tells of a token.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenDetails {
    /// The key's tenant.
    pub tenant: String,
    /// The key.
    pub key_id: String,
    /// Its name.
    pub name: String,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// Its claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub claims: Option<Box<RawValue>>,
    /// When it really expires, in Unix ms; left out is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
    /// Every change up to this revision was taken into account.
    pub revision: u64,
}

/// What an OAuth client may find here (RFC 8414, section 2).
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthorizationServer {
    /// This server's name.
    pub issuer: String,
    /// None: keys are issued by the API and the dashboard.
    pub response_types_supported: [&'static str; 0],
    /// None.
    pub grant_types_supported: [&'static str; 0],
    /// Where to ask whether a key is good.
    pub introspection_endpoint: String,
    /// Root keys, by HTTP basic or as a bearer token.
    pub introspection_endpoint_auth_methods_supported: [&'static str; 2],
    /// Where a key ends itself.
    pub revocation_endpoint: String,
    /// Possession of the key is enough.
    pub revocation_endpoint_auth_methods_supported: [&'static str; 1],
}

/// What takes API keys here (RFC 9728, section 2).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProtectedResource {
    /// This server.
    pub resource: String,
    /// Who says whether a key is good.
    pub authorization_servers: [String; 1],
    /// Where a key is presented.
    pub bearer_methods_supported: [&'static str; 1],
    /// For people.
    pub resource_name: &'static str,
}
