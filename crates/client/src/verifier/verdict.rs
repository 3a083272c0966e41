//! The verdict of a verifier.

use keyreeve_api::verifiers::ChargedUse;
use keyreeve_core::coherence::{Cached as _, Entry};
use keyreeve_core::policy::Reveal;
use keyreeve_core::verdict::{Denial, Outer};
use keyreeve_core::{Digest, limits};
use std::sync::Arc;

/// A verdict. A good one has the key's fields, a denial of a known key only its id and tenant.
#[derive(Clone, Debug)]
pub struct Verdict {
    outcome: Result<(), Denial>,
    entry: Option<Entry>,
    revision: u64,
    charged: Option<Arc<ChargedUse>>,
}

impl Verdict {
    pub(super) fn of(outcome: Result<(), Denial>, entry: Entry, revision: u64) -> Self {
        Self {
            outcome,
            entry: Some(entry),
            revision,
            charged: None,
        }
    }

    /// Whether it is good so far and has limits to charge.
    pub(super) fn is_counted(&self) -> bool {
        self.good().is_some_and(|entry| limits::counts(entry.limits()))
    }

    /// Returns the secret whose use is to be charged, if any.
    pub(super) fn counted(&self) -> Option<Digest> {
        let entry = self.good().filter(|_| self.is_counted())?;
        Some(*entry.digest())
    }

    /// Returns the verdict after the node has charged the use, or has not answered.
    pub(super) fn charged(self, charged: Option<ChargedUse>) -> Self {
        let outcome = match &charged {
            Some(charged) if charged.is_allowed => Ok(()),
            Some(_) => Err(Denial::Limited),
            None => Err(Denial::Unavailable),
        };
        Self {
            outcome,
            charged: charged.map(Arc::new),
            ..self
        }
    }

    /// Returns what is recorded: the key, if known, and the outcome.
    pub(super) fn noted(&self) -> (Option<&Entry>, Result<(), Denial>) {
        (self.entry.as_ref(), self.outcome)
    }

    pub(super) fn unknown(denial: Denial) -> Self {
        Self {
            outcome: Err(denial),
            entry: None,
            revision: 0,
            charged: None,
        }
    }

    /// Whether the key is good.
    pub fn is_valid(&self) -> bool {
        self.outcome.is_ok()
    }

    /// Returns the code that may be passed on: `VALID`, or an error code such as `API_KEY_INVALID`.
    pub fn code(&self) -> &'static str {
        self.outer().map_or("VALID", Outer::as_str)
    }

    /// Returns the HTTP status of the code.
    pub fn status(&self) -> u16 {
        self.outer().map_or(200, Outer::status)
    }

    /// Returns the exact cause, for the application's own log: `valid`, `revoked`, `expired`, `unknown` …
    pub fn reason(&self) -> &'static str {
        self.outcome.err().map_or("valid", Denial::as_str)
    }

    fn outer(&self) -> Option<Outer> {
        let reveal = self.entry.as_ref().map_or(Reveal::None, |entry| entry.gate().reveal());
        self.outcome.err().map(|denial| denial.outer(reveal))
    }

    fn good(&self) -> Option<&Entry> {
        self.entry.as_ref().filter(|_| self.is_valid())
    }

    /// Returns the key's id, if the secret belongs to one.
    pub fn key_id(&self) -> Option<String> {
        self.entry.as_ref().map(|entry| entry.key_id().to_string())
    }

    /// Returns the key's tenant.
    pub fn tenant(&self) -> Option<&str> {
        self.entry.as_ref().map(|entry| entry.gate().slug().as_str())
    }

    /// Returns the key's owner.
    pub fn subject(&self) -> Option<&str> {
        self.good().map(Entry::subject)
    }

    /// Returns the key's name.
    pub fn name(&self) -> Option<&str> {
        self.good().map(Entry::name)
    }

    /// Returns the key's scopes.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.good().map_or("", Entry::scopes).split_ascii_whitespace()
    }

    /// Returns the key's claims, as JSON.
    pub fn claims(&self) -> Option<&str> {
        self.good().and_then(Entry::claims)
    }

    /// Returns when the key expires, in Unix ms.
    pub fn expires_at(&self) -> Option<i64> {
        self.good().and_then(Entry::expires_at).map(|at| at.millis())
    }

    /// Returns the state of the key's limits, if they are counted: header fields for the answer to the end user
    /// (draft-ietf-httpapi-ratelimit-headers; RFC 9110, section 10.2.3).
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let charged = self.charged.iter();
        charged.flat_map(|charged| {
            let wait = charged
                .retry_seconds
                .map(|seconds| ("retry-after", seconds.to_string()));
            let always = [
                ("ratelimit", charged.rate_limit.clone()),
                ("ratelimit-policy", charged.rate_limit_policy.clone()),
            ];
            always.into_iter().chain(wait)
        })
    }

    /// Returns the revision up to which every change was taken into account; 0 if nothing is known of the key.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}
