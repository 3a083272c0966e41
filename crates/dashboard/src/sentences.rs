//! Error messages for people: a sentence in the words of the pages, and the form field it concerns. Texts of the API
//! are for programs: they name its fields and root keys, and do not reach a page.

use keyreeve_api::{Code, Problem};
use keyreeve_authority::Failure;
use keyreeve_core::lifecycle::{Refusal, Standing, Verb};
use keyreeve_core::policy::Violation;

/// Who can do what the visitor may not do.
pub(super) const ADMINISTRATORS_CAN: &str = "An administrator of this tenant can do it, or can give you another role.";

/// A sentence, and the form field it concerns, if any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sentence {
    pub(super) field: Option<&'static str>,
    pub(super) text: String,
}

impl Sentence {
    pub(super) fn about(field: &'static str, text: impl Into<String>) -> Self {
        Self {
            field: Some(field),
            text: text.into(),
        }
    }

    pub(super) fn of_all(text: impl Into<String>) -> Self {
        Self {
            field: None,
            text: text.into(),
        }
    }
}

/// A field: its name in the API, its name in the forms, and the noun that begins a sentence about it.
const FIELDS: &[(&str, &str, &str)] = &[
    ("name", "name", "The name"),
    ("owner", "owner", "The owner"),
    ("subject", "owner", "The owner"),
    ("description", "description", "The description"),
    ("expires", "expires", "The expiry"),
    ("seconds_until_expiration", "expires", "The expiry"),
    ("expires_on", "expires_on", "The last day"),
    ("overlap", "overlap", "The end of the old secret"),
    ("networks", "networks", "Network"),
    ("limits", "limits", "Limit"),
    ("new_limits", "new_limits", "Limit"),
    ("reason", "reason", "The reason"),
    ("reason_code", "reason_code", "The reason"),
    ("phrase", "phrase", "What you type to confirm"),
    ("email", "email", "The address"),
    ("role", "role", "The role"),
    ("password", "new_password", "The new password"),
    ("realm", "realm", "The realm"),
    ("key_headers", "headers", "Each header"),
    (
        "cache_max_age_seconds",
        "seconds",
        "The time that an answer may be kept",
    ),
    ("gateway_credential", "credential", "What the gateway shows"),
    ("names", "names", "This rule"),
    ("limit", "limit", "The number of keys"),
    ("default_days", "default_days", "The number of days"),
    ("max_days", "max_days", "The number of days"),
    ("overlap_default", "overlap_default", "The number of seconds"),
    ("overlap_max", "overlap_max", "The number of seconds"),
    ("undo", "undo", "This rule"),
    ("undo_seconds", "undo_seconds", "The number of seconds"),
    ("after", "after", "This rule"),
    ("confirm", "confirm", "This rule"),
    ("list", "list", "This rule"),
    ("reveal", "reveal", "This rule"),
    ("leaks", "leaks", "This rule"),
];

/// Fields whose API messages are replaced by one complete rule: name in the API, name in the forms, rule.
const RULES: &[(&str, &str, &str)] = &[
    (
        "again",
        "again",
        "The two passwords are not the same. Type the new password once more.",
    ),
    ("scopes", "scopes", SCOPES),
    ("member_scopes", "member_scopes", SCOPES),
    ("admin_scopes", "admin_scopes", SCOPES),
    (
        "id",
        "id",
        "Choose 1 to 200 keys: tick some in the list. Nothing was changed.",
    ),
    (
        "prefix",
        "prefix",
        "A prefix is a lower-case letter and 1 to 15 letters or digits, then perhaps _ and 1 to 15 more. The prefixes of \
         Keyreeve's own credentials cannot be taken.",
    ),
    (
        "choices",
        "choices",
        "Write whole numbers of days with commas between, such as 7, 30, 90.",
    ),
    (
        "limit.keys_per_subject",
        "limit",
        "An owner may have from 1 to 1 000 000 keys. Leave it empty for no limit.",
    ),
    (
        "expiry.default_days",
        "default_days",
        "From 1 to 36 525 days, not more than the longest expiry, and one of those that are offered, unless another can be \
         asked for. It may be empty where keys may never expire, or where there is a longest expiry.",
    ),
    (
        "expiry.max_days",
        "max_days",
        "From 1 to 36 525 days, or empty. Where it is what a key gets when nothing is said, and no other expiry can be asked \
         for, it must be one of those that are offered.",
    ),
    (
        "expiry.choices_days",
        "choices",
        "At most 32 numbers of days, from 1 to 36 525, each larger than the one before, and none larger than the longest \
         expiry.",
    ),
    (
        "grant.member.scopes",
        "member_scopes",
        "Members may give no scope that admins may not give: add it to theirs, or take it out here.",
    ),
    (
        "rotate.overlap_max_seconds",
        "overlap_max",
        "The longest overlap is at most 31 622 400 seconds, which is 366 days.",
    ),
    (
        "rotate.overlap_default_seconds",
        "overlap_default",
        "The overlap when nothing is said cannot be longer than the longest overlap.",
    ),
    (
        "revoke.undo",
        "undo_seconds",
        "Revoking can be undone for 1 second up to 36 525 days.",
    ),
    (
        "revoke.after",
        "after",
        "A key that can always be re-activated cannot be deleted when it is revoked.",
    ),
];

const SCOPES: &str = "A scope is 1 to 128 characters of A-Z a-z 0-9 : . _ * / and -, and each stands once. Separate scopes \
                      with spaces.";

/// Returns the heading of a page that cannot be shown.
pub(super) const fn title(code: Code) -> &'static str {
    match code {
        Code::PermissionDenied => "Your role does not allow this",
        Code::RootKeyInvalid => "You were signed out",
        Code::BadRequest | Code::UnsupportedMediaType | Code::PayloadTooLarge => "The form cannot be read",
        Code::IdempotencyKeyReused => "This form was sent before",
        code => code.title(),
    }
}

/// Returns what a use case refused, in words for people.
pub(super) fn of_failure(failure: &Failure) -> Option<Sentence> {
    let text = match failure {
        Failure::Refused { refusal, .. } => return of_refusal(refusal),
        Failure::OwnLimits => {
            let text = "You cannot say how often your own key may be used. An administrator of this tenant can.";
            return Some(Sentence::about("limits", text));
        }
        Failure::EmailTaken => {
            let text = "A user of this tenant has that address. Change that user, or choose another address.";
            return Some(Sentence::about("email", text));
        }
        Failure::CheckPolicyTaken => {
            let text = "There is a check policy of this name. Change that one, or choose another name.";
            return Some(Sentence::about("name", text));
        }
        Failure::PermissionDenied(_)
        | Failure::InstanceOnly
        | Failure::Escalation
        | Failure::RoleBeyond(_)
        | Failure::PasswordByLink
        | Failure::OwnKeysOnly => ADMINISTRATORS_CAN,
        Failure::CallerGone => {
            "You were signed out, or your role changed, while this was on its way. Nothing was changed."
        }
        Failure::NotFound => "There is no such thing in this tenant. It may have been deleted meanwhile.",
        Failure::IdempotencyKeyReused => "Open the form again and send it from there. Nothing was changed.",
        Failure::Unavailable(_) => {
            "Keyreeve cannot reach its database now. Nothing was changed; try again in a moment."
        }
        Failure::OutcomeUnknown(_) => {
            "The database did not answer: this may have been done. Look at the list, or try again: doing it twice is safe."
        }
        _ => return None,
    };
    Some(Sentence::of_all(text))
}

fn of_refusal(refusal: &Refusal) -> Option<Sentence> {
    let said = match refusal {
        Refusal::InvalidTransition { from, verb } => Sentence::of_all(in_this_state(*from, *verb)),
        Refusal::Policy(violation) => of_violation(violation),
        Refusal::ExpiryPast => Sentence::about("expires", "The key has expired: choose another expiry."),
        Refusal::LimitReached { max, used } => Sentence::of_all(format!(
            "The owner has {}, and {max} are allowed. Revoke or rotate one of them instead.",
            super::moment::plural((*used).into(), "key")
        )),
        Refusal::NameTaken => Sentence::about(
            "name",
            "The owner has another key of this name. Choose another name, or revoke that key first.",
        ),
        Refusal::OwnerBlocked => Sentence::about(
            "owner",
            "The owner, or the whole tenant, is suspended or removed, so the key would not work. Let the user in again first.",
        ),
        Refusal::ReasonRequired => Sentence::about("reason", "The policy of this tenant asks for a reason."),
        Refusal::ScopeNotGiven { scope, allowed } => {
            let allowed = if allowed.is_empty() { "none" } else { allowed };
            let text = format!("The policy does not let your role give the scope {scope}. It may give: {allowed}.");
            Sentence::about("scopes", text)
        }
        Refusal::ClaimsNotGiven => {
            Sentence::of_all("The policy does not let members set claims. An administrator of this tenant can.")
        }
        Refusal::Locked => Sentence::of_all("The hold was put on by an administrator and can be lifted only by one."),
        Refusal::SecretLost => Sentence::of_all(
            "The database had lost the newest secret of this key, so it was disabled: an older secret would work again. Revoke it, and create another key.",
        ),
        Refusal::OwnershipMove | Refusal::OutOfStep => return None,
    };
    Some(said)
}

fn of_violation(violation: &Violation) -> Sentence {
    match violation {
        Violation::ExpiryTooLate { max_days } => Sentence::about(
            "expires",
            format!("The policy allows at most {max_days} days. Choose an earlier end."),
        ),
        Violation::ExpiryNotOffered => Sentence::about("expires", "The policy allows only the choices of this form."),
        Violation::NeverExpires => Sentence::about("expires", "The policy does not allow keys that never expire."),
        Violation::ExpiryFixed => Sentence::about(
            "expires",
            "The policy does not let the expiry of a key be changed. Rotate the key instead.",
        ),
        Violation::ExpiredStays => Sentence::about(
            "expires",
            "The policy does not let an expired key be renewed. Rotate it with another expiry instead.",
        ),
        Violation::OverlapTooLong { max_seconds } => Sentence::about(
            "overlap",
            format!(
                "The policy lets an old secret go on for at most {}.",
                super::moment::length(*max_seconds)
            ),
        ),
    }
}

fn in_this_state(from: Standing, verb: Verb) -> String {
    let state = match from {
        Standing::Disabled => "disabled",
        Standing::Revoked => "revoked",
        Standing::Expired => "expired",
        Standing::Active => "active",
    };
    let done = match verb {
        Verb::Rotate => "cannot be rotated",
        Verb::Update => "cannot be edited",
        Verb::Disable => "cannot be disabled",
        Verb::Reactivate => "cannot be re-activated",
        Verb::Revoke => "cannot be revoked",
        Verb::Finalize => "cannot be ended for good",
        Verb::FinishRotation => "has no old secret to end",
        Verb::Delete => "cannot be deleted",
        Verb::Issue => "cannot be created",
    };
    format!("The key is {state} and {done}. Nothing was changed.")
}

/// Returns why a form cannot be read, or why a page cannot be shown.
pub(super) fn of_problem(problem: &Problem) -> Sentence {
    let param = problem.meta.get("param_name").and_then(|name| name.as_str());
    match (problem.code, param) {
        (Code::BadRequest, Some(param)) => of_field(param, &problem.detail),
        (Code::SignInFailed | Code::RateLimited, _) => Sentence::about("password", problem.detail.clone()),
        _ => Sentence::of_all(problem.detail.clone()),
    }
}

/// `param`: a field, or a part of it such as `networks[1]`.
fn of_field(param: &str, detail: &str) -> Sentence {
    if let Some((_, field, rule)) = RULES.iter().find(|(api, ..)| *api == param) {
        return Sentence::about(field, *rule);
    }
    let end = param.find(['[', '.']).unwrap_or(param.len());
    let (whole, part) = param.split_at(end);
    // The API's message begins with the field's name. The remainder fits any name of the field.
    let what = detail.strip_prefix(&format!("`{param}` ")).unwrap_or(detail);
    match FIELDS.iter().find(|(api, ..)| *api == whole) {
        Some((_, field, noun)) => Sentence::about(field, format!("{noun}{} {what}", place(part))),
        None => Sentence::of_all(format!("This form cannot be read: it {what}")),
    }
}

/// For a part such as `[1].period`, returns which one it is, counted from 1.
fn place(part: &str) -> String {
    let number = part.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let number: Option<u64> = number.and_then(|digits| digits.parse().ok());
    let inner = part
        .split_once("].")
        .map_or(String::new(), |(_, inner)| format!(": its {inner}"));
    number.map_or(inner.clone(), |number| format!(" {}{inner}", number + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyreeve_core::Policy;
    use keyreeve_core::policy::Preset;

    #[test]
    fn no_field_of_the_api_and_no_back_tick_reaches_a_person() {
        let fields = FIELDS.iter().chain(RULES).map(|(api, ..)| *api);
        let parts = ["networks[1]", "limits[0].period", "limits[0].name", "unheard_of"];
        for api in fields.chain(parts) {
            let said = of_problem(&Problem::field(api, "must be something"));
            for word in ["`", "_", "[", "subject", "root key", "null"] {
                let is_syntax = api == "prefix" || said.text == SCOPES;
                assert!(!said.text.contains(word) || is_syntax, "{api}: {}", said.text);
            }
        }
    }

    #[test]
    fn a_part_of_a_field_is_counted_as_people_do() {
        let said = |api: &str| of_problem(&Problem::field(api, "must be a network"));
        assert_eq!(
            said("networks[1]"),
            Sentence::about("networks", "Network 2 must be a network.")
        );
        assert_eq!(said("limits[0].period").text, "Limit 1: its period must be a network.");
    }

    #[test]
    fn every_contradiction_of_a_policy_has_a_rule_in_the_words_of_the_form() {
        let mut found = Vec::new();
        let mut wrong = |change: fn(&mut Policy)| {
            let mut policy = Preset::Standard.policy();
            change(&mut policy);
            let field = policy.check().unwrap_err().field;
            assert!(RULES.iter().any(|(api, ..)| *api == field), "{field}");
            found.push(field);
        };
        wrong(|policy| policy.limit.keys_per_subject = Some(0));
        wrong(|policy| policy.expiry.default_days = Some(0));
        wrong(|policy| policy.expiry.max_days = Some(0));
        wrong(|policy| policy.expiry.choices_days = vec![0]);
        wrong(|policy| policy.rotate.overlap_max_seconds = u64::MAX);
        wrong(|policy| policy.rotate.overlap_default_seconds = policy.rotate.overlap_max_seconds + 1);
        wrong(|policy| policy.revoke.undo = keyreeve_core::policy::Undo::Seconds(0));
        assert_eq!(found.len(), 7);
    }

    #[test]
    fn headings_do_not_speak_of_root_keys() {
        for code in [Code::PermissionDenied, Code::RootKeyInvalid, Code::UnsupportedMediaType] {
            assert!(!title(code).contains("root key") && !title(code).contains("JSON"));
        }
    }
}
