//! What `keyreeve doctor` finds.

use serde::Serialize;

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// Whether nothing was found.
    pub ok: bool,
    /// What was looked at: `settings`, `files`, `data`, `server`.
    pub examined: Vec<&'static str>,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
}

/// One thing that is not as it should be.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Its name, which does not change.
    pub id: &'static str,
    /// `danger` (somebody can do harm, or something can be lost), `warning` (it may come to that) or `advice`.
    pub severity: &'static str,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// Where it is explained.
    pub docs: String,
}
