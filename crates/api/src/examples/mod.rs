//! Examples of the wire types, for the published document.
//!
//! An answer is a value of its type, serialized. A request is JSON text that the type itself reads, as the server reads
//! it: types of requests cannot be serialized, because some of them hold secrets. So an example with a field that its
//! type does not have is refused by the compiler or by the test below.
//!
//! Every secret in here has a random part of zeros and opens nothing.

mod access;
mod keys;
mod records;
mod tenants;
mod verification;

use crate::json;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Examples by what they are of.
#[derive(Debug, Default)]
pub struct Examples {
    by_schema: BTreeMap<String, Value>,
    by_answer: BTreeMap<&'static str, BTreeMap<&'static str, Value>>,
    refused: Vec<String>,
}

impl Examples {
    /// Returns every example.
    pub fn all() -> Self {
        let mut examples = Self::default();
        keys::list(&mut examples);
        verification::list(&mut examples);
        tenants::list(&mut examples);
        access::list(&mut examples);
        records::list(&mut examples);
        examples
    }

    /// Returns the example of the schema of this name.
    pub fn of_schema(&self, name: &str) -> Option<&Value> {
        self.by_schema.get(name)
    }

    /// Returns the example of an answer that differs from the example of its schema.
    ///
    /// `status` has three digits.
    pub fn of_answer(&self, operation: &str, status: &str) -> Option<&Value> {
        self.by_answer.get(operation)?.get(status)
    }

    /// Adds the example of a request as the text of its body.
    fn request<T: ToSchema + Deserialize<'static>>(&mut self, text: &'static str) {
        match (json::parse::<T>(text.as_bytes()), serde_json::from_str(text)) {
            (Ok(_), Ok(value)) => drop(self.by_schema.insert(T::name().into_owned(), value)),
            (Err(error), _) => self.refuse::<T>(&format!("`{}` {}", error.field, error.what)),
            (Ok(_), Err(error)) => self.refuse::<T>(&error.to_string()),
        }
    }

    /// Adds the example of a schema.
    fn schema<T: ToSchema + Serialize>(&mut self, value: &T) {
        match serde_json::to_value(value) {
            Ok(value) => drop(self.by_schema.insert(T::name().into_owned(), value)),
            Err(error) => self.refuse::<T>(&error.to_string()),
        }
    }

    /// Adds the example of one answer.
    fn answer<T: ToSchema + Serialize>(&mut self, operation: &'static str, status: &'static str, value: &T) {
        match serde_json::to_value(value) {
            Ok(value) => drop(self.by_answer.entry(operation).or_default().insert(status, value)),
            Err(error) => self.refuse::<T>(&error.to_string()),
        }
    }

    fn refuse<T: ToSchema>(&mut self, why: &str) {
        self.refused.push(format!("{}: {why}", T::name()));
    }
}

/// The secret of an API key whose random part is zero.
const SECRET: &str = "ak_kr100000000000000000000000000000000000000000001wav2j";
/// The last characters of [`SECRET`].
const LAST_FOUR: &str = "av2j";
/// The secret of a root key whose random part is zero.
const ROOT_SECRET: &str = "kr_root_kr100000000000000000000000000000000000000000004CfGFU";
const KEY_ID: &str = "ak_019b8d627a80700080000000000000a1";
const ROOT_KEY_ID: &str = "rk_019b8d627a80700080000000000000b2";
const USER_ID: &str = "user_019b8d627a80700080000000000000c3";
const TENANT: &str = "acme";
const ADDRESS: &str = "192.0.2.1";
const EMAIL: &str = "ada@example.com";
const SUBJECT: &str = "user_2f4KmXyZ";
const KEY_NAME: &str = "CI of the billing service";
const SCOPE: &str = "invoices:read";
const REQUEST_ID: &str = "req_00000000000000a1_1";
/// When the records of the examples were created: 2026-01-05 09:00 UTC.
const CREATED_AT: i64 = 1_767_603_600_000;
/// When they were last changed: 2026-01-06 12:00 UTC.
const CHANGED_AT: i64 = 1_767_700_800_000;
/// When the key of the examples expires: 2027-01-05 09:00 UTC.
const EXPIRES_AT: i64 = 1_799_139_600_000;
const REVISION: u64 = 1_042;
const HASH: &str = "7c0d1f5e3b9a46d28e6f4b0c9d8a71e2f3056b4c1d2e8f907a6b5c4d3e2f1a0b";

/// Returns the propagation of a change that is effective everywhere.
const fn effect() -> crate::keys::Effect {
    crate::keys::Effect {
        revision: REVISION,
        verifiers: 3,
        waited_ms: 4,
        scope: "everywhere",
        durability: "replicated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_read_or_written_by_its_type() {
        assert_eq!(Examples::all().refused, Vec::<String>::new());
    }

    #[test]
    fn an_example_that_its_type_does_not_read_is_refused() {
        let mut examples = Examples::default();
        examples.request::<crate::keys::HoldKey>(r#"{"colour": "blue"}"#);
        assert_eq!(
            examples.refused,
            ["HoldKey: `colour` is not a field of this request".to_owned()]
        );
        assert_eq!(examples.of_schema("HoldKey"), None);
    }
}
