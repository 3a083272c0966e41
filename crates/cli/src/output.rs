//! Standard output is data, standard error is talk.

use clap::ValueEnum;
use serde_json::Value;
use std::io::Write as _;
use tabled::builder::Builder;
use tabled::settings::{Padding, Style};

/// How data is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// The API's own object.
    Json,
}

/// Prints a line of data. A reader that went away (`| head`) ends the program's interest in printing, not in an error.
pub(crate) fn print(line: &str) {
    let _gone = writeln!(std::io::stdout(), "{line}");
}

/// Says something to the person at the terminal.
pub(crate) fn say(line: &str) {
    let _gone = writeln!(std::io::stderr(), "{line}");
}

/// Prints one thing: all its fields, one a line, or as JSON.
pub(crate) fn one(format: Format, value: &Value) {
    match format {
        Format::Json => print(&pretty(value)),
        Format::Table => {
            let mut table = Builder::default();
            for (name, field) in value.as_object().into_iter().flatten() {
                table.push_record([name.clone(), cell(name, field)]);
            }
            print(&laid_out(table));
        }
    }
}

/// Prints a list: some columns a line, or the whole answer as JSON.
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

/// A field for people. Names may hold anything but control characters, which the server refuses.
fn cell(name: &str, value: &Value) -> String {
    let is_time = name.ends_with("_at") || name.ends_with("_until") || matches!(name, "at" | "expiration");
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if is_time => number.as_i64().map_or_else(String::new, time),
        Value::Array(items) => items.iter().map(|item| cell("", item)).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// So many seconds ago, in Unix milliseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line has no clock but the machine's"
)]
pub(crate) fn ago(seconds: u64) -> i64 {
    let span = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000);
    jiff::Timestamp::now().as_millisecond().saturating_sub(span).max(0)
}

/// Unix milliseconds as RFC 3339 in UTC, to the second.
fn time(millis: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(millis);
    time.map_or_else(
        |_| millis.to_string(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_in_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(time(1_795_305_599_999), "2026-11-21T23:59:59Z");
    }
}
