//! From texts on the wire to texts that are checked, naming the field that does not fit.

use keyreeve_api::Problem;
use keyreeve_api::claims::ClaimsText;
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::policy::ExpiryWish;
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Claims, Description, Name, Note, Subject, TextError};

fn named<T>(field: &str, parsed: Result<T, TextError>) -> Result<T, Problem> {
    parsed.map_err(|error| Problem::field(field, &error.to_string()))
}

pub(crate) fn name(field: &str, text: &str) -> Result<Name, Problem> {
    named(field, Name::parse(text))
}

pub(crate) fn subject(field: &str, text: &str) -> Result<Subject, Problem> {
    named(field, Subject::parse(text))
}

pub(crate) fn description(field: &str, text: &str) -> Result<Description, Problem> {
    named(field, Description::parse(text))
}

pub(crate) fn note(field: &str, text: &str) -> Result<Note, Problem> {
    named(field, Note::parse(text))
}

pub(crate) fn claims(field: &str, text: &ClaimsText) -> Result<Claims, Problem> {
    named(field, Claims::from_checked_json(text.as_json()))
}

pub(crate) fn scopes(field: &str, scopes: &[String]) -> Result<Scopes, Problem> {
    Scopes::parse(scopes.iter().map(String::as_str)).map_err(|error| Problem::field(field, &error.to_string()))
}

pub(crate) fn reason_code(field: &str, word: Option<&str>) -> Result<ReasonCode, Problem> {
    let Some(word) = word else {
        return Ok(ReasonCode::Unspecified);
    };
    ReasonCode::parse(word).ok_or_else(|| {
        let known: Vec<_> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
        Problem::field(field, &format!("must be one of {}", known.join(", ")))
    })
}

/// Absent, null and a number are three different wishes.
pub(crate) fn expiry(wish: Option<Option<keyreeve_api::seconds::PositiveSeconds>>) -> ExpiryWish {
    match wish {
        None => ExpiryWish::Unsaid,
        Some(None) => ExpiryWish::Never,
        Some(Some(seconds)) => ExpiryWish::InSeconds(seconds.0),
    }
}
