//! The lists: one's own keys, and all keys of the tenant.

use super::row::{ShownKey, UNUSED_MS, row};
use crate::Dashboard;
use crate::chart::{BARS_HOURS, HOUR_MS};
use crate::fields::FormFields;
use crate::flash::Flash;
use crate::form::SignedInForm;
use crate::moment::{grouped, in_all};
use crate::page;
use crate::page_error::PageError;
use crate::people::People;
use crate::preferences::SIZES;
use crate::shell::{MenuEntry, Shell};
use crate::visitor::Visitor;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use hyper::http::request::Parts;
use keyreeve_authority::keys::{Listing, ShownKeys};
use keyreeve_authority::model::{KeyPage, PageStart};
use keyreeve_core::key::MARKER;
use keyreeve_core::lifecycle::Standing;
use keyreeve_core::text::Subject;
use keyreeve_core::{KeyId, Timestamp};

/// Highest page number. Keys beyond it are reached by filters.
const PAGES_MAX: u64 = 100_000;
const DAY_SECONDS: u64 = 86_400;
/// Most keys of one owner that are read to count them against the policy's limit.
const COUNTED_MAX: u32 = 1_000;
/// Longest time of the filter "expires within": ten years, in days.
const DAYS_MAX: u64 = 3_650;

/// The filter for keys that are denied because their owner is suspended or removed.
const BLOCKED: &str = "blocked";

/// Data of a list's page.
#[derive(Template)]
#[template(path = "keys.html")]
pub(crate) struct KeysPage {
    pub(crate) shell: Shell,
    /// The path of this list.
    pub(crate) path: &'static str,
    /// The address of this page with its filters, to which every action returns.
    pub(crate) here: String,
    /// The same, encoded for use in another address.
    pub(crate) back: String,
    pub(crate) rows: Vec<ShownKey>,
    pub(crate) filter: KeyFilter,
    /// Whether the list may have any key.
    pub(crate) has_any: bool,
    /// Whether there are keys and all of them are revoked or expired: the list omits those by default.
    pub(crate) has_past: bool,
    pub(crate) range: String,
    pub(crate) previous: Option<String>,
    pub(crate) next: Option<String>,
    pub(crate) owners: Vec<String>,
    pub(crate) sizes: &'static [u32],
    pub(crate) curl: String,
    /// Whether the preset has disabling as an action of its own.
    pub(crate) can_disable: bool,
    /// "2 of 3 keys", if the policy limits them.
    pub(crate) limit: Option<String>,
}

/// The filters of a list, as the form shows them.
#[derive(Clone, Default, Debug)]
pub(crate) struct KeyFilter {
    pub(crate) query: String,
    pub(crate) state: String,
    pub(crate) owner: String,
    pub(crate) scope: String,
    pub(crate) is_unused: bool,
    pub(crate) expiring: String,
    pub(crate) page: u64,
    /// The last key of the numbered pages: from there, pages follow by key and have no number.
    pub(crate) after: Option<KeyId>,
}

impl KeyFilter {
    fn of(fields: &FormFields) -> Self {
        let text = |name: &str| fields.get(name).unwrap_or("").to_owned();
        let page = fields.get("page").and_then(|text| text.parse().ok()).unwrap_or(1);
        Self {
            query: text("query"),
            state: text("state"),
            owner: text("owner"),
            scope: text("scope"),
            is_unused: fields.get("unused").is_some(),
            expiring: text("expiring"),
            page: Ord::clamp(page, 1, PAGES_MAX),
            after: fields.get("after").and_then(|text| KeyId::parse(text).ok()),
        }
    }

    /// Whether any filter is set.
    pub(crate) fn is_set(&self) -> bool {
        let texts = [&self.query, &self.state, &self.owner, &self.scope, &self.expiring];
        self.is_unused || texts.iter().any(|text| !text.is_empty())
    }

    /// Whether a filter in the collapsed part of the form is set.
    pub(crate) fn is_open(&self) -> bool {
        self.is_unused || !self.owner.is_empty() || !self.scope.is_empty() || !self.expiring.is_empty()
    }

    fn listing(&self, people: &People, size: u32, now: Timestamp) -> Listing {
        let days = self.expiring.parse::<u64>().ok().map(|days| days.clamp(1, DAYS_MAX));
        Listing {
            subject: Subject::parse(&people.id_of(&self.owner)).ok(),
            shown: match (self.state.as_str(), Standing::parse(&self.state)) {
                (_, Some(standing)) => ShownKeys::Only(standing),
                ("all", None) => ShownKeys::All,
                (BLOCKED, None) => ShownKeys::Usable,
                (_, None) => ShownKeys::ByPolicy,
            },
            owner_blocked: (self.state == BLOCKED).then_some(true),
            expiring_within: days.map(|days| days * DAY_SECONDS),
            unused_since: self.is_unused.then(|| before(now, UNUSED_MS)),
            scope: Some(self.scope.clone()).filter(|scope| !scope.is_empty()),
            search: Some(self.query.clone()).filter(|text| !text.is_empty()),
            ending: Some(self.query.clone()).filter(|text| text.len() == 4),
            start: match self.after {
                Some(id) => PageStart::After(id),
                None => PageStart::Offset((self.page - 1).saturating_mul(u64::from(size))),
            },
            limit: size,
        }
    }
}

fn before(now: Timestamp, millis: u64) -> Timestamp {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.millis().saturating_sub(millis))
}

/// Lists the visitor's own keys.
pub(crate) async fn own(State(app): State<Dashboard>, visitor: Visitor, parts: Parts) -> Result<Response, PageError> {
    show(&app, &visitor, &parts, MenuEntry::OwnKeys).await
}

/// Lists all keys of the tenant.
pub(crate) async fn tenant(
    State(app): State<Dashboard>,
    visitor: Visitor,
    parts: Parts,
) -> Result<Response, PageError> {
    crate::access::require_tenant(&visitor)?;
    show(&app, &visitor, &parts, MenuEntry::TenantKeys).await
}

async fn show(app: &Dashboard, visitor: &Visitor, parts: &Parts, place: MenuEntry) -> Result<Response, PageError> {
    let people = People::known_to(visitor, app).await?;
    let (size, now) = (visitor.preferences.page_size, visitor.now);
    let (fields, filter, found) = page_at(app, visitor, place, &people, FormFields::of_query(parts)).await?;
    let since = Timestamp::from_millis(now.millis().saturating_sub(BARS_HOURS * HOUR_MS));
    let until = now.plus_seconds(1);
    let counts = app
        .authority()
        .keys()
        .usage_of(&visitor.call, &found.keys, since, until)
        .await?;
    let rows: Vec<_> = found
        .keys
        .iter()
        .map(|record| row(record, &counts, visitor, &people))
        .collect();
    let path = path_of(place);
    let here = fields.address(path);
    let turn = |page: u64| fields.with("page", &page.to_string()).address(path);
    let first = (filter.page - 1) * u64::from(size);
    let shown = u64::try_from(rows.len()).unwrap_or(0);
    let page = KeysPage {
        shell: Shell::new(visitor, place, title_of(visitor, place)),
        path,
        back: form_urlencoded::byte_serialize(here.as_bytes()).collect(),
        here,
        range: match filter.after {
            Some(_) => format!("{} older", grouped(shown)),
            None => format!(
                "{}–{} of {}",
                grouped(first + 1),
                grouped(first + shown),
                in_all(found.total)
            ),
        },
        previous: (filter.page > 1 && filter.after.is_none()).then(|| turn(filter.page - 1)),
        next: next(&fields, &filter, path, &found, first + shown),
        owners: people.addresses(),
        sizes: &SIZES,
        curl: curl(visitor),
        can_disable: super::row::verbs(&visitor.policy).contains(&"disable"),
        limit: limit_text(app, visitor, place).await?,
        has_any: found.total.is_none_or(|total| total.count > 0 || !total.is_exact),
        has_past: rows.is_empty() && !filter.is_set() && has_past(app, visitor, place).await?,
        rows,
        filter,
    };
    page::ok(&page)
}

/// Returns the requested page. If it has no keys (any more), returns the last page that has some: an empty list would
/// suggest that there are none. No redirect, which would use up the message about the last action.
async fn page_at(
    app: &Dashboard,
    visitor: &Visitor,
    place: MenuEntry,
    people: &People,
    fields: FormFields,
) -> Result<(FormFields, KeyFilter, KeyPage), PageError> {
    let size = visitor.preferences.page_size;
    let listing = |filter: &KeyFilter| {
        let listing = filter.listing(people, size, visitor.now);
        match place {
            MenuEntry::OwnKeys => Listing {
                subject: visitor.user.subject(),
                ..listing
            },
            _ => listing,
        }
    };
    let filter = KeyFilter::of(&fields);
    let found = app.authority().keys().list(&visitor.call, listing(&filter)).await?;
    let is_first = filter.page == 1 && filter.after.is_none();
    // A page that follows a key may be empty because of the filter, although further keys pass it.
    let goes_on = filter.after.is_some() && found.next.is_some();
    if !found.keys.is_empty() || is_first || goes_on {
        return Ok((fields, filter, found));
    }
    let last = found.total.map_or(1, |total| total.count.div_ceil(size.into()).max(1));
    let number = if last > 1 { last.to_string() } else { String::new() };
    let fields = fields.with("after", "").with("page", &number);
    let filter = KeyFilter::of(&fields);
    let found = app.authority().keys().list(&visitor.call, listing(&filter)).await?;
    Ok((fields, filter, found))
}

/// Whether any key exists, in any state.
async fn has_past(app: &Dashboard, visitor: &Visitor, place: MenuEntry) -> Result<bool, PageError> {
    let listing = Listing {
        subject: visitor.user.subject().filter(|_| place == MenuEntry::OwnKeys),
        ..Listing::first(ShownKeys::All, 1)
    };
    Ok(!app
        .authority()
        .keys()
        .list(&visitor.call, listing)
        .await?
        .keys
        .is_empty())
}

pub(crate) const fn path_of(place: MenuEntry) -> &'static str {
    match place {
        MenuEntry::TenantKeys => "/tenant/keys",
        _ => "/keys",
    }
}

fn title_of(visitor: &Visitor, place: MenuEntry) -> &'static str {
    match place {
        MenuEntry::TenantKeys => "API Keys",
        _ => crate::labels::Labels::of(&visitor.policy).own_keys,
    }
}

/// Returns the address of the next page. The newest keys are counted and have numbered pages; pages beyond those begin
/// after a key.
fn next(fields: &FormFields, filter: &KeyFilter, path: &str, found: &KeyPage, shown: u64) -> Option<String> {
    let is_counted = filter.after.is_none() && shown < found.total.map_or(0, |total| total.count);
    match (is_counted && !found.keys.is_empty(), found.next) {
        (true, _) => Some(fields.with("page", &(filter.page + 1).to_string()).address(path)),
        (false, Some(id)) => Some(fields.with("after", &id.to_string()).address(path)),
        (false, None) => None,
    }
}

/// Returns the command that creates a first key without the dashboard.
fn curl(visitor: &Visitor) -> String {
    format!(
        "curl -X POST {}/v1/api_keys \\\n  -H \"Authorization: Bearer $KEYREEVE_ROOT_KEY\" \\\n  -H \"Keyreeve-Tenant: {}\" \
         \\\n  --json '{{\"name\": \"my first key\", \"subject\": \"{}\"}}'",
        visitor.origin, visitor.user.tenant, visitor.user.id
    )
}

/// Returns how many of the allowed keys the visitor has.
async fn limit_text(app: &Dashboard, visitor: &Visitor, place: MenuEntry) -> Result<Option<String>, PageError> {
    let (Some(max), MenuEntry::OwnKeys) = (visitor.policy.limit.keys_per_subject, place) else {
        return Ok(None);
    };
    let listing = Listing {
        subject: visitor.user.subject(),
        ..Listing::first(ShownKeys::All, COUNTED_MAX)
    };
    let keys = app.authority().keys().list(&visitor.call, listing).await?.keys;
    let used = keys
        .iter()
        .filter(|record| record.key.counts(&visitor.policy, visitor.now))
        .count();
    Ok(Some(format!("{used} of {max} keys")))
}

/// Searches. It is a POST because the text may be a complete key: that is looked up here and never becomes part of an
/// address, a history or a log.
pub(crate) async fn search(State(app): State<Dashboard>, form: SignedInForm) -> Result<Response, PageError> {
    let text = form.fields.get("query").unwrap_or("");
    let path = match form.path.strip_suffix("/search") {
        Some("/tenant/keys") => "/tenant/keys",
        Some(_) | None => "/keys",
    };
    if let Ok(id) = KeyId::parse(text) {
        return Ok(page::on_to(&format!("/keys/{id}")));
    }
    if !text.contains(MARKER) {
        let fields = FormFields::default().with("state", form.fields.raw("state"));
        return Ok(page::on_to(&fields.with("query", text).address(path)));
    }
    let Some(record) = app.authority().keys().find(&form.visitor.call, text).await? else {
        let text = "The key that you pasted is none of those you can see here, or it is not whole. It was looked up \
                    and forgotten.";
        form.visitor.tell(Flash::refused(text.to_owned())).await?;
        return Ok(page::on_to(path));
    };
    let flash = Flash::done("This is the key that you pasted.".to_owned());
    form.visitor.tell(flash).await?;
    Ok(page::on_to(&format!("/keys/{}", record.key.id)))
}
