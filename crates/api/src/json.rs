//! Parses JSON strictly, and describes errors without repeating what was sent.

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use std::fmt;
use std::marker::PhantomData;

/// Why a body was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JsonError {
    /// The field, as a path such as `items[3].name`; empty for the body itself.
    pub field: String,
    /// What is wrong, beginning in lower case. Contains nothing that the caller sent except names of fields.
    pub what: String,
}

/// A JSON object only: serde would also accept an array with the fields in order.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(OnlyMap(PhantomData))
    }
}

/// Distinguishes a null field from an omitted one (`deserialize_with`).
pub(crate) fn given<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Parses a list of objects (`deserialize_with`).
pub(crate) fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(value)| value).collect())
}

/// Parses a complete body, which is one object. Only a refused body is parsed a second time, to locate the error.
pub fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, JsonError> {
    match serde_json::from_slice(body) {
        Ok(Object(value)) => Ok(value),
        Err(error) => Err(explain::<T>(body, &error)),
    }
}

fn explain<'de, T: Deserialize<'de>>(body: &'de [u8], error: &serde_json::Error) -> JsonError {
    let whole = |what: String| JsonError {
        field: String::new(),
        what,
    };
    if body.is_empty() {
        return whole("is empty; a JSON object was expected".to_owned());
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return whole("starts with a byte order mark, which JSON does not allow".to_owned());
    }
    let is_json = serde_json::from_slice::<IgnoredAny>(body);
    if let Err(error) = is_json {
        return whole(format!("is not JSON: line {}, column {}", error.line(), error.column()));
    }
    if error.classify() != Category::Data {
        return whole(format!("is not JSON: line {}, column {}", error.line(), error.column()));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, Object<T>>(&mut reader) {
        // Data follows the value.
        Ok(_) => whole("has something after its JSON value".to_owned()),
        Err(error) => {
            let path = error.path().to_string();
            let what = without_values(&error.into_inner().to_string());
            located(if path == "." { String::new() } else { path }, what)
        }
    }
}

/// serde names a missing or unknown field only in its message; the path needs it too.
fn located(path: String, what: String) -> JsonError {
    for (start, meaning) in [
        ("missing field `", "is required"),
        ("duplicate field `", "is given twice"),
    ] {
        if let Some(field) = what.strip_prefix(start).and_then(|rest| rest.split('`').next()) {
            return JsonError {
                field: joined(&path, field),
                what: meaning.to_owned(),
            };
        }
    }
    if what.starts_with("unknown field `") {
        return match may_be_told(&path) {
            true => JsonError {
                field: path,
                what: "is not a field of this request".to_owned(),
            },
            false => JsonError {
                field: String::new(),
                what: "has a field that this request does not know".to_owned(),
            },
        };
    }
    JsonError { field: path, what }
}

/// The name of an unknown field is text of the caller: it is repeated only if it cannot be anything but a name.
fn may_be_told(path: &str) -> bool {
    let is_name = |part: &str| {
        (1..=32).contains(&part.len())
            && !part.contains("kr1")
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'[' | b']'))
    };
    path.split('.').all(is_name)
}

fn joined(path: &str, field: &str) -> String {
    match path {
        "" => field.to_owned(),
        path if path == field || path.ends_with(&format!(".{field}")) => path.to_owned(),
        path => format!("{path}.{field}"),
    }
}

/// serde repeats the value that it found (`invalid type: string "…"`): only the expectation and the place are kept.
fn without_values(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(head, _)| head);
    let is_about_value = message.starts_with("invalid type: ")
        || message.starts_with("invalid value: ")
        || message.starts_with("invalid length ")
        || message.starts_with("unknown variant ");
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if is_about_value => format!("must be {expected}"),
        None if is_about_value => "has a value that is not allowed".to_owned(),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{CreateBatch, CreateKey};

    fn refused(body: &str) -> (String, String) {
        match parse::<CreateKey>(body.as_bytes()) {
            Ok(_) => (String::new(), "taken".to_owned()),
            Err(error) => (error.field, error.what),
        }
    }

    #[test]
    fn a_refusal_names_the_field() {
        for (body, field) in [
            (r#"{"name":"x"}"#, "subject"),
            (r#"{"name":1,"subject":"s"}"#, "name"),
            (r#"{"name":"x","subject":"s","scopes":["a",2]}"#, "scopes[1]"),
            (r#"{"name":"x","subject":"s","colour":1}"#, "colour"),
            (r#"{"name":"x","subject":"s","name":"y"}"#, "name"),
            (r#"{"name":"x","subject":"s","claims":[]}"#, "claims"),
            (
                r#"{"name":"x","subject":"s","seconds_until_expiration":1.5}"#,
                "seconds_until_expiration",
            ),
        ] {
            assert_eq!(refused(body).0, field, "{body}: {}", refused(body).1);
        }
        let batch = parse::<CreateBatch>(br#"{"items":[{"name":"x","subject":"s"},{"name":"x"}]}"#);
        assert_eq!(
            batch.err().map(|error| error.field),
            Some("items[1].subject".to_owned())
        );
    }

    #[test]
    fn what_is_not_json_is_refused_as_a_whole() {
        for body in ["", "{", "\u{feff}{}", "{}x", "nul", "{\"a\":}", "\"\\ud800\""] {
            assert_eq!(refused(body).0, "", "{body}");
            assert_ne!(refused(body).1, "taken");
        }
    }

    #[test]
    fn an_array_is_no_object_however_well_its_items_fit() {
        for body in [r#"["x","s",null,null,null,null,null,null]"#, "[null,null]", "[]"] {
            assert_eq!(
                refused(body),
                (String::new(), "must be a JSON object".to_owned()),
                "{body}"
            );
        }
        let item = parse::<CreateBatch>(br#"{"items":[["x","s",null,null,null,null,null,null]]}"#);
        assert_eq!(item.err().map(|error| error.field), Some("items[0]".to_owned()));
    }

    #[test]
    fn a_refusal_never_repeats_what_was_sent() {
        let secret = "ak_kr1SECRETSECRET";
        for body in [
            format!(r#"{{"name":"x","subject":{{"{secret}":1}}}}"#),
            format!(r#"{{"name":"x","subject":"s","seconds_until_expiration":"{secret}"}}"#),
            format!(r#"{{"name":"x","subject":"s","claims":"{secret}"}}"#),
            format!(r#"{{"name":"x","subject":"s","type":"{secret}"}}"#),
            format!(r#"{{"name":"x","subject":"s","{secret}":1}}"#),
            format!(r#""{secret}""#),
        ] {
            let (field, what) = refused(&body);
            assert!(!what.contains("SECRET") && !field.contains("SECRET"), "{field} {what}");
        }
    }
}
