//! Error codes. The table is append-only: clients branch on them. Each has a page in `docs/errors`.

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $word:literal $status:literal $title:literal $(clerk $clerk:literal)?;)+) => {
        /// A stable error code.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Code { $($(#[$doc])* $variant,)+ }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The code itself.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The HTTP status it comes with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// A short title; the same for every occurrence (RFC 9457, section 3.1.3).
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// What the code is called on the routes that speak Clerk's wire (clerk-wire, section 4).
            pub const fn on_clerk_wire(self) -> &'static str {
                match self { $(Self::$variant => codes!(@clerk $word $($clerk)?),)+ }
            }

            /// What the code is called where RFC 6749, section 5.2, says how errors look.
            pub const fn on_oauth_wire(self) -> &'static str {
                match self.status() {
                    401 => "invalid_client",
                    403 => "insufficient_scope",
                    429 | 503 => "temporarily_unavailable",
                    500 => "server_error",
                    _ => "invalid_request",
                }
            }

            /// Its page, in Markdown.
            pub const fn page(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!(concat!("../../../docs/errors/", $word, ".md")),)+
                }
            }

            /// The code with this name.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
    (@clerk $word:literal) => { $word };
    (@clerk $word:literal $clerk:literal) => { $clerk };
}

codes! {
    /// The request cannot be understood.
    BadRequest "BAD_REQUEST" 400 "The request cannot be understood" clerk "bad_request";
    /// No root key was given.
    RootKeyRequired "ROOT_KEY_REQUIRED" 401 "A root key is required" clerk "authorization_header_format_invalid";
    /// The root key is no good.
    RootKeyInvalid "ROOT_KEY_INVALID" 401 "The root key is not valid" clerk "clerk_key_invalid";
    /// No API key was given.
    ApiKeyRequired "API_KEY_REQUIRED" 401 "An API key is required";
    /// The API key is no good.
    ApiKeyInvalid "API_KEY_INVALID" 401 "The API key is not valid";
    /// The API key is over.
    ApiKeyExpired "API_KEY_EXPIRED" 401 "The API key has expired";
    /// The API key is on hold.
    ApiKeyDisabled "API_KEY_DISABLED" 403 "The API key is disabled";
    /// The request has two keys, or one that could be read as two.
    AmbiguousCredentials "AMBIGUOUS_CREDENTIALS" 400 "More than one key was given";
    /// The gateway asks under a check policy that does not exist.
    CheckPolicyUnknown "CHECK_POLICY_UNKNOWN" 403 "There is no such check policy";
    /// The gateway does not show that it may ask.
    GatewayCredentialRequired "GATEWAY_CREDENTIAL_REQUIRED" 403 "The gateway needs a credential";
    /// The API key may not be used from there.
    ApiKeyContextDenied "API_KEY_CONTEXT_DENIED" 403 "The API key may not be used from here";
    /// The API key lacks a scope.
    InsufficientScope "INSUFFICIENT_SCOPE" 403 "The API key lacks a scope";
    /// Too many requests.
    RateLimited "RATE_LIMITED" 429 "Too many requests" clerk "too_many_requests";
    /// As many verifiers are connected as may be.
    VerifierLimitReached "VERIFIER_LIMIT_REACHED" 429 "As many verifiers are connected as may be";
    /// The root key's verifiers made changes wait too often.
    VerifierStreamSuspended "VERIFIER_STREAM_SUSPENDED" 429 "The root key may not connect verifiers for a while";
    /// The root key lacks a permission.
    PermissionDenied "PERMISSION_DENIED" 403 "The root key lacks a permission" clerk "authorization_invalid";
    /// There is no such thing.
    NotFound "NOT_FOUND" 404 "Not found" clerk "resource_not_found";
    /// Secrets are not kept.
    SecretNotStored "SECRET_NOT_STORED" 404 "The secret is not stored";
    /// The method does not go with the address.
    MethodNotAllowed "METHOD_NOT_ALLOWED" 405 "Method not allowed" clerk "method_not_allowed";
    /// The request came too slowly.
    RequestTimeout "REQUEST_TIMEOUT" 408 "The request came too slowly" clerk "request_timeout";
    /// The subject has a key of that name.
    NameTaken "NAME_TAKEN" 409 "The name is taken" clerk "token_creation_conflict";
    /// A tenant has that slug.
    SlugTaken "SLUG_TAKEN" 409 "The slug is taken";
    /// A user of the tenant has that address.
    EmailTaken "EMAIL_TAKEN" 409 "The address is taken";
    /// Nobody would be left to manage the tenant.
    LastAdmin "LAST_ADMIN" 409 "The last admin stays";
    /// Nobody would be left to manage the instance.
    LastRootKey "LAST_ROOT_KEY" 409 "The last root key stays";
    /// The subject has all the keys it may have.
    KeyLimitReached "KEY_LIMIT_REACHED" 409 "The key limit is reached";
    /// The tenant has all the check policies it may have.
    CheckPolicyLimitReached "CHECK_POLICY_LIMIT_REACHED" 409 "The limit of check policies is reached";
    /// The tenant's policy forbids it.
    PolicyForbids "POLICY_FORBIDS" 409 "The policy forbids it";
    /// The key's owner is suspended or removed.
    OwnerBlocked "OWNER_BLOCKED" 409 "The owner is suspended or removed";
    /// The key's state does not allow it.
    InvalidTransition "INVALID_TRANSITION" 409 "The key's state does not allow it";
    /// The request was carried out before.
    AlreadyCompleted "ALREADY_COMPLETED" 409 "The request was carried out before";
    /// The body is too large.
    PayloadTooLarge "PAYLOAD_TOO_LARGE" 413 "The body is too large" clerk "payload_too_large";
    /// The body is not JSON.
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" 415 "The body is not JSON" clerk "unsupported_media_type";
    /// The address speaks another protocol.
    UpgradeRequired "UPGRADE_REQUIRED" 426 "Another protocol is needed";
    /// The idempotency key was used for another request.
    IdempotencyKeyReused "IDEMPOTENCY_KEY_REUSED" 422 "The idempotency key was used for another request";
    /// A page needs somebody who has signed in.
    SignInRequired "SIGN_IN_REQUIRED" 401 "You are not signed in";
    /// The password is not right.
    SignInFailed "SIGN_IN_FAILED" 401 "The password is not right";
    /// A form does not come from a page of ours.
    FormNotOurs "FORM_NOT_OURS" 403 "The form could not be trusted";
    /// A signed message is not as it was signed, or not by whom it should be.
    SignatureInvalid "SIGNATURE_INVALID" 403 "The signature is not right";
    /// A link that works once has been used, or is too old.
    LinkUsedUp "LINK_USED_UP" 410 "The link does not work any more";
    /// Our own fault.
    InternalError "INTERNAL_ERROR" 500 "Internal error" clerk "internal_clerk_error";
    /// Not now.
    ServiceUnavailable "SERVICE_UNAVAILABLE" 503 "Not available";
    /// It may have been done.
    OutcomeUnknown "OUTCOME_UNKNOWN" 503 "It is not known whether it was done";
    /// The record is another version than the caller has seen.
    PreconditionFailed "PRECONDITION_FAILED" 412 "The record has changed since";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_that_is_about_it() {
        for &code in Code::ALL {
            let page = code.page();
            assert!(page.starts_with(&format!("# {}\n", code.as_str())), "{}", code.as_str());
            assert!(
                page.contains(&code.status().to_string()),
                "{} names its status",
                code.as_str()
            );
            for part in ["## What happened", "## What to do"] {
                assert!(page.contains(part), "{} has {part}", code.as_str());
            }
        }
    }

    #[test]
    fn every_page_is_of_a_code() {
        let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
        for page in std::fs::read_dir(pages).unwrap() {
            let name = page.unwrap().file_name().into_string().unwrap();
            let word = name.strip_suffix(".md").unwrap();
            assert!(
                word == "README" || Code::parse(word).is_some(),
                "{name} is about no code"
            );
        }
    }

    #[test]
    fn codes_are_known_by_their_words() {
        for &code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(code));
        }
        assert_eq!(Code::RootKeyInvalid.on_clerk_wire(), "clerk_key_invalid");
        assert_eq!(Code::KeyLimitReached.on_clerk_wire(), "KEY_LIMIT_REACHED");
    }
}
