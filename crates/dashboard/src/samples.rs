//! Renders every template with a value in every field: a template that cannot be rendered fails here and not for a
//! user.

#![expect(clippy::too_many_lines, reason = "a list of samples, page by page")]

mod asking;
mod tenant;

use super::chart::{WINDOWS, expiries, large, small};
use super::error_page::ErrorPage;
use super::errors::Errors;
use super::events::{ChangedField, EventEntry};
use super::flash::Flash;
use super::home::{HomeLine, HomePage};
use super::keys::act::ActPage;
use super::keys::create::CreatePage;
use super::keys::edit::EditPage;
use super::keys::expiry::choices;
use super::keys::limits::LimitFields;
use super::keys::list::{KeyFilter, KeysPage};
use super::keys::pair::{Side, Sides};
use super::keys::reveal::RevealPage;
use super::keys::rotate::RotatePage;
use super::keys::row::{Act, Chip, Pair, ShownKey};
use super::keys::selected::{ResultsPage, SelectedOutcome, SelectedPage};
use super::keys::view::{KeyViewPage, Origin};
use super::labels::Labels;
use super::moment::When;
use super::preferences::Preferences;
use super::propagation::{ChangeRow, NodeRow, PropagationPage, VerifierRow};
use super::sentences::Sentence;
use super::shell::{MenuEntry, Shell, SignedOutLayout};
use super::sign_in::{LoginPage, SetupPage};
use super::stale::{Made, SeenFields, Stale};
use super::tenant::checks::{CheckEditPage, CheckForm, CheckRemovePage, CheckRow, ChecksPage};
use super::tenant::policy::{Column, PolicyPage, Preview, Values};
use super::tenant::users::{InvitedPage, UserActPage, UserRow, UsersPage};
use super::{account::AccountPage, audit::AuditPage};
use askama::Template;
use keyreeve_api::Problem;
use keyreeve_authority::model::UsageCount;
use keyreeve_core::policy::Preset;
use keyreeve_core::{KeyId, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// The value of every field that a page shows as it was typed.
const HOSTILE: &str = "<script>alert(1)</script>\"'&";

/// Errors at a field and for the entire form.
fn errors() -> Errors {
    let mut errors = Errors::from(Sentence::of_all(HOSTILE));
    errors.take::<()>(Err(Problem::field("name", HOSTILE)));
    errors
}

fn when() -> When {
    When::new(NOW, NOW)
}

fn shell(place: MenuEntry) -> Shell {
    Shell {
        title: format!("Title {HOSTILE}"),
        place,
        email: "ada@example.com".to_owned(),
        role: "Admin",
        tenant: "acme".to_owned(),
        csrf: "mark".to_owned(),
        preferences: Preferences::default(),
        flash: Some(Flash::refused(HOSTILE.to_owned())),
        labels: Labels::of(&Preset::Standard.policy()),
        sees_tenant: true,
        is_admin: true,
        may_change: true,
    }
}

fn chip() -> Chip {
    Chip {
        kind: "active",
        word: "Active".to_owned(),
        more: HOSTILE.to_owned(),
    }
}

fn act(verb: &'static str, is_direct: bool) -> Act {
    Act {
        verb,
        label: "Act",
        is_direct,
        is_ending: true,
    }
}

fn counts() -> Vec<UsageCount> {
    let count = |outcome: &str| UsageCount {
        key: KeyId::from_bytes([1; 16]),
        hour: NOW,
        outcome: outcome.to_owned(),
        count: 5,
        extra_cost: 0,
    };
    vec![count("valid"), count("valid_retiring"), count("expired")]
}

fn row() -> ShownKey {
    ShownKey {
        id: KeyId::from_bytes([1; 16]).to_string(),
        name: HOSTILE.to_owned(),
        description: Some(HOSTILE.to_owned()),
        mask: "ak_kr1…wxyz".to_owned(),
        owner: HOSTILE.to_owned(),
        scopes: vec!["orders:read".to_owned()],
        networks: vec!["192.0.2.0/24".to_owned()],
        limits: vec!["per-minute 120/60s".to_owned()],
        created: when(),
        last_used: Some(when()),
        expires: Some(when()),
        state: chip(),
        hint: Some(chip()),
        ending: Some(HOSTILE.to_owned()),
        bars: small(counts().iter(), NOW),
        pair: Some(Pair { until: when() }),
        acts: vec![act("revoke", true), act("rotate", false)],
    }
}

fn entry() -> EventEntry {
    EventEntry {
        revision: 1,
        at: when(),
        actor: HOSTILE.to_owned(),
        action: "key.created".to_owned(),
        words: "created the key".to_owned(),
        kind: "begun",
        target: HOSTILE.to_owned(),
        link: Some("/keys/ak_1".to_owned()),
        reason: Some(HOSTILE.to_owned()),
        address: Some("192.0.2.1".to_owned()),
        request_id: "req_1".to_owned(),
        changes: vec![("name".to_owned(), HOSTILE.to_owned(), "b".to_owned())],
        told: told(),
    }
}

fn told() -> Vec<ChangedField> {
    vec![ChangedField {
        name: "scopes".to_owned(),
        values: Some((HOSTILE.to_owned(), "none".to_owned())),
    }]
}

fn stale() -> Stale {
    Stale {
        changes: vec![Made {
            actor: HOSTILE.to_owned(),
            words: "edited the key",
            at: when(),
            told: told(),
        }],
        is_complete: false,
    }
}

fn seen() -> SeenFields {
    SeenFields {
        version: HOSTILE.to_owned(),
        shown: HOSTILE.to_owned(),
    }
}

/// Renders a page and checks the rules of every page: typed text is never markup, nothing is inline, the document is
/// complete.
fn check(name: &str, page: &impl Template) -> String {
    let html = page.render().unwrap();
    assert!(html.trim_start().starts_with("<!doctype html>"), "{name}");
    assert!(html.trim_end().ends_with("</html>"), "{name}");
    for forbidden in ["<script>", "style=", "onclick", "javascript:", "<style"] {
        assert!(!html.contains(forbidden), "{name} contains {forbidden}");
    }
    let ids: Vec<_> = html
        .split(" id=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), distinct.len(), "{name}: an id stands twice: {ids:?}");
    let forms = html.matches("method=\"post\"").count();
    let marks = html.matches("name=\"csrf\"").count();
    assert_eq!(forms, marks, "{name}: a form without its mark");
    html
}

#[test]
fn pages_of_lists_and_keys_render() {
    let list = KeysPage {
        shell: shell(MenuEntry::TenantKeys),
        path: "/tenant/keys",
        here: "/tenant/keys?query=%3Cb%3E".to_owned(),
        back: "%2Ftenant%2Fkeys".to_owned(),
        rows: vec![row()],
        filter: KeyFilter {
            query: HOSTILE.to_owned(),
            ..KeyFilter::default()
        },
        has_any: true,
        has_past: false,
        range: "1–1 of 1".to_owned(),
        previous: Some("/tenant/keys?page=1".to_owned()),
        next: Some("/tenant/keys?page=3".to_owned()),
        owners: vec![HOSTILE.to_owned()],
        sizes: &super::preferences::SIZES,
        curl: HOSTILE.to_owned(),
        can_disable: true,
        limit: Some("1 of 3 keys".to_owned()),
    };
    assert_eq!(
        check("list", &list).matches("orders:read").count(),
        2,
        "as text, and as its title"
    );
    let html = check(
        "no match",
        &KeysPage {
            rows: Vec::new(),
            ..list
        },
    );
    assert!(html.contains("No key matches") && !html.contains("No API keys yet"));
    check(
        "key",
        &KeyViewPage {
            shell: shell(MenuEntry::OwnKeys),
            row: row(),
            here: "/keys/ak_1".to_owned(),
            chart: large(counts().iter(), WINDOWS[0], NOW),
            window: "24h",
            windows: &WINDOWS,
            outcomes: vec![("Accepted", "5".to_owned())],
            life: vec![entry()],
            refusals: vec![origin()],
            places: vec![origin()],
            sides: Some(Sides {
                old: side(Some(HOSTILE.to_owned())),
                new: side(None),
            }),
            effect: Some("Refused everywhere.".to_owned()),
        },
    );
}

fn side(mask: Option<String>) -> Side {
    Side {
        mask,
        this_hour: "1 call".to_owned(),
        in_all: "2 calls".to_owned(),
        is_used: true,
        from: HOSTILE.to_owned(),
    }
}

fn origin() -> Origin {
    Origin {
        is_old: true,
        outcome: "Refused: expired",
        address: "192.0.2.1".to_owned(),
        count: "5".to_owned(),
        last: when(),
    }
}
