//! Rows of SQLite, and what they stand for.

use crate::codec;
use crate::error::StoreError;
use crate::model::{AuditRecord, Credential, KeyBrief, KeyRecord, RootKey, Tenant, UsageCount};
use keyreeve_core::access::{Permissions, Reach, Role};
use keyreeve_core::key::{LastFour, Prefix};
use keyreeve_core::lifecycle::{Hold, HoldCause, Lock, NewSecret, ReasonCode, Retiring, Revocation, State};
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Claims, Description, Name, Note, Slug, Subject};
use keyreeve_core::user::{Email, PasswordDigest, Status};
use keyreeve_core::verdict::{KeyStanding, SecretStanding};
use keyreeve_core::{Digest, Key, KeyId, RootKeyId, Timestamp, User, UserId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row as _, Sqlite, Type};

/// The columns of a key, read by name; a condition follows.
macro_rules! select_keys {
    () => {
        concat!(
            "SELECT id, tenant, subject, name, description, claims, scopes, created_by, digest, prefix, last_four, ",
            "retiring, retiring_until, state, hold_cause, hold_lock, finalize_at, state_since, state_by, ",
            "reason_code, note, created_at, updated_at, rotated_at, expires_at, last_used_at, ",
            "(SELECT c.last_used_at IS NOT NULL FROM credentials c WHERE c.digest = keys.digest) AS is_presented ",
            "FROM keys ",
        )
    };
}
pub(super) use select_keys;

/// The database's own failures: away, busy, disk full.
pub(super) fn away(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
            StoreError::Corrupt(error.to_string())
        }
        other => StoreError::Unavailable(other.to_string()),
    }
}

pub(super) fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}

/// A column by name.
pub(super) fn column<'r, T>(row: &'r SqliteRow, name: &str) -> Result<T, StoreError>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(name).map_err(away)
}

/// A column that must parse.
fn parsed<T>(row: &SqliteRow, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
    parse(column(row, name)?).ok_or_else(|| corrupt(name))
}

/// A column that must parse unless it is null.
fn maybe<T>(row: &SqliteRow, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
    match column::<Option<&str>>(row, name)? {
        None => Ok(None),
        Some(text) => parse(text).map(Some).ok_or_else(|| corrupt(name)),
    }
}

fn time(row: &SqliteRow, name: &str) -> Result<Timestamp, StoreError> {
    column(row, name).map(Timestamp::from_millis)
}

pub(super) fn maybe_time(row: &SqliteRow, name: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(column::<Option<i64>>(row, name)?.map(Timestamp::from_millis))
}

fn bytes<const N: usize>(row: &SqliteRow, name: &str) -> Result<[u8; N], StoreError> {
    column::<&[u8]>(row, name)?.try_into().map_err(|_| corrupt(name))
}

pub(super) fn digest(row: &SqliteRow, name: &str) -> Result<Digest, StoreError> {
    bytes(row, name).map(Digest::from_bytes)
}

pub(super) fn revision(row: &SqliteRow, name: &str) -> Result<u64, StoreError> {
    u64::try_from(column::<i64>(row, name)?).map_err(|_| corrupt(name))
}

pub(super) fn chain(row: &SqliteRow) -> Result<[u8; 32], StoreError> {
    bytes(row, "chain")
}

/// A revision or a limit as SQLite keeps numbers.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn tenant(row: &SqliteRow) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        slug: parsed(row, "slug", |text| Slug::parse(text).ok())?,
        name: parsed(row, "name", |text| Name::parse(text).ok())?,
        status: match (column(row, "is_removed")?, column(row, "is_suspended")?) {
            (true, _) => Status::Removed,
            (false, true) => Status::Suspended,
            (false, false) => Status::Active,
        },
        policy: codec::policy::from_json(column(row, "policy")?)?,
        created_at: time(row, "created_at")?,
    })
}

pub(super) fn root_key(row: &SqliteRow) -> Result<RootKey, StoreError> {
    Ok(RootKey {
        id: RootKeyId::from_bytes(bytes(row, "id")?),
        name: parsed(row, "name", |text| Name::parse(text).ok())?,
        reach: match maybe(row, "tenant", |text| Slug::parse(text).ok())? {
            None => Reach::Instance,
            Some(slug) => Reach::Tenant(slug),
        },
        permissions: parsed(row, "permissions", Permissions::from_joined)?,
        digest: digest(row, "digest")?,
        last_four: parsed(row, "last_four", LastFour::parse)?,
        created_at: time(row, "created_at")?,
        revoked_at: maybe_time(row, "revoked_at")?,
    })
}

pub(super) fn user(row: &SqliteRow) -> Result<User, StoreError> {
    Ok(User {
        id: UserId::from_bytes(bytes(row, "id")?),
        tenant: parsed(row, "tenant", |text| Slug::parse(text).ok())?,
        email: parsed(row, "email", |text| Email::parse(text).ok())?,
        name: maybe(row, "name", |text| Name::parse(text).ok())?,
        role: parsed(row, "role", Role::parse)?,
        status: parsed(row, "status", Status::parse)?,
        password: column::<Option<&str>>(row, "password")?.map(PasswordDigest::new),
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

pub(super) fn usage_count(row: &SqliteRow) -> Result<UsageCount, StoreError> {
    Ok(UsageCount {
        key: KeyId::from_bytes(bytes(row, "key_id")?),
        hour: time(row, "hour")?,
        outcome: column(row, "outcome")?,
        count: revision(row, "count")?,
    })
}

/// A key by tenant and id.
pub(super) fn key_place(row: &SqliteRow) -> Result<(Slug, KeyId), StoreError> {
    let tenant = parsed(row, "tenant", |text| Slug::parse(text).ok())?;
    Ok((tenant, KeyId::from_bytes(bytes(row, "id")?)))
}

pub(super) fn subject(row: &SqliteRow) -> Result<Option<Subject>, StoreError> {
    Ok(user(row)?.subject())
}

pub(super) fn key_record(row: &SqliteRow) -> Result<KeyRecord, StoreError> {
    Ok(KeyRecord {
        key: key(row)?,
        last_used_at: maybe_time(row, "last_used_at")?,
        is_presented: column::<Option<bool>>(row, "is_presented")?.unwrap_or(false),
    })
}

fn key(row: &SqliteRow) -> Result<Key, StoreError> {
    Ok(Key {
        id: KeyId::from_bytes(bytes(row, "id")?),
        tenant: parsed(row, "tenant", |text| Slug::parse(text).ok())?,
        subject: parsed(row, "subject", |text| Subject::parse(text).ok())?,
        name: parsed(row, "name", |text| Name::parse(text).ok())?,
        description: maybe(row, "description", |text| Description::parse(text).ok())?,
        claims: maybe(row, "claims", |text| Claims::from_checked_json(text).ok())?,
        scopes: parsed(row, "scopes", |text| Scopes::from_joined(text).ok())?,
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

fn state(row: &SqliteRow) -> Result<State, StoreError> {
    let word: &str = column(row, "state")?;
    if word == "active" {
        return Ok(State::Active);
    }
    let since = time(row, "state_since")?;
    let by: Box<str> = column::<&str>(row, "state_by")?.into();
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

pub(super) fn credential(row: &SqliteRow) -> Result<Option<Credential>, StoreError> {
    let Some(word) = column::<Option<&str>>(row, "standing")? else {
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
        key_id: KeyId::from_bytes(bytes(row, "key_id")?),
        tenant: parsed(row, "tenant", |text| Slug::parse(text).ok())?,
        key: brief(row)?,
    }))
}

fn brief(row: &SqliteRow) -> Result<Option<KeyBrief>, StoreError> {
    let Some(state) = column::<Option<&str>>(row, "state")? else {
        return Ok(None);
    };
    let text = |name: &str| column::<&str>(row, name).map(Box::from);
    Ok(Some(KeyBrief {
        subject: text("subject")?,
        name: text("name")?,
        scopes: text("scopes")?,
        claims: column::<Option<&str>>(row, "claims")?.map(Box::from),
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

pub(super) fn audit_record(row: &SqliteRow) -> Result<AuditRecord, StoreError> {
    Ok(AuditRecord {
        revision: revision(row, "revision")?,
        at: time(row, "at")?,
        tenant: column(row, "tenant")?,
        actor_type: column(row, "actor_type")?,
        actor_id: column(row, "actor_id")?,
        action: column(row, "action")?,
        target_type: column(row, "target_type")?,
        target_id: column(row, "target_id")?,
        subject: column(row, "subject")?,
        reason: column(row, "reason")?,
        address: column(row, "address")?,
        request_id: column(row, "request_id")?,
        before: column(row, "before")?,
        after: column(row, "after")?,
        chain: chain(row)?,
    })
}
