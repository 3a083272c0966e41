//! The version of a record that a caller has seen, and whether it is still the current one (RFC 9110, section 8.8.3).
//!
//! A version is computed from the record alone, so that every node computes the same one, also after a restart and
//! after a change by SQL. Use of a key is not part of it: verification makes no new version.

use crate::describe;
use crate::model::{CheckPolicyRecord, RootKey, Tenant};
use keyreeve_core::lifecycle::State;
use keyreeve_core::text::{Name, Slug};
use keyreeve_core::{CheckPolicy, Digest, Key, Policy, Timestamp, User, bytes_of_hex, hex};
use serde_json::Value;

/// Bytes of the digest that distinguishes versions.
const DIGEST_BYTES: usize = 16;
/// Bytes of the digest by which a version is found in the audit log.
const AUDIT_DIGEST_BYTES: usize = 6;

/// The kind of record, as the audit log names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordKind {
    /// An API key.
    Key,
    /// A user.
    User,
    /// A tenant, without its policy.
    Tenant,
    /// The policy of a tenant.
    Policy,
    /// A check policy.
    CheckPolicy,
    /// A root key.
    RootKey,
}

impl RecordKind {
    /// Returns the target type of audit entries about such a record.
    pub const fn target_type(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::User => "user",
            Self::Tenant | Self::Policy => "tenant",
            Self::CheckPolicy => "check_policy",
            Self::RootKey => "root_key",
        }
    }

    /// Returns the part of a target's description in the audit log that is this record.
    pub fn part_of(self, described: Value) -> Value {
        match (self, described) {
            (Self::Policy, Value::Object(mut tenant)) => tenant.remove("policy").unwrap_or(Value::Null),
            (Self::Tenant, Value::Object(mut tenant)) => {
                tenant.remove("policy");
                Value::Object(tenant)
            }
            // An overlap ends by time, and the log has it until the next change.
            (Self::Key | Self::RootKey, Value::Object(mut key)) => {
                key.remove("retiring_until");
                Value::Object(key)
            }
            (_, whole) => whole,
        }
    }
}

/// A version of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    digest: [u8; DIGEST_BYTES],
    audit_digest: [u8; AUDIT_DIGEST_BYTES],
}

impl Version {
    /// Returns the version of a key. Effects of time alone make no new version: the end of an overlap, of the time to
    /// undo a revocation, of the key itself.
    pub fn of_key(key: &Key) -> Self {
        let time = |time: Timestamp| time.millis().to_string();
        let (scopes, limits) = (key.scopes.joined(), key.limits.joined());
        let times = [
            Some(key.created_at),
            Some(key.updated_at),
            key.rotated_at,
            key.expires_at,
        ]
        .map(|at| at.map(time));
        let state = state(&key.state);
        let (id, [created, updated, rotated, expires]) = (key.id.to_string(), &times);
        let mut parts = vec![
            Some(id.as_str()),
            Some(key.tenant.as_str()),
            Some(key.subject.as_str()),
            Some(key.name.as_str()),
            key.description.as_ref().map(|text| text.as_str()),
            key.claims.as_ref().map(|claims| claims.as_json()),
            Some(&scopes),
            Some(&limits),
            key.created_by.as_ref().map(|text| text.as_str()),
            Some(key.secret.prefix.as_str()),
            Some(key.secret.last_four.as_str()),
            created.as_deref(),
            updated.as_deref(),
            rotated.as_deref(),
            expires.as_deref(),
        ];
        parts.extend(state.iter().map(Option::as_deref));
        Self::new(RecordKind::Key, &parts, &describe::key(key))
    }

    /// Returns the version of a user. A new password makes a new version.
    pub fn of_user(user: &User) -> Self {
        let (id, created, updated) = (
            user.id.to_string(),
            user.created_at.millis().to_string(),
            user.updated_at.millis().to_string(),
        );
        let parts = [
            Some(id.as_str()),
            Some(user.tenant.as_str()),
            Some(user.email.as_str()),
            user.name.as_ref().map(Name::as_str),
            Some(user.role.as_str()),
            Some(user.status.as_str()),
            user.password.as_ref().map(|_| "password"),
            Some(&created),
            Some(&updated),
        ];
        Self::new(RecordKind::User, &parts, &describe::user(user))
    }

    /// Returns the version of a tenant, without its policy except for the preset that it started from.
    pub fn of_tenant(tenant: &Tenant) -> Self {
        let created = tenant.created_at.millis().to_string();
        let parts = [
            Some(tenant.slug.as_str()),
            Some(tenant.name.as_str()),
            Some(tenant.status.as_str()),
            Some(tenant.policy.preset.as_str()),
            Some(&created),
        ];
        Self::new(RecordKind::Tenant, &parts, &describe::tenant(tenant))
    }

    /// Returns the version of a tenant's policy.
    pub fn of_policy(tenant: &Slug, policy: &Policy) -> Self {
        let text = describe::policy(policy);
        let parts = [Some(tenant.as_str()), Some(&text)];
        Self::new(RecordKind::Policy, &parts, &format!("{{\"policy\":{text}}}"))
    }

    /// Returns the version of a check policy that is stored.
    pub fn of_check_policy(record: &CheckPolicyRecord) -> Self {
        Self::of_check(
            &record.tenant,
            &record.policy,
            Some((record.created_at, record.updated_at)),
        )
    }

    /// Returns the version of a check policy; `times` are its creation and its last change, and `None` for the built-in
    /// one.
    pub fn of_check(tenant: &Slug, policy: &CheckPolicy, times: Option<(Timestamp, Timestamp)>) -> Self {
        let text = describe::check_policy(policy);
        let times = times.map(|(created, updated)| format!("{} {}", created.millis(), updated.millis()));
        let parts = [
            Some(tenant.as_str()),
            Some(policy.name.as_str()),
            Some(&text),
            times.as_deref(),
        ];
        Self::new(RecordKind::CheckPolicy, &parts, &text)
    }

    /// Returns the version of a root key. The end of an overlap makes no new version, whether by time or by a call: the
    /// present secret is the same.
    pub fn of_root_key(root_key: &RootKey) -> Self {
        let lasting = RootKey {
            retiring: None,
            ..root_key.clone()
        };
        let (id, text) = (root_key.id.to_string(), describe::root_key(&lasting));
        Self::new(RecordKind::RootKey, &[Some(id.as_str()), Some(&text)], &text)
    }

    fn new(kind: RecordKind, parts: &[Option<&str>], described: &str) -> Self {
        let mut bytes = format!("keyreeve version 1 {kind:?}").into_bytes();
        for part in parts {
            match part {
                None => bytes.push(0),
                Some(text) => {
                    bytes.push(1);
                    bytes.extend(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
        }
        let digest = Digest::of(&bytes);
        let described = serde_json::from_str(described);
        Self {
            digest: digest.bytes().first_chunk().copied().unwrap_or_default(),
            audit_digest: described.map_or([0; AUDIT_DIGEST_BYTES], |value| audit_digest(&kind.part_of(value))),
        }
    }

    /// Returns hexadecimal digits, for the quotation marks of an `ETag`.
    pub fn to_tag(&self) -> String {
        hex(&self.digest) + &hex(&self.audit_digest)
    }

    /// Parses what [`Version::to_tag`] returns. `None` for any other text, which is no version.
    pub fn parse(tag: &str) -> Option<Self> {
        let bytes: [u8; DIGEST_BYTES + AUDIT_DIGEST_BYTES] = bytes_of_hex(tag)?;
        let (digest, audit_digest) = bytes.split_first_chunk()?;
        let version = Self {
            digest: *digest,
            audit_digest: *audit_digest.first_chunk()?,
        };
        // Entity tags are compared byte by byte: digits in upper case are another tag.
        (version.to_tag() == tag).then_some(version)
    }

    /// Whether both are of the same record and nothing was changed between them.
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Whether the audit log has this version of the record.
    pub fn is_shown_as(&self, part: &Value) -> bool {
        self.audit_digest == audit_digest(part)
    }
}

fn audit_digest(part: &Value) -> [u8; AUDIT_DIGEST_BYTES] {
    let digest = Digest::of(part.to_string().as_bytes());
    digest.bytes().first_chunk().copied().unwrap_or_default()
}

/// Returns the parts of a state that are shown and that an edit could depend on.
fn state(state: &State) -> [Option<String>; 5] {
    match state {
        State::Active => [Some("active".to_owned()), None, None, None, None],
        // It becomes final by time, whether or not that is stored yet.
        State::Disabled(hold) if hold.finalize_at.is_some() => [
            Some("revoked".to_owned()),
            Some(hold.since.millis().to_string()),
            Some(hold.by.to_string()),
            Some(hold.code.to_string()),
            hold.note.as_ref().map(ToString::to_string),
        ],
        State::Disabled(hold) => [
            Some(format!("disabled {} {}", hold.cause, hold.lock)),
            Some(hold.since.millis().to_string()),
            Some(hold.by.to_string()),
            Some(hold.code.to_string()),
            hold.note.as_ref().map(ToString::to_string),
        ],
        State::Revoked(end) => [
            Some("revoked".to_owned()),
            Some(end.at.millis().to_string()),
            Some(end.by.to_string()),
            Some(end.code.to_string()),
            end.note.as_ref().map(ToString::to_string),
        ],
    }
}

/// Which versions a change may be made of (RFC 9110, section 13.1.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Any, as long as there is one.
    Any,
    /// One of these.
    OneOf(Vec<Version>),
}

impl Condition {
    /// Whether a change of this version may be made.
    pub fn holds(&self, present: &Version) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(versions) => versions.iter().any(|version| version.is_same(present)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_core::policy::Preset;

    #[test]
    fn a_tag_is_read_back_and_nothing_else_is_one() {
        let slug = Slug::parse("acme").unwrap();
        let version = Version::of_policy(&slug, &Preset::Standard.policy());
        let tag = version.to_tag();
        assert_eq!(Version::parse(&tag), Some(version));
        for wrong in [
            "",
            "x",
            &format!("0{tag}"),
            &format!("{tag}0"),
            &tag.to_uppercase(),
            &tag.replace(char::is_numeric, "g"),
        ] {
            assert!(*wrong == tag || Version::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_version_is_of_its_own_record_and_content() {
        let (acme, other) = (Slug::parse("acme").unwrap(), Slug::parse("other").unwrap());
        let version = Version::of_policy(&acme, &Preset::Standard.policy());
        assert!(version.is_same(&Version::of_policy(&acme, &Preset::Standard.policy())));
        assert!(!version.is_same(&Version::of_policy(&other, &Preset::Standard.policy())));
        assert!(!version.is_same(&Version::of_policy(&acme, &Preset::Hold.policy())));
    }

    #[test]
    fn text_cannot_slip_from_one_field_into_the_next() {
        let of = |parts: &[Option<&str>]| Version::new(RecordKind::User, parts, "{}");
        assert!(!of(&[Some("ab"), Some("c")]).is_same(&of(&[Some("a"), Some("bc")])));
        assert!(!of(&[None, Some("")]).is_same(&of(&[Some(""), None])));
    }
}
