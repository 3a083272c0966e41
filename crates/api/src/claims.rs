//! Claims: a JSON object, stored as the text in which it arrived.

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// Most bytes of claims.
pub const CLAIMS_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of claims.
pub const CLAIMS_DEPTH_MAX: usize = 32;

/// A JSON object of at most 16 KiB without repeated keys. Its text round-trips exactly.
#[derive(Clone, Debug)]
pub struct ClaimsText(Box<RawValue>);

impl ClaimsText {
    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

impl<'de> Deserialize<'de> for ClaimsText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if raw.get().len() > CLAIMS_BYTES_MAX {
            return Err(D::Error::custom("must have at most 16384 bytes"));
        }
        if !raw.get().trim_start().starts_with('{') {
            return Err(D::Error::custom("must be an object or null"));
        }
        let mut reader = serde_json::Deserializer::from_str(raw.get());
        Checked { depth: 0 }
            .deserialize(&mut reader)
            .map_err(|_| D::Error::custom("must have no repeated keys and at most 32 levels"))?;
        Ok(Self(raw))
    }
}

/// Visits a JSON value and refuses repeated keys and deep nesting. Builds no value.
struct Checked {
    depth: usize,
}

impl Checked {
    fn deeper<E: Error>(&self) -> Result<Self, E> {
        if self.depth >= CLAIMS_DEPTH_MAX {
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.deeper()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if !seen.insert(key) {
                return Err(A::Error::custom("a repeated key"));
            }
            entries.next_value_seed(self.deeper()?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        serde_json::from_str::<ClaimsText>(text)
            .map(|claims| claims.as_json().to_owned())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn an_object_keeps_its_exact_text() {
        for text in [
            r"{}",
            r#"{ "n": 12345678901234567890123, "f": 1.10, "s": "\u00e9", "l": [null, true] }"#,
        ] {
            assert_eq!(parse(text).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_sound_object_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(40), "]".repeat(40));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(CLAIMS_BYTES_MAX));
        for text in [
            "[]",
            "1",
            "\"x\"",
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            &deep,
            &large,
        ] {
            assert!(parse(text).is_err(), "{}", text.get(..20).unwrap_or(text));
        }
    }
}
