//! The one table from internal failures to public errors.

use crate::Rejected;
use crate::respond::RETRY_AFTER_SECONDS;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::{Conflict, Failure, FieldChange, Recorded};
use keyreeve_core::check::CHECK_POLICIES_MAX;
use keyreeve_core::lifecycle::Refusal;
use serde_json::{Value, json};

/// Seconds after which a verifier that was refused for lack of room may try again.
const VERIFIER_RETRY_SECONDS: u64 = 10;

/// The detail of a 404 where the route does not address one record.
pub const NO_RECORD: &str = "No such record exists in this tenant.";

/// Returns the problem of a record that does not exist. The face that knows the route may name the record.
pub fn no_record() -> Problem {
    Problem::new(Code::NotFound, NO_RECORD)
}

impl From<Failure> for Rejected {
    fn from(failure: Failure) -> Self {
        Self(problem(failure))
    }
}

/// Returns the problem of a failure. Failures of the server itself are logged.
pub fn problem(failure: Failure) -> Problem {
    match failure {
        Failure::PermissionDenied(permission) => {
            let detail =
                format!("The root key lacks the permission {permission}, or the call is about another tenant.");
            Problem::new(Code::PermissionDenied, detail).with("permission", permission.as_str())
        }
        Failure::InstanceOnly
        | Failure::Escalation
        | Failure::RoleBeyond(_)
        | Failure::PasswordByLink
        | Failure::OwnKeysOnly
        | Failure::OwnLimits => beyond_rights(&failure),
        Failure::CallerGone => Problem::new(
            Code::RootKeyInvalid,
            "The credential was revoked while the call was running. Nothing was changed.",
        ),
        Failure::Refused { item, refusal } => refused(item, &refusal),
        Failure::NotFound => no_record(),
        Failure::Contradiction(found) => Problem::field(found.field, &found.why),
        Failure::Outdated(conflict) => outdated(&conflict),
        Failure::EmailTaken => email_taken(),
        Failure::LastAdmin => Problem::new(
            Code::LastAdmin,
            "This is the tenant's last active admin. Make another user an admin first.",
        ),
        Failure::LastRootKey => Problem::new(
            Code::LastRootKey,
            "This is the last root key of the instance that can create others. Create another one first.",
        ),
        Failure::SlugTaken => Problem::new(Code::SlugTaken, "There is a tenant with this slug. Choose another one."),
        Failure::CheckPolicyTaken => Problem::new(
            Code::NameTaken,
            "The tenant has a check policy of this name. Change that one, or choose another name.",
        )
        .with("param_name", "name"),
        Failure::TooManyCheckPolicies => too_many_check_policies(),
        Failure::IdempotencyKeyReused => Problem::new(
            Code::IdempotencyKeyReused,
            "This Idempotency-Key came with another request in the last 24 hours. Use a new one for a new request.",
        ),
        Failure::AlreadyCompleted(records) => {
            let keys = records.iter().map(|record| record.key.id.to_string());
            completed(keys.collect())
        }
        Failure::VerifiersOverdue { retry_after_seconds } => verifiers_overdue(retry_after_seconds),
        Failure::TooManyVerifiers { max, of } => too_many_verifiers(max, of),
        Failure::Unavailable(why) => {
            tracing::warn!(why, "store unavailable; the call was answered with 503");
            unavailable()
        }
        Failure::ReadOnly(why) => {
            tracing::warn!(why, "a change was refused");
            let detail =
                format!("Nothing was changed, and no change is possible now: {why}. Keys are verified as before.");
            Problem::new(Code::ServiceUnavailable, detail)
        }
        Failure::OutcomeUnknown(why) => {
            tracing::error!(why, "the outcome of a change is unknown");
            outcome_unknown()
        }
        Failure::Internal(why) => {
            tracing::error!(why, "internal error");
            internal()
        }
    }
}

/// The problem of a store that cannot be reached. Nothing was changed.
pub fn unavailable() -> Problem {
    let detail = "The store cannot be reached now. Nothing was changed; try again.";
    Problem::new(Code::ServiceUnavailable, detail)
}

/// The problem of a change that may have been made.
pub fn outcome_unknown() -> Problem {
    let detail = "The change may have been made, in part or completely: the store's answer was lost, or the call failed \
                  after some of its changes. Repeating it is safe.";
    Problem::new(Code::OutcomeUnknown, detail)
}

/// The problem of an error of this server.
pub fn internal() -> Problem {
    Problem::new(
        Code::InternalError,
        "An internal error occurred. The log has the cause under the request id.",
    )
}

/// Refusals for reasons beyond a single permission.
fn beyond_rights(failure: &Failure) -> Problem {
    let detail = match failure {
        Failure::InstanceOnly => "This call needs an instance root key; the caller's is bound to a tenant.",
        Failure::Escalation => {
            "A root key cannot give more than it has: neither another permission, nor a longer life, nor other networks."
        }
        Failure::RoleBeyond(role) => {
            let detail = format!(
                "The role {role} has permissions that the caller lacks: only a caller whose permissions cover a role \
                 can grant it, or make a link to sign in with it."
            );
            return Problem::new(Code::PermissionDenied, detail).with("role", role.as_str());
        }
        Failure::PasswordByLink => {
            "Passwords are set by their owners: leave the field `password` out, and give the user a link (POST \
             /v1/users/{id}/invite)."
        }
        Failure::OwnKeysOnly => "A member may act only on their own keys: the subject must be the user's id.",
        Failure::OwnLimits => "A member cannot set the limits of their own key. An administrator or a root key can.",
        _ => "The caller may not do this.",
    };
    Problem::new(Code::PermissionDenied, detail)
}

/// The record has changed: the answer has the changes, their actors and times.
fn outdated(conflict: &Conflict) -> Problem {
    let detail = "The record has changed since you read it; nothing was changed now. `changes` lists what changed, by \
                  whom and when, the newest first. Read it again, and send the change with its new ETag if it is \
                  still right.";
    Problem::new(Code::PreconditionFailed, detail)
        .with("etag", format!("\"{}\"", conflict.present.to_tag()))
        .with("changes", conflict.changes.iter().map(change).collect::<Vec<_>>())
        .with("complete", conflict.is_complete)
}

fn change(change: &Recorded) -> Value {
    let entry = &change.entry;
    json!({
        "revision": entry.revision,
        "at": entry.at.millis(),
        "actor": { "type": entry.actor_type, "id": entry.actor_id },
        "action": entry.action,
        "fields": change.fields.iter().map(field).collect::<Vec<_>>(),
    })
}

fn field(field: &FieldChange) -> Value {
    match &field.values {
        Some((before, after)) => json!({ "name": field.name, "before": before, "after": after }),
        None => json!({ "name": field.name }),
    }
}

fn email_taken() -> Problem {
    let detail = "A user of this tenant has that address. Change that user, or choose another address.";
    Problem::new(Code::EmailTaken, detail).with("param_name", "email")
}

fn too_many_check_policies() -> Problem {
    let detail = format!("A tenant has at most {CHECK_POLICIES_MAX} check policies. Remove one first.");
    Problem::new(Code::CheckPolicyLimitReached, detail).with("max", CHECK_POLICIES_MAX)
}

fn verifiers_overdue(retry_after_seconds: u64) -> Problem {
    let detail = format!(
        "Verifiers of this root key failed to acknowledge in time too often, and changes waited for them. They may \
         connect again in {retry_after_seconds} s; until then, use POST /v1/verify."
    );
    Problem::new(Code::VerifierStreamSuspended, detail).with(RETRY_AFTER_SECONDS, retry_after_seconds.max(1))
}

fn too_many_verifiers(max: usize, of: &str) -> Problem {
    let detail = format!(
        "The limit of verifiers {of} is reached: {max}. Disconnect some (`keyreeve verifiers list`), or use POST \
         /v1/verify."
    );
    Problem::new(Code::VerifierLimitReached, detail)
        .with("max", max)
        .with(RETRY_AFTER_SECONDS, VERIFIER_RETRY_SECONDS)
}

/// A retry whose secret was delivered: the answer names the keys, without secrets.
pub fn completed(keys: Vec<String>) -> Problem {
    let detail = "The same request was carried out before, and its secret was used or its key has changed since. \
                  Use the secret that arrived, or rotate the key with another Idempotency-Key.";
    Problem::new(Code::AlreadyCompleted, detail).with("keys", keys)
}

fn refused(item: usize, refusal: &Refusal) -> Problem {
    let problem = match refusal {
        Refusal::InvalidTransition { from, verb } => {
            let detail = format!("The key is {from} and does not take `{verb}` in this state.");
            Problem::new(Code::InvalidTransition, detail)
                .with("state", from.as_str())
                .with("verb", verb.as_str())
        }
        Refusal::Locked => Problem::new(
            Code::PermissionDenied,
            "An administrator disabled the key, and only an administrator can re-activate it.",
        ),
        Refusal::SecretLost => Problem::new(
            Code::PermissionDenied,
            "Keyreeve disabled the key because its database had lost the key's newest secret: re-activated, the key would \
             accept an older one. Revoke it, and create another key.",
        ),
        Refusal::Policy(violation) => Problem::new(Code::PolicyForbids, sentence(violation)),
        Refusal::ExpiryPast => Problem::new(
            Code::InvalidTransition,
            "The key has expired, so a rotation needs a new expiry: send seconds_until_expiration.",
        ),
        Refusal::LimitReached { max, used } => {
            let detail =
                format!("The subject has {used} keys that count, and {max} are allowed. Revoke one, or rotate one.");
            Problem::new(Code::KeyLimitReached, detail)
                .with("max", *max)
                .with("used", *used)
        }
        Refusal::NameTaken => Problem::new(
            Code::NameTaken,
            "The subject has a usable key of this name. Choose another name, or revoke the other key first.",
        )
        .with("param_name", "name"),
        Refusal::OwnerBlocked => Problem::new(
            Code::OwnerBlocked,
            "The key's owner, or the tenant, is suspended or removed, so the key would not work. Re-activate the user \
             first.",
        )
        .with("param_name", "subject"),
        Refusal::OwnershipMove => Problem::field(
            "subject",
            "differs from the key's owner, and a key cannot be moved to another owner",
        ),
        Refusal::ReasonRequired => Problem::field("revocation_reason", "is required by the tenant's policy"),
        Refusal::ScopeNotGiven { scope, allowed } => {
            let allowed = if allowed.is_empty() { "none" } else { allowed };
            let detail =
                format!("The policy does not allow your role to grant the scope {scope}. It may grant: {allowed}.");
            Problem::new(Code::PolicyForbids, detail)
                .with("param_name", "scopes")
                .with("scope", scope.as_ref())
        }
        Refusal::ClaimsNotGiven => Problem::new(
            Code::PolicyForbids,
            "The policy does not allow members to set claims. An administrator or a root key can.",
        )
        .with("param_name", "claims"),
        Refusal::OutOfStep => {
            tracing::error!("the store and the authority are inconsistent");
            Problem::new(Code::InternalError, "An internal error occurred. Nothing was changed.")
        }
    };
    problem.with("item", item)
}

/// Formats a violated rule as a sentence.
fn sentence(violation: &impl std::fmt::Display) -> String {
    let text = violation.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(chars).chain(['.']).collect()
}
