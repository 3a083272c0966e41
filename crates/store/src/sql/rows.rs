//! Converts rows to records.

use super::Columns;
use crate::codec;
use crate::error::StoreError;
use crate::model::{
    AuditRecord, Credential, KeyBrief, KeyRecord, Login, LoginKind, RootKey, Tenant, Trace, UsageCount,
};
use keyreeve_core::access::{Permissions, Reach, Role};
use keyreeve_core::key::{LastFour, Prefix};
use keyreeve_core::lifecycle::{Hold, HoldCause, Lock, NewSecret, ReasonCode, Retiring, Revocation, State};
use keyreeve_core::limits::Networks;
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Claims, Description, Name, Note, Slug, Subject};
use keyreeve_core::user::{Email, PasswordDigest, Status};
use keyreeve_core::verdict::{KeyStanding, SecretStanding};
use keyreeve_core::{Digest, Key, KeyId, Limits, RootKeyId, Timestamp, User, UserId};

/// Selects the columns of a key, which are read by name; a condition follows.
macro_rules! select_keys {
    () => {
        concat!(
            "SELECT id, tenant, subject, name, description, claims, scopes, limits, created_by, digest, prefix, last_four, ",
            "retiring, retiring_until, state, hold_cause, hold_lock, finalize_at, state_since, state_by, ",
            "reason_code, note, created_at, updated_at, rotated_at, expires_at, last_used_at, ",
            "last_refused_at, ",
            "(SELECT c.last_used_at IS NOT NULL FROM credentials c WHERE ",
            $crate::sql::same_digest!("c.digest", "keys.digest"),
            ") AS is_presented, ",
            $crate::sql::owner_blocked!(),
            " AS owner_blocked FROM keys ",
        )
    };
}
pub(super) use select_keys;

pub(crate) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}

fn there<T>(found: Option<T>, name: &str) -> Result<T, StoreError> {
    found.ok_or_else(|| corrupt(name))
}

/// Returns a text that is not null.
pub(crate) fn text<'r>(row: &'r impl Columns, name: &str) -> Result<&'r str, StoreError> {
    there(row.text(name)?, name)
}

/// Returns a number that is not null.
pub(crate) fn int(row: &impl Columns, name: &str) -> Result<i64, StoreError> {
    there(row.int(name)?, name)
}

/// Returns a boolean that is not null.
pub(crate) fn flag(row: &impl Columns, name: &str) -> Result<bool, StoreError> {
    there(row.flag(name)?, name)
}

/// Returns bytes that are not null.
pub(crate) fn blob<'r>(row: &'r impl Columns, name: &str) -> Result<&'r [u8], StoreError> {
    there(row.blob(name)?, name)
}

fn owned(row: &impl Columns, name: &str) -> Result<String, StoreError> {
    text(row, name).map(str::to_owned)
}

fn maybe_owned(row: &impl Columns, name: &str) -> Result<Option<String>, StoreError> {
    Ok(row.text(name)?.map(str::to_owned))
}

/// Returns a column that must parse.
pub(crate) fn parsed<T>(
    row: &impl Columns,
    name: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, StoreError> {
    parse(text(row, name)?).ok_or_else(|| corrupt(name))
}

/// Returns a column that must parse unless it is null.
fn maybe<T>(row: &impl Columns, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
    match row.text(name)? {
        None => Ok(None),
        Some(text) => parse(text).map(Some).ok_or_else(|| corrupt(name)),
    }
}

pub(crate) fn time(row: &impl Columns, name: &str) -> Result<Timestamp, StoreError> {
    int(row, name).map(Timestamp::from_millis)
}

pub(crate) fn maybe_time(row: &impl Columns, name: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.int(name)?.map(Timestamp::from_millis))
}

fn bytes<const N: usize>(row: &impl Columns, name: &str) -> Result<[u8; N], StoreError> {
    blob(row, name)?.try_into().map_err(|_| corrupt(name))
}

pub(crate) fn digest(row: &impl Columns, name: &str) -> Result<Digest, StoreError> {
    bytes(row, name).map(Digest::from_bytes)
}

pub(crate) fn key_id(row: &impl Columns, name: &str) -> Result<KeyId, StoreError> {
    bytes(row, name).map(KeyId::from_bytes)
}

pub(crate) fn revision(row: &impl Columns, name: &str) -> Result<u64, StoreError> {
    u64::try_from(int(row, name)?).map_err(|_| corrupt(name))
}

pub(crate) fn chain(row: &impl Columns) -> Result<[u8; 32], StoreError> {
    bytes(row, "chain")
}

/// Converts a revision or a limit to the database's integer.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn tenant(row: &impl Columns) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        slug: parsed(row, "slug", |text| Slug::parse(text).ok())?,
        name: parsed(row, "tenant_name", |text| Name::parse(text).ok())?,
        status: match (flag(row, "is_removed")?, flag(row, "is_suspended")?) {
            (true, _) => Status::Removed,
            (false, true) => Status::Suspended,
            (false, false) => Status::Active,
        },
        policy: codec::policy::from_json(text(row, "policy")?)?,
        created_at: time(row, "tenant_created_at")?,
    })
}

pub(crate) fn root_key(row: &impl Columns) -> Result<RootKey, StoreError> {
    Ok(RootKey {
        id: RootKeyId::from_bytes(bytes(row, "id")?),
        name: parsed(row, "name", |text| Name::parse(text).ok())?,
        reach: match maybe(row, "tenant", |text| Slug::parse(text).ok())? {
            None => Reach::Instance,
            Some(slug) => Reach::Tenant(slug),
        },
        permissions: parsed(row, "permissions", Permissions::from_joined)?,
        networks: parsed(row, "networks", |text| Networks::from_joined(text).ok())?,
        digest: digest(row, "digest")?,
        last_four: parsed(row, "last_four", LastFour::parse)?,
        retiring: match maybe_time(row, "retiring_until")? {
            Some(until) => Some(Retiring {
                digest: digest(row, "retiring_digest")?,
                until,
            }),
            None => None,
        },
        is_presented: flag(row, "is_presented")?,
        created_at: time(row, "created_at")?,
        rotated_at: maybe_time(row, "rotated_at")?,
        expires_at: maybe_time(row, "expires_at")?,
        last_used_at: maybe_time(row, "last_used_at")?,
        revoked_at: maybe_time(row, "revoked_at")?,
    })
}

pub(crate) fn user(row: &impl Columns) -> Result<User, StoreError> {
    Ok(User {
        id: UserId::from_bytes(bytes(row, "id")?),
        tenant: parsed(row, "tenant", |text| Slug::parse(text).ok())?,
        email: parsed(row, "email", |text| Email::parse(text).ok())?,
        name: maybe(row, "name", |text| Name::parse(text).ok())?,
        role: parsed(row, "role", Role::parse)?,
        status: parsed(row, "status", Status::parse)?,
        password: row.text("password")?.map(PasswordDigest::new),
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

pub(crate) fn usage_count(row: &impl Columns) -> Result<UsageCount, StoreError> {
    Ok(UsageCount {
        key: key_id(row, "key_id")?,
        hour: time(row, "hour")?,
        outcome: owned(row, "outcome")?,
        count: revision(row, "count")?,
        extra_cost: revision(row, "extra_cost")?,
    })
}

pub(crate) fn trace(row: &impl Columns) -> Result<Trace, StoreError> {
    Ok(Trace {
        key: key_id(row, "key_id")?,
        outcome: owned(row, "outcome")?,
        address: owned(row, "address")?,
        count: revision(row, "count")?,
        last_at: time(row, "last_at")?,
    })
}

pub(crate) fn login(row: &impl Columns) -> Result<Login, StoreError> {
    let user = row
        .blob("user_id")?
        .map(|id| id.try_into().map_err(|_| corrupt("user_id")));
    Ok(Login {
        digest: Digest::from_bytes(bytes(row, "digest")?),
        kind: parsed(row, "kind", LoginKind::parse)?,
        tenant: parsed(row, "tenant", |text| Slug::parse(text).ok())?,
        user: user.transpose()?.map(UserId::from_bytes),
        data: owned(row, "data")?,
        expires_at: time(row, "expires_at")?,
    })
}

/// Returns the tenant and id of a key.
pub(crate) fn key_place(row: &impl Columns) -> Result<(Slug, KeyId), StoreError> {
    let tenant = parsed(row, "tenant", |text| Slug::parse(text).ok())?;
    Ok((tenant, key_id(row, "id")?))
}

pub(crate) fn subject(row: &impl Columns) -> Result<Option<Subject>, StoreError> {
    Ok(user(row)?.subject())
}

pub(crate) fn key_record(row: &impl Columns) -> Result<KeyRecord, StoreError> {
    Ok(KeyRecord {
        key: key(row)?,
        last_used_at: maybe_time(row, "last_used_at")?,
        last_refused_at: maybe_time(row, "last_refused_at")?,
        is_presented: row.flag("is_presented")?.unwrap_or(false),
        owner_blocked: flag(row, "owner_blocked")?,
    })
}

fn key(row: &impl Columns) -> Result<Key, StoreError> {
    Ok(Key {
        id: key_id(row, "id")?,
        tenant: parsed(row, "tenant", |text| Slug::parse(text).ok())?,
        subject: parsed(row, "subject", |text| Subject::parse(text).ok())?,
        name: parsed(row, "name", |text| Name::parse(text).ok())?,
        description: maybe(row, "description", |text| Description::parse(text).ok())?,
        claims: maybe(row, "claims", |text| Claims::from_checked_json(text).ok())?,
        scopes: parsed(row, "scopes", |text| Scopes::from_joined(text).ok())?,
        limits: maybe(row, "limits", |text| Limits::from_joined(text).ok())?.unwrap_or_default(),
        created_by: maybe(row, "created_by", |text| Subject::parse(text).ok())?,
        secret: NewSecret {
            digest: digest(row, "digest")?,
            prefix: parsed(row, "prefix", |text| Prefix::parse(text).ok())?,
            last_four: parsed(row, "last_four", LastFour::parse)?,
        },
        retiring: match maybe_time(row, "retiring_until")? {
            None => None,
            Some(until) => Some(Retiring {
                digest: digest(row, "retiring")?,
                until,
            }),
        },
        state: state(row)?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        rotated_at: maybe_time(row, "rotated_at")?,
        expires_at: maybe_time(row, "expires_at")?,
    })
}

fn state(row: &impl Columns) -> Result<State, StoreError> {
    let word = text(row, "state")?;
    if word == "active" {
        return Ok(State::Active);
    }
    let since = time(row, "state_since")?;
    let by: Box<str> = text(row, "state_by")?.into();
    let code = parsed(row, "reason_code", ReasonCode::parse)?;
    let note = maybe(row, "note", |text| Note::parse(text).ok())?;
    match word {
        "disabled" => Ok(State::Disabled(Hold {
            cause: parsed(row, "hold_cause", HoldCause::parse)?,
            lock: parsed(row, "hold_lock", Lock::parse)?,
            since,
            by,
            finalize_at: maybe_time(row, "finalize_at")?,
            code,
            note,
        })),
        "revoked" => Ok(State::Revoked(Revocation {
            at: since,
            by,
            code,
            note,
        })),
        _ => Err(corrupt("state")),
    }
}

pub(crate) fn credential(row: &impl Columns) -> Result<Option<Credential>, StoreError> {
    let Some(word) = row.text("standing")? else {
        return Ok(None);
    };
    let secret = match word {
        "live" => SecretStanding::Live,
        "retiring" => SecretStanding::Retiring(time(row, "until")?),
        "retired" => SecretStanding::Retired,
        "erased" => SecretStanding::Tombstone,
        _ => return Err(corrupt("standing")),
    };
    Ok(Some(Credential {
        secret,
        key_id: key_id(row, "key_id")?,
        tenant: parsed(row, "tenant", |text| Slug::parse(text).ok())?,
        is_presented: row.flag("is_presented")?.unwrap_or(false),
        key: brief(row)?,
    }))
}

fn brief(row: &impl Columns) -> Result<Option<KeyBrief>, StoreError> {
    let Some(state) = row.text("state")? else {
        return Ok(None);
    };
    let part = |name: &str| text(row, name).map(Box::from);
    Ok(Some(KeyBrief {
        subject: part("subject")?,
        name: part("name")?,
        scopes: part("scopes")?,
        claims: row.text("claims")?.map(Box::from),
        limits: row.text("limits")?.unwrap_or_default().into(),
        standing: match state {
            "active" => KeyStanding::Active,
            "disabled" => KeyStanding::Disabled {
                finalize_at: maybe_time(row, "finalize_at")?,
            },
            "revoked" => KeyStanding::Revoked,
            _ => return Err(corrupt("state")),
        },
        expires_at: maybe_time(row, "expires_at")?,
    }))
}

pub(crate) fn audit_record(row: &impl Columns) -> Result<AuditRecord, StoreError> {
    Ok(AuditRecord {
        revision: revision(row, "revision")?,
        at: time(row, "at")?,
        tenant: owned(row, "tenant")?,
        actor_type: owned(row, "actor_type")?,
        actor_id: owned(row, "actor_id")?,
        action: owned(row, "action")?,
        target_type: owned(row, "target_type")?,
        target_id: owned(row, "target_id")?,
        subject: maybe_owned(row, "subject")?,
        reason: maybe_owned(row, "reason")?,
        address: maybe_owned(row, "address")?,
        request_id: owned(row, "request_id")?,
        before: maybe_owned(row, "before")?,
        after: maybe_owned(row, "after")?,
        chain: chain(row)?,
    })
}
