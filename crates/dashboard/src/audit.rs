//! The audit log page: filters, entries, verification of the chain, and export.

use super::events::{EventEntry, entry};
use super::fields::FormFields;
use super::flash::Flash;
use super::form::SignedInForm;
use super::moment::{grouped, plural};
use super::page;
use super::page_error::PageError;
use super::people::People;
use super::shell::{MenuEntry, Shell};
use super::visitor::Visitor;
use crate::Dashboard;
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use hyper::http::request::Parts;
use keyreeve_authority::AuditFilter;
use keyreeve_authority::model::AuditRecord;
use keyreeve_core::Timestamp;
use keyreeve_core::access::Permission;

/// Entries on one page.
const PAGE: u32 = 50;
/// Entries in one exported file. For more, a client pages through the API.
const EXPORTED_MAX: u32 = 10_000;
const EXPORT_PAGE: u32 = 1_000;

/// Kinds of actions that the form can filter by.
const KINDS: [(&str, &str); 11] = [
    ("key.", "Everything about keys"),
    ("key.created", "Created"),
    ("key.rotated", "Rotated"),
    ("key.disabled", "Disabled"),
    ("key.reactivated", "Re-activated"),
    ("key.revoked", "Revoked"),
    ("key.erased", "Deleted"),
    ("user.", "Users"),
    ("policy.updated", "Policy"),
    ("check_policy.", "Check policies"),
    ("access.refused", "Refusals"),
];

/// Data of the audit log page.
#[derive(Template)]
#[template(path = "audit.html")]
pub(super) struct AuditPage {
    pub(super) shell: Shell,
    pub(super) entries: Vec<EventEntry>,
    pub(super) kinds: &'static [(&'static str, &'static str)],
    pub(super) action: String,
    pub(super) actor: String,
    pub(super) key: String,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) older: Option<String>,
    /// On a page of older entries: the address of the newest.
    pub(super) newest: Option<String>,
    pub(super) csv: String,
    pub(super) jsonl: String,
    pub(super) is_filtered: bool,
    pub(super) actors: Vec<String>,
}

/// Lists entries, newest first.
pub(super) async fn show(State(app): State<Dashboard>, visitor: Visitor, parts: Parts) -> Result<Response, PageError> {
    crate::access::require_tenant(&visitor)?;
    let fields = FormFields::of_query(&parts);
    let people = People::known_to(&visitor, &app).await?;
    let mut filter = filter(&fields, &people);
    filter.before = fields.get("before").and_then(|text| text.parse().ok());
    // Reads one entry more than is shown, to find out whether older ones exist.
    filter.limit = PAGE + 1;
    let is_older_page = filter.before.is_some();
    let mut records = app.authority().audit().events(&visitor.call, filter).await?;
    let shown = usize::try_from(PAGE).unwrap_or(usize::MAX);
    let has_more = records.len() > shown;
    records.truncate(shown);
    let last = records.last().filter(|_| has_more);
    let names = ["action", "actor", "key", "since", "until"];
    let page = AuditPage {
        older: last.map(|last| fields.with("before", &last.revision.to_string()).address("/audit")),
        newest: is_older_page.then(|| fields.with("before", "").address("/audit")),
        csv: fields.with("format", "csv").address("/audit/export"),
        jsonl: fields.with("format", "jsonl").address("/audit/export"),
        is_filtered: names.iter().any(|name| fields.get(name).is_some()),
        entries: records
            .iter()
            .map(|record| entry(record, &people, visitor.now))
            .collect(),
        kinds: &KINDS,
        action: fields.raw("action").to_owned(),
        actor: fields.raw("actor").to_owned(),
        key: fields.raw("key").to_owned(),
        since: fields.raw("since").to_owned(),
        until: fields.raw("until").to_owned(),
        actors: people.addresses(),
        shell: Shell::new(&visitor, MenuEntry::Audit, "Audit log"),
    };
    page::ok(&page)
}

fn filter(fields: &FormFields, people: &People) -> AuditFilter {
    let day = |name: &str, days: i64| {
        let date: Option<jiff::civil::Date> = fields.get(name).and_then(|text| text.parse().ok());
        let start = date?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_millisecond();
        Some(Timestamp::from_millis(start.saturating_add(days * 86_400_000)))
    };
    AuditFilter {
        target_id: fields.get("key").map(str::to_owned),
        actor_id: fields.get("actor").map(|text| people.id_of(text)),
        action: fields.get("action").map(str::to_owned),
        since: day("since", 0),
        until: day("until", 1),
        ..AuditFilter::default()
    }
}

/// Verifies the entire chain and shows the result.
pub(super) async fn verify(State(app): State<Dashboard>, form: SignedInForm) -> Result<Response, PageError> {
    crate::access::require_tenant(&form.visitor)?;
    form.visitor.call.require(Permission::AuditRead)?;
    let _turn = app.host().walks().turn(&form.visitor.call).await?;
    let signed = app.host().signed_log_end();
    let found = app
        .authority()
        .audit()
        .verify(&form.visitor.call, signed, signed)
        .await?;
    if found.broken.is_none() && found.since == 0 {
        app.host().note_audit_verified();
    }
    let flash = match found.broken {
        None => Flash::done(format!(
            "The chain holds: verified to entry {}, just now{}. Nothing was changed, removed or reordered.",
            grouped(found.sound.revision),
            match found.since {
                0 => String::new(),
                since => format!(", from the signed end at entry {} on", grouped(since)),
            }
        )),
        Some(broken) => Flash::refused(format!(
            "The chain is broken. It is sound up to entry {}; then: {broken}. Keep the database as it is and compare \
             it with a backup.",
            grouped(found.sound.revision)
        )),
    };
    form.visitor.tell(flash).await?;
    Ok(page::on_to("/audit"))
}

/// Exports the filtered entries as a file, oldest last.
pub(super) async fn export(
    State(app): State<Dashboard>,
    visitor: Visitor,
    parts: Parts,
) -> Result<Response, PageError> {
    crate::access::require_tenant(&visitor)?;
    let fields = FormFields::of_query(&parts);
    let people = People::known_to(&visitor, &app).await?;
    let mut filter = filter(&fields, &people);
    filter.limit = EXPORT_PAGE;
    let mut records: Vec<AuditRecord> = Vec::new();
    while u32::try_from(records.len()).is_ok_and(|count| count < EXPORTED_MAX) {
        let page = app.authority().audit().events(&visitor.call, filter.clone()).await?;
        filter.before = page.last().map(|record| record.revision);
        let is_last = u32::try_from(page.len()).is_ok_and(|count| count < EXPORT_PAGE);
        records.extend(page);
        if is_last {
            break;
        }
    }
    let is_csv = fields.raw("format") == "csv";
    let text = if is_csv { csv(&records) } else { jsonl(&records) };
    let (kind, name) = match is_csv {
        true => ("text/csv; charset=utf-8", "attachment; filename=\"audit.csv\""),
        false => ("application/jsonl", "attachment; filename=\"audit.jsonl\""),
    };
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_DISPOSITION, name),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, text).into_response())
}

fn jsonl(records: &[AuditRecord]) -> String {
    let lines = records
        .iter()
        .filter_map(|record| serde_json::to_string(&keyreeve_web::audit_event::event(record)).ok());
    lines.fold(String::new(), |mut text, line| {
        text.push_str(&line);
        text.push('\n');
        text
    })
}

fn csv(records: &[AuditRecord]) -> String {
    let mut text = String::from("revision,at,actor,action,target,reason,address,request_id,hash\r\n");
    for record in records {
        let event = keyreeve_web::audit_event::event(record);
        let at = super::moment::When::new(record.at, record.at).iso;
        let cells = [
            event.revision.to_string(),
            at,
            event.actor.id,
            event.action,
            event.target.id,
            event.reason.unwrap_or_default(),
            event.address.unwrap_or_default(),
            event.request_id,
            event.hash,
        ];
        let cells: Vec<_> = cells.iter().map(|one| cell(one)).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

/// First characters of a formula, with the full-width forms that spreadsheets treat as the same.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Returns a cell of a CSV file (RFC 4180) that no spreadsheet evaluates as a formula (OWASP, CSV Injection).
pub(super) fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['\t', '\r', '\n']) || text.trim_start().starts_with(FORMULA);
    let text = if is_formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

impl AuditPage {
    /// Returns the heading's count, such as "3 entries".
    pub(super) fn count(&self) -> String {
        plural(u64::try_from(self.entries.len()).unwrap_or(0), "entry").replace("entrys", "entries")
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn a_cell_stays_one_cell_and_is_never_a_formula() {
        assert_eq!(cell("plain"), "plain");
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("say \"x\"\n"), "\"say \"\"x\"\"\n\"");
        for start in [
            "=",
            "+",
            "-",
            "@",
            "＝",
            "＋",
            "－",
            "＠",
            " =",
            "\u{3000}＝",
            "\t",
            "\r",
            "\n",
        ] {
            let text = format!("{start}HYPERLINK(1)");
            let written = cell(&text);
            assert_eq!(written.trim_matches('"'), format!("'{text}"), "{start:?}");
        }
    }
}
