//! Builds statements of a write transaction with their parameters.

use super::MARK;
use super::batched::{APPEND, CURRENT_CREDENTIALS, IS_USER_BLOCKED, LOCK_KEY, NAME_TAKEN};
use crate::folded::folded;
use crate::model::AuditRecord;
use crate::sql::rows::number;
use crate::sql::{Batched, Statement, query};
use keyreeve_core::lifecycle::State;
use keyreeve_core::text::{Name, Slug, Subject};
use keyreeve_core::{Key, KeyId, Timestamp, UserId};

/// Binds every column of a key, in the order of the statements that insert and update one.
pub(super) fn key_statement(change: Batched, key: &Key) -> Statement<'_> {
    let statement = change
        .query(27)
        .bind(key.id.bytes())
        .bind(key.tenant.as_str())
        .bind(key.subject.as_str())
        .bind(key.name.as_str())
        .bind(key.description.as_ref().map(|text| text.as_str()))
        .bind(key.claims.as_ref().map(|claims| claims.as_json()))
        .bind(key.scopes.joined())
        .bind(key.created_by.as_ref().map(|text| text.as_str()))
        .bind(key.secret.digest.bytes().as_slice())
        .bind(key.secret.prefix.as_str())
        .bind(key.secret.last_four.as_str())
        .bind(key.retiring.as_ref().map(|old| old.digest.bytes().as_slice()))
        .bind(key.retiring.as_ref().map(|old| old.until.millis()));
    bind_state(statement, &key.state)
        .bind(key.created_at.millis())
        .bind(key.updated_at.millis())
        .bind(key.rotated_at.map(Timestamp::millis))
        .bind(key.expires_at.map(Timestamp::millis))
        .bind(Some(key.limits.joined()).filter(|limits| !limits.is_empty()))
        .bind(folded(key.name.as_str()))
}

pub(super) fn append(record: &AuditRecord) -> Statement<'_> {
    APPEND
        .query(15)
        .bind(number(record.revision))
        .bind(record.at.millis())
        .bind(&record.tenant)
        .bind(&record.actor_type)
        .bind(&record.actor_id)
        .bind(&record.action)
        .bind(&record.target_type)
        .bind(&record.target_id)
        .bind(&record.subject)
        .bind(&record.reason)
        .bind(&record.address)
        .bind(&record.request_id)
        .bind(&record.before)
        .bind(&record.after)
        .bind(record.chain.as_slice())
}

fn bind_state<'q>(statement: Statement<'q>, state: &'q State) -> Statement<'q> {
    const NOTHING: Option<&str> = None;
    const NEVER: Option<i64> = None;
    match state {
        State::Active => statement
            .bind("active")
            .bind(NOTHING)
            .bind(NOTHING)
            .bind(NEVER)
            .bind(NEVER)
            .bind(NOTHING)
            .bind(NOTHING)
            .bind(NOTHING),
        State::Disabled(hold) => statement
            .bind("disabled")
            .bind(Some(hold.cause.as_str()))
            .bind(Some(hold.lock.as_str()))
            .bind(hold.finalize_at.map(Timestamp::millis))
            .bind(Some(hold.since.millis()))
            .bind(Some(&*hold.by))
            .bind(Some(hold.code.as_str()))
            .bind(hold.note.as_ref().map(|note| note.as_str())),
        State::Revoked(revocation) => statement
            .bind("revoked")
            .bind(NOTHING)
            .bind(NOTHING)
            .bind(NEVER)
            .bind(Some(revocation.at.millis()))
            .bind(Some(&*revocation.by))
            .bind(Some(revocation.code.as_str()))
            .bind(revocation.note.as_ref().map(|note| note.as_str())),
    }
}

pub(super) fn locked_key(tenant: &Slug, id: KeyId) -> Statement<'_> {
    LOCK_KEY.query(2).bind(tenant.as_str()).bind(id.bytes())
}

pub(super) fn current_of<'q>(id: KeyId) -> Statement<'q> {
    CURRENT_CREDENTIALS.query(1).bind(id.bytes())
}

pub(super) fn idempotency_record_of<'q>(actor: &'q str, mark: &'q str) -> Statement<'q> {
    query(MARK).bind(actor).bind(mark)
}

pub(super) fn name_taken<'q>(
    tenant: &'q Slug,
    subject: &'q Subject,
    name: &'q Name,
    except: Option<&'q [u8]>,
    now: Timestamp,
) -> Statement<'q> {
    NAME_TAKEN
        .query(5)
        .bind(tenant.as_str())
        .bind(subject.as_str())
        .bind(name.as_str())
        .bind(except)
        .bind(now.millis())
}

pub(super) fn user_blocked(tenant: &Slug, id: UserId) -> Statement<'_> {
    IS_USER_BLOCKED.query(2).bind(tenant.as_str()).bind(id.bytes())
}
