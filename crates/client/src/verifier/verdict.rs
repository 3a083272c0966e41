//! What a verifier says.

use keyreeve_core::coherence::Entry;
use keyreeve_core::policy::Reveal;
use keyreeve_core::verdict::{Denial, Outer};

/// A verdict. What is told of the key is told of good ones; of denied ones only which key it is.
#[derive(Clone, Debug)]
pub struct Verdict {
    outcome: Result<(), Denial>,
    entry: Option<Entry>,
    revision: u64,
}

impl Verdict {
    pub(super) fn of(outcome: Result<(), Denial>, entry: Entry, revision: u64) -> Self {
        Self {
            outcome,
            entry: Some(entry),
            revision,
        }
    }

    pub(super) fn unknown(denial: Denial) -> Self {
        Self {
            outcome: Err(denial),
            entry: None,
            revision: 0,
        }
    }

    /// Whether the key is good.
    pub fn is_valid(&self) -> bool {
        self.outcome.is_ok()
    }

    /// What may be passed on: `VALID`, or an error code such as `API_KEY_INVALID`.
    pub fn code(&self) -> &'static str {
        self.outer().map_or("VALID", Outer::as_str)
    }

    /// The HTTP status that goes with it.
    pub fn status(&self) -> u16 {
        self.outer().map_or(200, Outer::status)
    }

    /// The exact cause, for the application's own log: `valid`, `revoked`, `expired`, `unknown` …
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

    /// The key, if the secret is one of its own.
    pub fn key_id(&self) -> Option<String> {
        self.entry.as_ref().map(|entry| entry.key_id().to_string())
    }

    /// Its tenant.
    pub fn tenant(&self) -> Option<&str> {
        self.entry.as_ref().map(|entry| entry.gate().slug().as_str())
    }

    /// Its owner.
    pub fn subject(&self) -> Option<&str> {
        self.good().map(Entry::subject)
    }

    /// Its name.
    pub fn name(&self) -> Option<&str> {
        self.good().map(Entry::name)
    }

    /// What it may be used for.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.good().map_or("", Entry::scopes).split_ascii_whitespace()
    }

    /// Its claims, as JSON.
    pub fn claims(&self) -> Option<&str> {
        self.good().and_then(Entry::claims)
    }

    /// When it expires, in Unix ms.
    pub fn expires_at(&self) -> Option<i64> {
        self.good().and_then(Entry::expires_at).map(|at| at.millis())
    }

    /// Every change up to this revision was taken into account; 0 where nothing is known of the key.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}
