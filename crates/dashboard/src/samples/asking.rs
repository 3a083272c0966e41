//! Samples of confirmation pages and of pages that show a result.

use super::*;

#[test]
fn pages_that_ask_and_tell_render() {
    let policy = Preset::Keep.policy();
    let offered = choices(&policy, NOW, Some(None), "");
    check(
        "create",
        &CreatePage {
            shell: shell(MenuEntry::OwnKeys),
            is_tenant: true,
            choices: offered.clone(),
            has_custom: true,
            owners: vec![HOSTILE.to_owned()],
            name: HOSTILE.to_owned(),
            description: HOSTILE.to_owned(),
            owner: HOSTILE.to_owned(),
            stranger: Some(true),
            scopes: HOSTILE.to_owned(),
            scopes_given: Some(HOSTILE.to_owned()),
            limits: limit_fields(),
            expires_on: String::new(),
            asks_password: true,
            once: "once".to_owned(),
            path: "/keys/new",
            back: "/keys".to_owned(),
            errors: errors(),
        },
    );
    check(
        "rotate",
        &RotatePage {
            closed: None,
            shell: shell(MenuEntry::OwnKeys),
            row: row(),
            choices: offered.clone(),
            has_custom: true,
            overlaps: offered.clone(),
            name: HOSTILE.to_owned(),
            shown: HOSTILE.to_owned(),
            expires_on: String::new(),
            asks_password: true,
            once: "once".to_owned(),
            back: "/keys".to_owned(),
            errors: errors(),
        },
    );
    check(
        "edit",
        &EditPage {
            closed: None,
            shell: shell(MenuEntry::OwnKeys),
            row: row(),
            choices: offered,
            has_custom: true,
            name: HOSTILE.to_owned(),
            description: HOSTILE.to_owned(),
            scopes: HOSTILE.to_owned(),
            scopes_given: Some(HOSTILE.to_owned()),
            limits: limit_fields(),
            expires_on: String::new(),
            back: "/keys".to_owned(),
            errors: errors(),
            stale: Some(stale()),
            seen: seen(),
        },
    );
    check(
        "act",
        &ActPage {
            closed: None,
            shell: shell(MenuEntry::OwnKeys),
            row: row(),
            verb: "revoke",
            question: HOSTILE.to_owned(),
            facts: vec![("Owner", HOSTILE.to_owned())],
            consequence: "It ends.".to_owned(),
            warning: Some(HOSTILE.to_owned()),
            advice: Some("Advice"),
            instead: Some(("/keys/ak_1/rotate".to_owned(), "Rotate instead")),
            codes: vec![("leaked", "Leaked")],
            asks_reason: true,
            needs_reason: true,
            asks_phrase: true,
            role: "alertdialog",
            cancel: "Cancel",
            submit: "Revoke Key".to_owned(),
            reason: HOSTILE.to_owned(),
            reason_code: "leaked".to_owned(),
            back: "/keys".to_owned(),
            errors: errors(),
        },
    );
    check(
        "selected",
        &SelectedPage {
            shell: shell(MenuEntry::OwnKeys),
            rows: vec![row()],
            action: "revoke",
            question: "Revoke 1 key?".to_owned(),
            submit: "Revoke 1 key".to_owned(),
            asks_phrase: true,
            needs_reason: true,
            asks_password: true,
            reason: HOSTILE.to_owned(),
            back: "/keys".to_owned(),
            errors: errors(),
        },
    );
    let outcome = |is_done| SelectedOutcome {
        id: "ak_1".to_owned(),
        name: HOSTILE.to_owned(),
        is_done,
        text: HOSTILE.to_owned(),
    };
    check(
        "results",
        &ResultsPage {
            shell: shell(MenuEntry::OwnKeys),
            results: vec![outcome(true), outcome(false)],
            summary: "1 of 2".to_owned(),
            back: "/keys".to_owned(),
        },
    );
    let html = check(
        "reveal",
        &RevealPage {
            shell: shell(MenuEntry::OwnKeys),
            id: "ak_1".to_owned(),
            name: HOSTILE.to_owned(),
            secret: "ak_kr1secret",
            origin: "https://keys.example",
            old: Some("The old secret is dead.".to_owned()),
            back: "/keys",
        },
    );
    assert!(html.contains("curl https://keys.example/v1/me"));
}

fn limit_fields() -> LimitFields {
    LimitFields {
        networks: HOSTILE.to_owned(),
        lines: Some(HOSTILE.to_owned()),
        own_address: Some("192.0.2.1".to_owned()),
    }
}
