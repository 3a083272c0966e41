//! Verification on the wire. Request types here have no `Debug`, because they contain secrets.

#![expect(
    unused_qualifications,
    reason = "the derive of schemas names types of other modules twice"
)]

use crate::json;
use crate::keys::Scope;
use crate::limits::{LimitHeaders, LimitStanding};
use crate::seconds::Whole;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type};

/// Most items in one batch.
pub const VERIFY_BATCH_MAX: usize = 100;

/// A verification in Clerk's format.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_debug_implementations, reason = "it holds a plaintext secret")]
pub struct VerifySecret<'a> {
    /// The secret.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub secret: Cow<'a, str>,
}

/// A verification.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_debug_implementations, reason = "it holds a plaintext secret")]
pub struct VerifyKey<'a> {
    /// The secret, as it was presented.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub key: Cow<'a, str>,
    /// Scopes that the key must hold, all of them.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Vec<Scope>>, max_items = 100, nullable)]
    pub scopes: Option<Vec<Cow<'a, str>>>,
    /// The end user's network address.
    #[serde(borrow, default)]
    #[schema(schema_with = address, example = "192.0.2.1")]
    pub ip: Option<Cow<'a, str>>,
    /// Cost in uses of its limits: 1 if omitted; 0 uses nothing.
    #[serde(default)]
    #[schema(value_type = Option<u32>, maximum = 1_000_000, nullable)]
    pub cost: Option<Whole>,
}

/// An IPv4 or IPv6 address, or null.
fn address() -> Schema {
    let text = |format: &str| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom(format.to_owned())))
    };
    let nothing = ObjectBuilder::new().schema_type(Type::Null);
    OneOfBuilder::new()
        .item(text("ipv4"))
        .item(text("ipv6"))
        .item(nothing)
        .into()
}

/// Several verifications.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_debug_implementations, reason = "it holds plaintext secrets")]
pub struct VerifyBatch<'a> {
    /// The verifications.
    #[serde(borrow)]
    #[serde(deserialize_with = "json::objects")]
    #[schema(value_type = Vec<VerifyKey<'_>>, min_items = 1, max_items = 100)]
    pub items: Vec<VerifyKey<'a>>,
}

/// A verdict. The call succeeds whatever the verdict is. A valid key has all its fields; a denied one with a known
/// secret only `tenant` and `key_id`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verdict {
    /// Whether the key is accepted.
    pub valid: bool,
    /// For the relying service to pass on: `VALID`, or an error code.
    #[schema(example = "VALID")]
    pub code: &'static str,
    /// The HTTP status of the code.
    #[schema(example = 200)]
    pub status: u16,
    /// The exact reason, for the relying service's own log.
    #[schema(
        pattern = "^(valid|missing|malformed|unknown|erased|rotated|revoked|owner_blocked|disabled|not_yet_valid|expired|address|scope|limited|unavailable)$"
    )]
    pub reason: &'static str,
    /// The key's tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may be used for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Its claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub claims: Option<Box<RawValue>>,
    /// When it expires, in Unix ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
    /// The state of its limits, if it has any and is valid otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<LimitStanding>>,
    /// The same as header fields, for the relying service to pass on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<LimitHeaders>,
    /// Every change up to this revision was applied.
    pub revision: u64,
    /// Where the answer came from: `memory` or `store`.
    #[schema(pattern = "^(memory|store)$")]
    pub source: &'static str,
}

/// The verdicts, in the order of the items.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verdicts {
    /// The verdicts.
    pub data: Vec<Verdict>,
}
