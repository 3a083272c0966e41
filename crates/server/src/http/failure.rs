//! The one table from what went wrong inside to what is said outside.

use super::answer::Rejected;
use keyreeve_api::{Code, Problem};
use keyreeve_authority::Failure;
use keyreeve_core::check::CHECK_POLICIES_MAX;
use keyreeve_core::lifecycle::Refusal;

impl From<Failure> for Rejected {
    fn from(failure: Failure) -> Self {
        Self(problem(failure))
    }
}

fn problem(failure: Failure) -> Problem {
    let denied = |detail: &str| Problem::new(Code::PermissionDenied, detail);
    match failure {
        Failure::PermissionDenied(permission) => {
            let detail =
                format!("The root key lacks the permission {permission}, or the call is about another tenant.");
            Problem::new(Code::PermissionDenied, detail).with("permission", permission.as_str())
        }
        Failure::InstanceOnly => {
            denied("This is for root keys of the whole instance; the caller's is bound to a tenant.")
        }
        Failure::Escalation => denied("A root key cannot give a permission that it does not have itself."),
        Failure::CallerGone => Problem::new(
            Code::RootKeyInvalid,
            "The credential was revoked while the call was on its way. Nothing was changed.",
        ),
        Failure::Refused { item, refusal } => refused(item, &refusal),
        Failure::NotFound => Problem::new(Code::NotFound, "There is no such thing in this tenant."),
        Failure::OwnKeysOnly => denied("A member may act only on their own keys: the subject must be the user's id."),
        Failure::OwnLimits => {
            denied("A member cannot say how often their own key may be used. An administrator can, or a root key.")
        }
        Failure::Contradiction(found) => Problem::field(found.field, &found.why),
        Failure::EmailTaken => Problem::new(
            Code::EmailTaken,
            "A user of this tenant has that address. Change that user, or choose another address.",
        )
        .with("param_name", "email"),
        Failure::LastAdmin => Problem::new(
            Code::LastAdmin,
            "This is the tenant's last active admin. Make another user an admin first.",
        ),
        Failure::LastRootKey => Problem::new(
            Code::LastRootKey,
            "This is the last root key of the instance that can make others. Make another one first.",
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
        Failure::AlreadyCompleted(records) => completed(&records),
        Failure::Unavailable(why) => {
            tracing::warn!(why, "a call was answered as unavailable");
            let detail = "The store cannot be reached now. Nothing was changed; try again.";
            Problem::new(Code::ServiceUnavailable, detail)
        }
        Failure::OutcomeUnknown(why) => {
            tracing::error!(why, "the outcome of a change is unknown");
            let detail = "The answer of the store was lost: the change may have been made. Repeating it is safe.";
            Problem::new(Code::OutcomeUnknown, detail)
        }
        Failure::Internal(why) => {
            tracing::error!(why, "internal error");
            Problem::new(
                Code::InternalError,
                "Something went wrong inside. The log has the cause under the request id.",
            )
        }
    }
}

fn too_many_check_policies() -> Problem {
    let detail = format!("A tenant has at most {CHECK_POLICIES_MAX} check policies. Remove one first.");
    Problem::new(Code::CheckPolicyLimitReached, detail).with("max", CHECK_POLICIES_MAX)
}

/// A retry whose secret has arrived: the keys as they are, without secrets.
fn completed(records: &[keyreeve_store::model::KeyRecord]) -> Problem {
    let keys = records
        .iter()
        .map(|record| record.key.id.to_string())
        .collect::<Vec<_>>();
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
            "The hold was put on by an administrator and can be lifted only by one.",
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
        Refusal::OwnershipMove => Problem::field(
            "subject",
            "differs from the key's owner, and a key does not move to another one",
        ),
        Refusal::ReasonRequired => Problem::field("revocation_reason", "is required by the tenant's policy"),
        Refusal::OutOfStep => {
            tracing::error!("store and authority are out of step");
            Problem::new(Code::InternalError, "Something went wrong inside. Nothing was changed.")
        }
    };
    problem.with("item", item)
}

/// A rule in words, as a sentence.
fn sentence(violation: &impl std::fmt::Display) -> String {
    let text = violation.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(chars).chain(['.']).collect()
}
