//! One problem of each error code, from the functions that make the real answers where there is one.

use crate::http::v1::{api_keys, leaks, me};
use crate::http::{answer, call};
use keyreeve_api::{Code, Problem};
use keyreeve_authority::{Conflict, Failure, FieldChange, Recorded};
use keyreeve_core::access::Permission;
use keyreeve_core::lifecycle::{Refusal, Standing, Verb};
use keyreeve_core::policy::Violation;
use keyreeve_core::verdict::Outer;
use keyreeve_core::{KeyId, RootKeyId, Timestamp};
use keyreeve_store::model::AuditRecord;
use keyreeve_store::version::Version;
use keyreeve_web::body::{self, BODY_BYTES_MAX};
use keyreeve_web::failure;
use keyreeve_web::respond::RETRY_AFTER_SECONDS;

/// The key of the examples.
const KEY: KeyId = KeyId::from_bytes(*b"\x01\x9b\x8d\x62\x7a\x80\x70\x00\x80\x00\x00\x00\x00\x00\x00\xa1");
/// Its root key.
const ROOT_KEY: RootKeyId = RootKeyId::from_bytes(*b"\x01\x9b\x8d\x62\x7a\x80\x70\x00\x80\x00\x00\x00\x00\x00\x00\xb2");
/// The time of a change: 2026-01-06 12:00 UTC.
const CHANGED_AT: Timestamp = Timestamp::from_millis(1_767_700_800_000);
/// The version of a record that another caller has changed.
const PRESENT: &str = "5d41402abc4b2a76b9719d911017c592010203040506";

/// Returns a problem with this code.
pub(super) fn problem(code: Code) -> Problem {
    let known = of_request(code)
        .or_else(|| of_denial(code))
        .or_else(|| of_failure(code));
    known.unwrap_or_else(|| Problem::new(code, of_other_listener(code)))
}

/// Returns the problem of a request that is refused before a use case runs.
fn of_request(code: Code) -> Option<Problem> {
    let problem = match code {
        Code::BadRequest => Problem::field("seconds_until_expiration", "must be greater than 0"),
        Code::RootKeyRequired => call::root_key_required(),
        Code::RootKeyInvalid => call::root_key_invalid(),
        Code::NotFound => failure::no_record(),
        Code::SecretNotStored => api_keys::secret::not_stored(),
        Code::MethodNotAllowed => answer::wrong_method(),
        Code::RequestTimeout => body::too_slow(),
        Code::PayloadTooLarge => body::too_large(BODY_BYTES_MAX),
        Code::UnsupportedMediaType => body::not_json(),
        Code::SignatureInvalid => leaks::not_signed(),
        Code::RateLimited => {
            let detail = "There were too many requests from this address. Wait, then try again.";
            Problem::new(code, detail).with(RETRY_AFTER_SECONDS, 7)
        }
        _ => return None,
    };
    Some(problem)
}

/// Returns the problem of an API key that is denied.
fn of_denial(code: Code) -> Option<Problem> {
    let denials = Outer::ALL.iter().filter(|outer| **outer != Outer::Unavailable);
    denials
        .map(|outer| me::denied(*outer))
        .find(|problem| problem.code == code)
}

/// Returns the problem of a use case that failed.
fn of_failure(code: Code) -> Option<Problem> {
    let failure = match code {
        Code::PermissionDenied => Failure::PermissionDenied(Permission::KeysWrite),
        Code::IdempotencyKeyReused => Failure::IdempotencyKeyReused,
        Code::NameTaken => refused(Refusal::NameTaken),
        Code::SlugTaken => Failure::SlugTaken,
        Code::EmailTaken => Failure::EmailTaken,
        Code::LastAdmin => Failure::LastAdmin,
        Code::LastRootKey => Failure::LastRootKey,
        Code::KeyLimitReached => refused(Refusal::LimitReached { max: 3, used: 3 }),
        Code::CheckPolicyLimitReached => Failure::TooManyCheckPolicies,
        Code::PolicyForbids => refused(Refusal::Policy(Violation::ExpiryTooLate { max_days: 90 })),
        Code::OwnerBlocked => refused(Refusal::OwnerBlocked),
        Code::InvalidTransition => refused(Refusal::InvalidTransition {
            from: Standing::Revoked,
            verb: Verb::Reactivate,
        }),
        Code::VerifierLimitReached => Failure::TooManyVerifiers {
            max: 64,
            of: "of this root key",
        },
        Code::VerifierStreamSuspended => Failure::VerifiersOverdue {
            retry_after_seconds: 300,
        },
        Code::PreconditionFailed => Failure::Outdated(Box::new(conflict()?)),
        // The failures of these codes are logged when they become problems.
        Code::AlreadyCompleted => return Some(failure::completed(vec![KEY.to_string()])),
        Code::ServiceUnavailable => return Some(failure::unavailable()),
        Code::OutcomeUnknown => return Some(failure::outcome_unknown()),
        Code::InternalError => return Some(failure::internal()),
        _ => return None,
    };
    Some(failure::problem(failure))
}

const fn refused(refusal: Refusal) -> Failure {
    Failure::Refused { item: 0, refusal }
}

/// Returns a conflict with another caller, who has renamed the key.
fn conflict() -> Option<Conflict> {
    let entry = AuditRecord {
        revision: 1_042,
        at: CHANGED_AT,
        tenant: "acme".to_owned(),
        actor_type: "root_key".to_owned(),
        actor_id: ROOT_KEY.to_string(),
        action: "key.updated".to_owned(),
        target_type: "key".to_owned(),
        target_id: KEY.to_string(),
        subject: None,
        reason: None,
        address: None,
        request_id: String::new(),
        before: None,
        after: None,
        chain: [0; 32],
    };
    let name = FieldChange {
        name: "name".to_owned(),
        values: Some(("CI".into(), "CI of the billing service".into())),
    };
    Some(Conflict {
        present: Version::parse(PRESENT)?,
        changes: vec![Recorded {
            entry,
            fields: vec![name],
        }],
        is_complete: true,
    })
}

/// Returns the detail of a code that only gateways, verifiers or pages get.
const fn of_other_listener(code: Code) -> &'static str {
    match code {
        Code::AmbiguousCredentials => {
            "The request has more than one key. Send exactly one, once, in one of the headers authorization, x-api-key."
        }
        Code::CheckPolicyUnknown => {
            "The gateway names a check policy that does not exist, so the request is denied. The path of the check \
             ends in the policy's name, or in tenant:name."
        }
        Code::GatewayCredentialRequired => {
            "This check policy demands that the gateway shows a root key with the permission keys:verify in the \
             header X-Keyreeve-Gateway, and it showed none that is good."
        }
        Code::UpgradeRequired => {
            "This route serves only upgraded connections: it needs HTTP/1.1 with the headers Connection: Upgrade and \
             Upgrade: keyreeve-verifier."
        }
        Code::SignInRequired => "You are not signed in, or your session has ended. Sign in and go on.",
        Code::SignInFailed => "The address or the password is wrong.",
        Code::FormNotOurs => {
            "The form does not carry the mark of this session. Nothing was changed. Open the form again and send it \
             from there."
        }
        Code::LinkUsedUp => "This link was used already, or is older than three days.",
        _ => "",
    }
}
