//! OAuth 2.0 on the wire: introspection (RFC 7662), revocation (RFC 7009), metadata (RFC 8414, RFC 9728). Times are
//! integer Unix seconds here, as these RFCs require.

use crate::text::ReasonText;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// The form of an introspection, for the published document.
#[derive(Serialize, ToSchema)]
#[schema(as = IntrospectionRequest)]
#[expect(missing_debug_implementations, reason = "it holds a plaintext secret")]
pub struct IntrospectForm {
    /// The API key.
    #[schema(min_length = 1)]
    pub token: String,
    /// Ignored: there is one type of token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type_hint: Option<String>,
}

/// The form of a revocation, for the published document.
#[derive(Serialize, ToSchema)]
#[schema(as = RevocationRequest)]
#[expect(missing_debug_implementations, reason = "it holds a plaintext secret")]
pub struct RevokeForm {
    /// The API key, which is revoked.
    #[schema(min_length = 1)]
    pub token: String,
    /// Ignored: there is one type of token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type_hint: Option<String>,
    /// The reason, in words. An extension of RFC 7009.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ReasonText>)]
    pub revocation_reason: Option<String>,
    /// The reason, as a code: `key_compromise` and `leaked` are final under every policy. An extension of RFC 7009.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = "^(unspecified|key_compromise|leaked|superseded|affiliation_changed|cessation|privilege_withdrawn)$"
    )]
    pub reason_code: Option<String>,
}

/// Whether a token is accepted. An inactive one has no other field.
#[derive(Debug, Serialize, ToSchema)]
pub struct Introspection {
    /// Whether it is accepted.
    pub active: bool,
    /// The details of an active token.
    #[serde(flatten)]
    #[schema(inline)]
    pub token: Option<ActiveToken>,
}

/// The details of an active token.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActiveToken {
    /// The key's scopes, separated by spaces; empty if it has none.
    #[schema(required = false)]
    pub scope: String,
    /// The key's id.
    #[schema(required = false)]
    pub client_id: String,
    /// `Bearer`.
    #[schema(required = false)]
    pub token_type: &'static str,
    /// Until when the answer may be relied on: the end of the key, but at most the setting `introspection.max_exp` from
    /// now, because gateways cache an answer until then.
    #[schema(required = false)]
    pub exp: i64,
    /// When the key was issued.
    #[schema(required = false)]
    pub iat: i64,
    /// From when the key is valid.
    #[schema(required = false)]
    pub nbf: i64,
    /// The key's owner.
    #[schema(required = false)]
    pub sub: String,
    /// The key's tenant.
    #[schema(required = false)]
    pub aud: String,
    /// This server, if its public name is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub iss: Option<String>,
    /// The key's id.
    #[schema(required = false)]
    pub jti: String,
    /// Fields that RFC 7662 does not have.
    #[schema(required = false)]
    pub keyreeve: TokenDetails,
}

/// Keyreeve's own details of a token.
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
    /// The actual expiry of the key, in Unix ms; omitted is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
    /// Every change up to this revision was applied.
    pub revision: u64,
}

/// The authorization server metadata (RFC 8414, section 2).
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthorizationServer {
    /// This server's name.
    pub issuer: String,
    /// None: keys are issued by the API and the dashboard.
    pub response_types_supported: [&'static str; 0],
    /// None.
    pub grant_types_supported: [&'static str; 0],
    /// Where to introspect a key.
    pub introspection_endpoint: String,
    /// Root keys, by HTTP basic or as a bearer token.
    pub introspection_endpoint_auth_methods_supported: [&'static str; 2],
    /// Where a key is revoked by possession.
    pub revocation_endpoint: String,
    /// Possession of the key is enough.
    pub revocation_endpoint_auth_methods_supported: [&'static str; 1],
}

/// The protected resource metadata (RFC 9728, section 2).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProtectedResource {
    /// This server.
    pub resource: String,
    /// The server that introspects keys.
    pub authorization_servers: [String; 1],
    /// How a key is presented.
    pub bearer_methods_supported: [&'static str; 1],
    /// A name for people.
    pub resource_name: &'static str,
}
