//! Reports of leaked secrets. Request types here have no `Debug`, because they contain secrets.

use crate::json::{self, Object};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most secrets in one report.
pub const LEAKS_MAX: usize = 100;
/// Most characters of the URL where a secret was found.
pub const URL_CHARS_MAX: usize = 2_000;

/// Leaked secrets: one, or several as `items`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_debug_implementations, reason = "it holds plaintext secrets")]
pub struct ReportLeaks {
    /// The secret.
    #[schema(nullable)]
    pub secret: Option<String>,
    /// The secret, under its name in verification.
    #[schema(nullable)]
    pub key: Option<String>,
    /// What found it, for example `gitleaks` or `ci`.
    #[schema(nullable, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub source: Option<String>,
    /// Where it was found: an http or https URL. Parts that could be a credential are not stored.
    #[schema(nullable, max_length = 2000)]
    pub url: Option<String>,
    /// Further remarks.
    #[schema(nullable, max_length = 1000)]
    pub note: Option<String>,
    /// Several secrets, instead of all the other fields.
    #[serde(default, deserialize_with = "several")]
    #[schema(value_type = Option<Vec<LeakItem>>, nullable, min_items = 1, max_items = 100)]
    pub items: Option<Vec<LeakItem>>,
}

/// A leaked secret.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_debug_implementations, reason = "it holds a plaintext secret")]
pub struct LeakItem {
    /// The secret.
    #[schema(nullable)]
    pub secret: Option<String>,
    /// The secret, under its name in verification.
    #[schema(nullable)]
    pub key: Option<String>,
    /// What found it.
    #[schema(nullable, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub source: Option<String>,
    /// Where it was found.
    #[schema(nullable, max_length = 2000)]
    pub url: Option<String>,
    /// Further remarks.
    #[schema(nullable, max_length = 1000)]
    pub note: Option<String>,
}

fn several<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<LeakItem>>, D::Error> {
    let items = Option::<Vec<Object<LeakItem>>>::deserialize(deserializer)?;
    Ok(items.map(|items| items.into_iter().map(|Object(item)| item).collect()))
}

/// The answer to every report, whatever it contains.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeaksAccepted {
    /// Always true.
    pub accepted: bool,
}

/// A match of GitHub's secret scanning. Fields that GitHub may add are ignored.
#[derive(Deserialize, ToSchema)]
#[expect(missing_debug_implementations, reason = "it holds a plaintext secret")]
pub struct GitHubMatch {
    /// The text that matched.
    pub token: String,
    /// GitHub's name of this kind of secret.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it can be seen; may be empty.
    #[serde(default)]
    #[schema(nullable)]
    pub url: Option<String>,
    /// Where it was found: `commit`, `content`, `issue_comment`, …
    #[serde(default)]
    #[schema(nullable)]
    pub source: Option<String>,
}

/// Parses the matches of a body, which is a list of objects.
pub fn github_matches(body: &[u8]) -> Result<Vec<GitHubMatch>, json::JsonError> {
    let matches: Vec<Object<GitHubMatch>> = serde_json::from_slice(body).map_err(|error| json::JsonError {
        field: String::new(),
        what: format!(
            "is no list of matches: line {}, column {}",
            error.line(),
            error.column()
        ),
    })?;
    Ok(matches.into_iter().map(|Object(found)| found).collect())
}

/// The answer to GitHub about a match.
#[derive(Debug, Serialize, ToSchema)]
pub struct GitHubLabel {
    /// SHA-256 of the text, in hexadecimal digits: the text itself is not repeated.
    pub token_hash: String,
    /// GitHub's name of this kind of secret.
    pub token_type: String,
    /// `true_positive` if a key has or had this secret, else `false_positive`.
    #[schema(pattern = "^(true_positive|false_positive)$")]
    pub label: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_secret_or_several() {
        let read = |text: &str| json::parse::<ReportLeaks>(text.as_bytes());
        assert!(read(r#"{"secret":"x","source":"ci","url":"https://x","note":"y"}"#).is_ok());
        let several = read(r#"{"items":[{"key":"x"},{"secret":"y"}]}"#).ok();
        assert_eq!(
            several.and_then(|report| report.items).map(|items| items.len()),
            Some(2)
        );
        for (text, field) in [
            (r#"{"secret":1}"#, "secret"),
            (r#"{"items":[{"secret":"x","colour":1}]}"#, "items[0].colour"),
            (r#"{"items":[["x"]]}"#, "items[0]"),
            (r#"{"items":{}}"#, "items"),
        ] {
            assert_eq!(read(text).err().map(|error| error.field).as_deref(), Some(field));
        }
    }

    #[test]
    fn githubs_matches_may_grow_and_are_objects() {
        let one = r#"[{"token":"x","type":"t","url":"","source":"commit","later":[1]},{"token":"y","type":"t"}]"#;
        let matches = github_matches(one.as_bytes()).ok();
        assert_eq!(matches.map(|matches| matches.len()), Some(2));
        for wrong in [
            "",
            "{}",
            r#"[["x","t",null,null]]"#,
            r#"[{"token":1,"type":"t"}]"#,
            r#"[{"token":"x"}]"#,
            "[1]",
        ] {
            assert!(github_matches(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
