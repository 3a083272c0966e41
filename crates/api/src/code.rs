//! Error codes. The table is append-only, because clients branch on codes. Each has a page in `docs/errors`.

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $word:literal $status:literal $title:literal $(clerk $clerk:literal)?;)+) => {
        /// A stable error code.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Code { $($(#[$doc])* $variant,)+ }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the code as text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Returns its HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// Returns its short title, the same for every occurrence (RFC 9457, section 3.1.3).
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// Returns the code that Clerk's wire format uses for it (clerk-wire, section 4).
            pub const fn on_clerk_wire(self) -> &'static str {
                match self { $(Self::$variant => codes!(@clerk $word $($clerk)?),)+ }
            }

            /// Returns the code of RFC 6749, section 5.2, for it.
            pub const fn on_oauth_wire(self) -> &'static str {
                match self.status() {
                    401 => "invalid_client",
                    403 => "insufficient_scope",
                    429 | 503 => "temporarily_unavailable",
                    500 => "server_error",
                    _ => "invalid_request",
                }
            }

            /// Returns its page, in Markdown.
            pub const fn page(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!(concat!("../../../docs/errors/", $word, ".md")),)+
                }
            }

            /// Returns the code of this text.
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
    /// The root key is not valid.
    RootKeyInvalid "ROOT_KEY_INVALID" 401 "The root key is not valid" clerk "clerk_key_invalid";
    /// No API key was given.
    ApiKeyRequired "API_KEY_REQUIRED" 401 "An API key is required";
    /// The API key is not valid.
    ApiKeyInvalid "API_KEY_INVALID" 401 "The API key is not valid";
    /// The API key has expired.
    ApiKeyExpired "API_KEY_EXPIRED" 401 "The API key has expired";
    /// The API key is disabled.
    ApiKeyDisabled "API_KEY_DISABLED" 403 "The API key is disabled";
    /// The request has two keys, or one that could be read as two.
    AmbiguousCredentials "AMBIGUOUS_CREDENTIALS" 400 "More than one key was given";
    /// The gateway names a check policy that does not exist.
    CheckPolicyUnknown "CHECK_POLICY_UNKNOWN" 403 "Unknown check policy";
    /// The gateway sends no valid credential of its own.
    GatewayCredentialRequired "GATEWAY_CREDENTIAL_REQUIRED" 403 "The gateway has no valid credential";
    /// The API key may not be used from this address.
    ApiKeyContextDenied "API_KEY_CONTEXT_DENIED" 403 "The API key may not be used from this address";
    /// The API key lacks a scope.
    InsufficientScope "INSUFFICIENT_SCOPE" 403 "The API key lacks a scope";
    /// Too many requests.
    RateLimited "RATE_LIMITED" 429 "Too many requests" clerk "too_many_requests";
    /// The limit of connected verifiers is reached.
    VerifierLimitReached "VERIFIER_LIMIT_REACHED" 429 "The limit of connected verifiers is reached";
    /// The root key's verifiers delayed changes too often.
    VerifierStreamSuspended "VERIFIER_STREAM_SUSPENDED" 429 "The root key's verifiers are temporarily refused";
    /// The root key lacks a permission.
    PermissionDenied "PERMISSION_DENIED" 403 "The root key lacks a permission" clerk "authorization_invalid";
    /// The object does not exist.
    NotFound "NOT_FOUND" 404 "Not found" clerk "resource_not_found";
    /// Secrets are not stored.
    SecretNotStored "SECRET_NOT_STORED" 404 "The secret is not stored";
    /// The address does not support the method.
    MethodNotAllowed "METHOD_NOT_ALLOWED" 405 "Method not allowed" clerk "method_not_allowed";
    /// The request arrived too slowly.
    RequestTimeout "REQUEST_TIMEOUT" 408 "The request arrived too slowly" clerk "request_timeout";
    /// The subject has a key of that name.
    NameTaken "NAME_TAKEN" 409 "The name is taken" clerk "token_creation_conflict";
    /// A tenant has that slug.
    SlugTaken "SLUG_TAKEN" 409 "The slug is taken";
    /// A user of the tenant has that e-mail address.
    EmailTaken "EMAIL_TAKEN" 409 "The e-mail address is taken";
    /// The tenant would be left without an administrator.
    LastAdmin "LAST_ADMIN" 409 "The tenant needs an active admin";
    /// The instance would be left without a root key that can create others.
    LastRootKey "LAST_ROOT_KEY" 409 "The last root key cannot be revoked";
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
    /// The same request was carried out before.
    AlreadyCompleted "ALREADY_COMPLETED" 409 "The request was carried out before";
    /// The body is too large.
    PayloadTooLarge "PAYLOAD_TOO_LARGE" 413 "The body is too large" clerk "payload_too_large";
    /// The body is not JSON.
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" 415 "The body is not JSON" clerk "unsupported_media_type";
    /// The address requires another protocol.
    UpgradeRequired "UPGRADE_REQUIRED" 426 "A protocol upgrade is required";
    /// The idempotency key was used for another request.
    IdempotencyKeyReused "IDEMPOTENCY_KEY_REUSED" 422 "The idempotency key was used for another request";
    /// The page requires a signed-in user.
    SignInRequired "SIGN_IN_REQUIRED" 401 "You are not signed in";
    /// The password is wrong.
    SignInFailed "SIGN_IN_FAILED" 401 "The password is wrong";
    /// The form was not sent by a page of this server.
    FormNotOurs "FORM_NOT_OURS" 403 "The form was not sent by a page of this server";
    /// A signed message was changed, or was signed by another key.
    SignatureInvalid "SIGNATURE_INVALID" 403 "The signature is not valid";
    /// A one-time link was used, or is too old.
    LinkUsedUp "LINK_USED_UP" 410 "The link was used or has expired";
    /// An internal error.
    InternalError "INTERNAL_ERROR" 500 "Internal error" clerk "internal_clerk_error";
    /// The server cannot do it now.
    ServiceUnavailable "SERVICE_UNAVAILABLE" 503 "The service is not available";
    /// The change may have been made.
    OutcomeUnknown "OUTCOME_UNKNOWN" 503 "The outcome is unknown";
    /// The record has another version than the caller has read.
    PreconditionFailed "PRECONDITION_FAILED" 412 "The record has changed";
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
