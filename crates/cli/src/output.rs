//! Output: data on standard output, messages on standard error.

use clap::ValueEnum;
use keyreeve_server::log::{self, OutputStream, deliver};
use serde_json::Value;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::time::Duration;
use tabled::builder::Builder;
use tabled::settings::{Padding, Style};

/// The output format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    Table,
    /// The JSON of the API.
    Json,
}

/// Prints a line of data. A closed pipe (`| head`) is ignored.
pub(crate) fn print(line: &str) {
    let _gone = writeln!(std::io::stdout(), "{line}");
}

/// How long the reader of standard error may take to make room for a line.
const SAY_PATIENCE: Duration = Duration::from_secs(2);

/// Prints a message. A server sends it through the queue of the log; other commands wait at most two seconds for the
/// reader, so that a blocked terminal does not keep the program from ending.
pub(crate) fn say(line: &str) {
    let line = format!("{line}\n");
    match log::started_standard_error() {
        Some(queue) => queue.push(line.as_bytes()),
        None => drop(deliver(OutputStream::Error, &line, SAY_PATIENCE)),
    }
}

/// Reports that a command waits for the database.
pub(crate) fn say_waiting(why: &str) -> ControlFlow<()> {
    say(&format!("waiting for the database: {why}"));
    ControlFlow::Continue(())
}

/// Prints one object: its fields, one a line, or as JSON.
pub(crate) fn one(format: Format, value: &Value) {
    match format {
        Format::Json => print(&pretty(value)),
        Format::Table => {
            let mut table = Builder::default();
            for (name, field) in fields(value) {
                let last = name.rsplit('.').next().unwrap_or_default();
                table.push_record([name.clone(), cell(last, field)]);
            }
            print(&laid_out(table));
        }
    }
}

/// Returns all fields with their names; a nested field is named with a dot: `root_key.secret`.
fn fields(value: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (name, field) in value.as_object().into_iter().flatten() {
        let inner = fields(field);
        match inner.is_empty() {
            true => found.push((name.clone(), field)),
            false => found.extend(
                inner
                    .into_iter()
                    .map(|(inside, field)| (format!("{name}.{inside}"), field)),
            ),
        }
    }
    found
}

/// Prints a list: the named columns, or the complete answer as JSON.
pub(crate) fn list(format: Format, value: &Value, columns: &[&str]) {
    match format {
        Format::Json => print(&pretty(value)),
        Format::Table => {
            let mut table = Builder::default();
            table.push_record(columns.iter().map(|column| column.to_uppercase()));
            for item in value.get("data").and_then(Value::as_array).into_iter().flatten() {
                let field = |name: &&str| cell(name, item.get(*name).unwrap_or(&Value::Null));
                table.push_record(columns.iter().map(field));
            }
            print(&laid_out(table));
        }
    }
}

fn laid_out(table: Builder) -> String {
    let mut table = table.build();
    table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
    let lines: Vec<_> = table
        .to_string()
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Formats a field for a table. Names have no control characters, because the server refuses them.
fn cell(name: &str, value: &Value) -> String {
    let is_time = name.ends_with("_at") || name.ends_with("_until") || matches!(name, "at" | "expiration");
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if is_time => number.as_i64().map_or_else(String::new, time),
        Value::Array(items) => {
            let separator = if items.iter().any(Value::is_object) { "; " } else { " " };
            let items: Vec<_> = items.iter().map(|item| cell("", item)).collect();
            items.join(separator)
        }
        Value::Object(_) => {
            let named = fields(value).into_iter();
            let named = named.filter(|(_, field)| !field.is_null());
            let named: Vec<_> = named
                .map(|(name, field)| format!("{name}={}", cell(&name, field)))
                .collect();
            named.join(" ")
        }
        other => other.to_string(),
    }
}

/// Returns the time this many seconds ago, in Unix milliseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line has no clock but the machine's"
)]
pub(crate) fn ago(seconds: u64) -> i64 {
    let span = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000);
    jiff::Timestamp::now().as_millisecond().saturating_sub(span).max(0)
}

/// Formats Unix milliseconds as RFC 3339 in UTC, to the second.
pub(crate) fn time(millis: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(millis);
    time.map_or_else(
        |_| millis.to_string(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_inside_a_thing_is_printed_for_people_too() {
        let tenant = json!({"slug": "acme", "created_at": 0, "root_key": {"id": "rk_1", "created_at": 0}, "none": {}});
        let lines: Vec<_> = fields(&tenant)
            .into_iter()
            .map(|(name, value)| format!("{name} {}", cell("", value)))
            .collect();
        assert_eq!(
            lines,
            [
                "created_at 0",
                "none ",
                "root_key.created_at 0",
                "root_key.id rk_1",
                "slug acme"
            ]
        );
        let limits = json!([{"name": "a", "limit": 5, "period": null}, {"name": "b", "limit": 6, "seconds": 60}]);
        assert_eq!(cell("limits", &limits), "limit=5 name=a; limit=6 name=b seconds=60");
        assert_eq!(cell("scopes", &json!(["read", "write"])), "read write");
        assert_eq!(cell("claims", &json!({})), "");
    }

    #[test]
    fn times_are_printed_in_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(time(1_795_305_599_999), "2026-11-21T23:59:59Z");
    }
}
