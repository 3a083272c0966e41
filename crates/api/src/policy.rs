//! A tenant's policy on the wire.

mod grant;

pub use grant::{AdminGrant, Grant, MemberGrant, NewKeys, PutAdminGrant, PutGrant, PutMemberGrant, PutNewKeys};

use crate::json::Object;
use crate::seconds::Whole;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use utoipa::ToSchema;

/// A policy to set: a preset supplies all values, given fields override it. Without `preset` the tenant's present one
/// is used.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutPolicy {
    /// `erase`, `hold`, `keep` or `standard`.
    #[schema(nullable, pattern = "^(erase|hold|keep|standard)$")]
    pub preset: Option<String>,
    /// The prefix of every new secret.
    #[schema(nullable, pattern = "^[a-z][a-z0-9]{1,15}(_[a-z0-9]{1,15})?$", example = "uspl")]
    pub prefix: Option<String>,
    /// Whether two usable keys of one owner may have the same name: `unique` or `any`.
    #[schema(nullable, pattern = "^(unique|any)$")]
    pub names: Option<String>,
    /// The number of keys.
    #[schema(value_type = Option<PutLimit>)]
    pub limit: Option<Object<PutLimit>>,
    /// The lifetime of keys.
    #[schema(value_type = Option<PutExpiry>)]
    pub expiry: Option<Object<PutExpiry>>,
    /// How long an old secret is accepted after a rotation.
    #[schema(value_type = Option<PutRotate>)]
    pub rotate: Option<Object<PutRotate>>,
    /// The effect of a revocation.
    #[schema(value_type = Option<PutRevoke>)]
    pub revoke: Option<Object<PutRevoke>>,
    /// Who may re-activate a disabled key.
    #[schema(value_type = Option<PutReactivate>)]
    pub reactivate: Option<Object<PutReactivate>>,
    /// The contents of lists.
    #[schema(value_type = Option<PutList>)]
    pub list: Option<Object<PutList>>,
    /// The details of denials.
    #[schema(value_type = Option<PutVerify>)]
    pub verify: Option<Object<PutVerify>>,
    /// What happens to a key whose secret leaked.
    #[schema(value_type = Option<PutLeaks>)]
    pub leaks: Option<Object<PutLeaks>>,
    /// What users may set in keys, by their role. A root key that acts for itself is not restricted by it.
    #[schema(value_type = Option<PutGrant>)]
    pub grant: Option<Object<PutGrant>>,
    /// Defaults of new keys.
    #[schema(value_type = Option<PutNewKeys>)]
    pub new_keys: Option<Object<PutNewKeys>>,
}

/// The number of keys.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutLimit {
    /// Most keys of one owner that count; null is no limit.
    #[serde(default, deserialize_with = "crate::json::given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000, nullable)]
    pub keys_per_subject: Option<Option<Whole>>,
    /// Whether an expired key counts.
    #[schema(nullable)]
    pub count_expired: Option<bool>,
}

/// The lifetime of keys, in days.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutExpiry {
    /// The choices of dialogs, ascending.
    #[schema(value_type = Option<Vec<u32>>, max_items = 32)]
    pub choices_days: Option<Vec<Whole>>,
    /// Whether other lifetimes than the choices may be requested. If false, create, rotate and update accept only the
    /// choices, and never if `allow_never` is true.
    #[schema(nullable)]
    pub custom: Option<bool>,
    /// The expiry of a key for which none is requested; null is never, or the longest that is allowed.
    #[serde(default, deserialize_with = "crate::json::given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 36_525, nullable)]
    pub default_days: Option<Option<Whole>>,
    /// Longest finite lifetime; null is no bound.
    #[serde(default, deserialize_with = "crate::json::given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 36_525, nullable)]
    pub max_days: Option<Option<Whole>>,
    /// Whether a key may never expire.
    #[schema(nullable)]
    pub allow_never: Option<bool>,
    /// Whether the expiry of a key can be changed later.
    #[schema(nullable)]
    pub editable: Option<bool>,
    /// Whether changing the expiry of an expired key makes it work again.
    #[schema(nullable)]
    pub renew_expired: Option<bool>,
}

/// How long an old secret is accepted after a rotation, in seconds.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRotate {
    /// The overlap if none is requested.
    #[schema(value_type = Option<u64>, nullable, maximum = 31_622_400)]
    pub overlap_default_seconds: Option<Whole>,
    /// The longest overlap that may be requested.
    #[schema(value_type = Option<u64>, nullable, maximum = 31_622_400)]
    pub overlap_max_seconds: Option<Whole>,
}

/// The effect of a revocation.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRevoke {
    /// How long a revocation can be undone: `never`, `always`, or seconds.
    #[schema(value_type = Option<Undo>)]
    pub undo: Option<Undo>,
    /// What happens to the record: `keep`, `hide` or `erase`.
    #[schema(nullable, pattern = "^(keep|hide|erase)$")]
    pub after: Option<String>,
    /// The confirmation that the dashboard requires: `none`, `dialog` or `phrase`.
    #[schema(nullable, pattern = "^(none|dialog|phrase)$")]
    pub confirm: Option<String>,
    /// Whether a reason is requested: `off`, `optional` or `required`.
    #[schema(nullable, pattern = "^(off|optional|required)$")]
    pub reason: Option<String>,
}

/// Who may re-activate a disabled key.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutReactivate {
    /// A key that an administrator disabled can be re-activated only by an administrator.
    #[schema(nullable)]
    pub sticky: Option<bool>,
}

/// The contents of lists.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutList {
    /// The default filter: `usable` or `all`.
    #[schema(nullable, pattern = "^(usable|all)$")]
    pub default: Option<String>,
}

/// The details of denials.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutVerify {
    /// `none`, or `owner_safe`: denials distinguish disabled and expired keys.
    #[schema(nullable, pattern = "^(none|owner_safe)$")]
    pub reveal: Option<String>,
}

/// What happens to a key whose secret leaked.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutLeaks {
    /// `revoke`, `hold` or `notify`.
    #[schema(nullable, pattern = "^(revoke|hold|notify)$")]
    pub action: Option<String>,
}

/// How long a revocation can be undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undo {
    /// Not at all.
    Never,
    /// As long as the key exists.
    Always,
    /// This many seconds.
    Seconds(u64),
}

impl utoipa::PartialSchema for Undo {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, SchemaType, Type};
        let word = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .enum_values(Some(["never", "always"]));
        let seconds = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .minimum(Some(1))
            .maximum(Some(3_155_760_000_u64));
        OneOfBuilder::new().item(word).item(seconds).into()
    }
}

impl ToSchema for Undo {}

impl Serialize for Undo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Never => serializer.serialize_str("never"),
            Self::Always => serializer.serialize_str("always"),
            Self::Seconds(seconds) => serializer.serialize_u64(*seconds),
        }
    }
}

impl<'de> Deserialize<'de> for Undo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UndoInput;
        impl Visitor<'_> for UndoInput {
            type Value = Undo;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("never, always, or a whole number of seconds")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Undo, E> {
                match text {
                    "never" => Ok(Undo::Never),
                    "always" => Ok(Undo::Always),
                    digits => digits
                        .parse()
                        .map(Undo::Seconds)
                        .map_err(|_| E::invalid_value(serde::de::Unexpected::Other("another word"), &self)),
                }
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Undo, E> {
                Ok(Undo::Seconds(seconds))
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Undo, E> {
                let whole = Whole::deserialize(serde::de::value::F64Deserializer::new(seconds))?;
                Ok(Undo::Seconds(whole.0))
            }
        }
        deserializer.deserialize_any(UndoInput)
    }
}

/// A tenant's complete policy.
#[derive(Debug, Serialize, ToSchema)]
pub struct Policy {
    /// The preset it started from.
    pub preset: &'static str,
    /// The prefix of every new secret.
    pub prefix: String,
    /// `unique` or `any`.
    pub names: &'static str,
    /// The number of keys.
    pub limit: KeyCountLimit,
    /// The lifetime of keys.
    pub expiry: Expiry,
    /// How long an old secret is accepted after a rotation.
    pub rotate: Rotate,
    /// The effect of a revocation.
    pub revoke: Revoke,
    /// Who may re-activate a disabled key.
    pub reactivate: Reactivate,
    /// The contents of lists.
    pub list: ListPolicy,
    /// The details of denials.
    pub verify: VerifyPolicy,
    /// What happens to a key whose secret leaked.
    pub leaks: Leaks,
    /// What users may set in keys, by their role.
    pub grant: Grant,
    /// Defaults of new keys.
    pub new_keys: NewKeys,
    /// Existing keys that this policy would not allow now; they keep working. Only in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_allowed_today: Option<NotAllowed>,
}

/// The number of keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyLimit)]
pub struct KeyCountLimit {
    /// Most keys of one owner that count; null is no limit.
    #[schema(required, nullable)]
    pub keys_per_subject: Option<u32>,
    /// Whether an expired key counts.
    pub count_expired: bool,
}

/// The lifetime of keys, in days.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyExpiry)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the policy by this name"
)]
pub struct Expiry {
    /// The choices of dialogs.
    pub choices_days: Vec<u32>,
    /// Whether other lifetimes than the choices may be requested.
    pub custom: bool,
    /// The expiry of a key for which none is requested.
    #[schema(required, nullable)]
    pub default_days: Option<u32>,
    /// Longest finite lifetime.
    #[schema(required, nullable)]
    pub max_days: Option<u32>,
    /// Whether a key may never expire.
    pub allow_never: bool,
    /// Whether the expiry can be changed later.
    pub editable: bool,
    /// Whether an expired key can be renewed.
    pub renew_expired: bool,
}

/// How long an old secret is accepted after a rotation, in seconds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyRotate)]
pub struct Rotate {
    /// The overlap if none is requested.
    pub overlap_default_seconds: u64,
    /// The longest overlap that may be requested.
    pub overlap_max_seconds: u64,
}

/// The effect of a revocation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyRevoke)]
pub struct Revoke {
    /// How long a revocation can be undone.
    pub undo: Undo,
    /// What happens to the record.
    pub after: &'static str,
    /// The confirmation that the dashboard requires.
    pub confirm: &'static str,
    /// Whether a reason is requested.
    pub reason: &'static str,
}

/// Who may re-activate a disabled key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyReactivate)]
pub struct Reactivate {
    /// A key that an administrator disabled can be re-activated only by an administrator.
    pub sticky: bool,
}

/// The contents of lists.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyList)]
pub struct ListPolicy {
    /// The default filter.
    pub default: &'static str,
}

/// The details of denials.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyVerify)]
pub struct VerifyPolicy {
    /// `none` or `owner_safe`.
    pub reveal: &'static str,
}

/// What happens to a key whose secret leaked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyLeaks)]
pub struct Leaks {
    /// `revoke`, `hold` or `notify`.
    pub action: &'static str,
}

/// Keys that a policy would not allow now.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotAllowed {
    /// How many there are.
    pub count: u64,
    /// The newest of them, at most 100.
    pub keys: Vec<NotAllowedKey>,
}

/// A key that a policy would not allow now.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotAllowedKey {
    /// The key.
    pub id: String,
    /// What the policy does not allow.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn undo_is_a_word_or_seconds() {
        for (text, undo) in [
            ("\"never\"", Undo::Never),
            ("\"always\"", Undo::Always),
            ("3600", Undo::Seconds(3_600)),
            ("\"3600\"", Undo::Seconds(3_600)),
        ] {
            assert_eq!(serde_json::from_str::<Undo>(text).unwrap(), undo);
        }
        for text in ["\"sometimes\"", "-1", "1.5", "null", "[]", "true"] {
            assert!(serde_json::from_str::<Undo>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn null_and_left_out_are_two_wishes_and_a_refusal_names_the_path() {
        let wish: PutPolicy = json::parse(br#"{"limit":{"keys_per_subject":null},"expiry":{}}"#).unwrap();
        assert_eq!(wish.limit.unwrap().0.keys_per_subject, Some(None));
        assert_eq!(wish.expiry.unwrap().0.max_days, None);
        for (body, field) in [
            (r#"{"limit":{"keys_per_subject":-1}}"#, "limit.keys_per_subject"),
            (r#"{"revoke":{"undo":"soon"}}"#, "revoke.undo"),
            (r#"{"revoke":{"whatever":1}}"#, "revoke.whatever"),
            (r#"{"limit":[3]}"#, "limit"),
        ] {
            let refused = json::parse::<PutPolicy>(body.as_bytes()).unwrap_err();
            assert_eq!(refused.field, field, "{}", refused.what);
        }
    }
}
