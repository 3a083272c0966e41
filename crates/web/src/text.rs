//! Parses texts of the wire into validated ones. An error names the field; the name is formatted only then.

use keyreeve_api::Problem;
use keyreeve_api::claims::ClaimsText;
use keyreeve_api::limits::KeyLimit;
use keyreeve_api::seconds::Whole;
use keyreeve_core::lifecycle::ReasonCode;
use keyreeve_core::limits::{self, Bound, Count, CountedLimits, Limit, Networks, Period};
use keyreeve_core::policy::ExpiryWish;
use keyreeve_core::scope::Scopes;
use keyreeve_core::text::{Claims, Description, LimitName, Name, Note, Subject, TextError};
use std::fmt::Display;

fn named<T>(field: impl Display, parsed: Result<T, TextError>) -> Result<T, Problem> {
    parsed.map_err(|error| wrong(field, error))
}

fn wrong(field: impl Display, what: impl Display) -> Problem {
    Problem::field(&field.to_string(), &what.to_string())
}

/// Parses the name of a key.
pub fn name(field: impl Display, text: &str) -> Result<Name, Problem> {
    named(field, Name::parse_new(text))
}

/// Parses the owner of a key.
pub fn subject(field: impl Display, text: &str) -> Result<Subject, Problem> {
    named(field, Subject::parse(text))
}

/// Parses the owner of a new key.
pub fn new_subject(field: impl Display, text: &str) -> Result<Subject, Problem> {
    named(field, Subject::parse_new(text))
}

/// Parses the description of a key.
pub fn description(field: impl Display, text: &str) -> Result<Description, Problem> {
    named(field, Description::parse(text))
}

/// Parses the reason of a change.
pub fn note(field: impl Display, text: &str) -> Result<Note, Problem> {
    named(field, Note::parse(text))
}

/// Parses the claims of a key.
pub fn claims(field: impl Display, text: &ClaimsText) -> Result<Claims, Problem> {
    named(field, Claims::from_checked_json(text.as_json()))
}

/// Parses the scopes of a key.
pub fn scopes(field: impl Display, scopes: &[String]) -> Result<Scopes, Problem> {
    Scopes::parse(scopes.iter().map(String::as_str)).map_err(|error| wrong(field, error))
}

/// Parses the limits of a key.
pub fn limits<'w>(
    field: impl Display,
    wishes: impl IntoIterator<Item = &'w KeyLimit>,
) -> Result<CountedLimits, Problem> {
    let wishes = wishes.into_iter().enumerate();
    let limits: Result<_, _> = wishes
        .map(|(place, wish)| limit(format_args!("{field}[{place}]"), wish))
        .collect();
    CountedLimits::new(limits?).map_err(|error| wrong(field, error))
}

fn limit(field: impl Display, wish: &KeyLimit) -> Result<Limit, Problem> {
    let wrong = |part: &str, what: &str| wrong(format_args!("{field}{part}"), what);
    let name = named(format_args!("{field}.name"), LimitName::parse(&wish.name))?;
    let bound = match (wish.seconds, &wish.period) {
        (Some(seconds), None) => {
            let small = |number: Whole| u32::try_from(number.0).unwrap_or(u32::MAX);
            Bound::Rate {
                limit: small(wish.limit),
                seconds: small(seconds),
                burst: small(wish.burst.unwrap_or(wish.limit)),
                count: if wish.hard == Some(true) {
                    Count::Hard
                } else {
                    Count::Soft
                },
            }
        }
        (None, Some(period)) => {
            if wish.burst.is_some() || wish.hard == Some(false) {
                return Err(wrong("", "is a quota, which has no burst and is always hard"));
            }
            let period = Period::parse(period);
            let known = "must be hour, day, month or total";
            Bound::Quota {
                limit: wish.limit.0,
                period: period.ok_or_else(|| wrong(".period", known))?,
            }
        }
        _ => {
            return Err(wrong(
                "",
                "must contain either seconds, for a rate, or period, for a quota",
            ));
        }
    };
    Limit::new(name, bound).map_err(|error| wrong("", &error.to_string()))
}

/// Parses the networks from which a key may be used.
pub fn networks<'t>(field: impl Display, texts: impl IntoIterator<Item = &'t str>) -> Result<Networks, Problem> {
    let texts = texts.into_iter().enumerate();
    let one = |(place, text): (usize, &str)| {
        limits::network(text).map_err(|error| wrong(format_args!("{field}[{place}]"), error))
    };
    let networks: Result<_, _> = texts.map(one).collect();
    Networks::new(networks?).map_err(|error| wrong(field, error))
}

/// Parses why a key is revoked; without a word, the reason is unspecified.
pub fn reason_code(field: &str, word: Option<&str>) -> Result<ReasonCode, Problem> {
    let Some(word) = word else {
        return Ok(ReasonCode::Unspecified);
    };
    ReasonCode::parse(word).ok_or_else(|| {
        let known: Vec<_> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
        Problem::field(field, &format!("must be one of {}", known.join(", ")))
    })
}

/// Returns the requested expiry: absent, null and a number are three different requests.
pub fn expiry(wish: Option<Option<keyreeve_api::seconds::PositiveSeconds>>) -> ExpiryWish {
    match wish {
        None => ExpiryWish::Unsaid,
        Some(None) => ExpiryWish::Never,
        Some(Some(seconds)) => ExpiryWish::InSeconds(seconds.0),
    }
}
