//! The findings of `keyreeve doctor`.

use serde::Serialize;

/// The result of an examination.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// Whether nothing was found.
    pub ok: bool,
    /// The areas that were examined: `settings`, `files`, `data`, `server`.
    pub examined: Vec<&'static str>,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
}

/// One problem.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Its name, which never changes.
    pub id: &'static str,
    /// `danger` (an attacker can do harm, or data can be lost), `warning` (it may lead to that) or `advice`.
    pub severity: &'static str,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// The section of the documentation.
    pub docs: String,
}
