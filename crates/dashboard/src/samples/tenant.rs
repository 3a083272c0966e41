//! Samples of the tenant's pages, the pages of users, and the sign-in pages.

use super::*;

#[test]
fn pages_of_the_tenant_render() {
    let line = HomeLine {
        id: "ak_1".to_owned(),
        name: HOSTILE.to_owned(),
        owner: HOSTILE.to_owned(),
        text: "last used".to_owned(),
        when: Some(when()),
    };
    check(
        "home",
        &HomePage {
            shell: shell(MenuEntry::Home),
            list: "/keys",
            failing: vec![line.clone()],
            expiring: vec![line.clone()],
            expiring_total: "1".to_owned(),
            strip: expiries(&[NOW], NOW, 91),
            strip_text: "1 key expires".to_owned(),
            unused: vec![line],
            unused_total: "1".to_owned(),
            events: vec![entry()],
            has_keys: true,
        },
    );
    check(
        "audit",
        &AuditPage {
            shell: shell(MenuEntry::Audit),
            entries: vec![entry()],
            kinds: &[("key.", "Keys")],
            action: "key.".to_owned(),
            actor: HOSTILE.to_owned(),
            key: HOSTILE.to_owned(),
            since: String::new(),
            until: String::new(),
            older: Some("/audit?before=1".to_owned()),
            newest: Some("/audit".to_owned()),
            csv: "/audit/export?format=csv".to_owned(),
            jsonl: "/audit/export?format=jsonl".to_owned(),
            is_filtered: true,
            actors: vec![HOSTILE.to_owned()],
        },
    );
    check(
        "policy",
        &PolicyPage {
            shell: shell(MenuEntry::Policy),
            presets: vec![Column {
                word: "keep",
                title: "Keep",
                is_own: true,
            }],
            rules: vec![("Reason", vec!["off".to_owned()])],
            form: Values {
                prefix: HOSTILE.to_owned(),
                ..Values::default()
            },
            preview: Some(Preview {
                count: 1,
                named: vec![("ak_1".to_owned(), HOSTILE.to_owned())],
                changes: vec![("Reason", "off".to_owned(), "required".to_owned())],
            }),
            errors: errors(),
            stale: Some(stale()),
            seen: seen(),
        },
    );
    let form = CheckForm {
        name: HOSTILE.to_owned(),
        scopes: HOSTILE.to_owned(),
        ..CheckForm::default()
    };
    check(
        "checks",
        &ChecksPage {
            shell: shell(MenuEntry::Checks),
            checks: vec![CheckRow {
                name: "orders".to_owned(),
                path: "acme:orders".to_owned(),
                is_built_in: false,
                scopes: vec!["orders:read".to_owned()],
                headers: "Authorization, X-API-Key".to_owned(),
                rules: vec!["claims are handed on".to_owned()],
            }],
            form: form.clone(),
            errors: errors(),
        },
    );
    check(
        "check edit",
        &CheckEditPage {
            shell: shell(MenuEntry::Checks),
            form,
            errors: errors(),
            stale: Some(stale()),
            seen: seen(),
        },
    );
    check(
        "check remove",
        &CheckRemovePage {
            shell: shell(MenuEntry::Checks),
            name: "orders".to_owned(),
            consequence: "Nobody is let through.",
        },
    );
    check(
        "propagation",
        &PropagationPage {
            shell: shell(MenuEntry::Propagation),
            nodes: vec![NodeRow {
                name: HOSTILE.to_owned(),
                is_self: true,
                applied: "1".to_owned(),
                lag: 0,
                seen: "now".to_owned(),
                age: 10,
                is_serving: false,
            }],
            revision: "1".to_owned(),
            lease_ms: Some(15_000),
            changes: vec![ChangeRow {
                at: when(),
                action: "revoked",
                target: HOSTILE.to_owned(),
                revision: "1".to_owned(),
                verifiers: 3,
                waited_ms: 12,
                width: 200,
            }],
            percentiles: Some((1, 2)),
            verifiers: vec![VerifierRow {
                id: "vf_0123456789abcdef_1".to_owned(),
                peer: HOSTILE.to_owned(),
                root_key: "rk_1".to_owned(),
                since: when(),
                presence: "Connected",
                keys: "1".to_owned(),
                lease_left: Some("1.5 s".to_owned()),
                owes_ms: Some(3),
            }],
        },
    );
}

#[test]
fn pages_about_people_and_the_door_render() {
    let user = UserRow {
        id: "user_1".to_owned(),
        version: HOSTILE.to_owned(),
        email: "bob@example.com".to_owned(),
        name: HOSTILE.to_owned(),
        role: "member",
        is_active: true,
        has_password: false,
        is_self: false,
        created: when(),
    };
    check(
        "users",
        &UsersPage {
            shell: shell(MenuEntry::Users),
            users: vec![user.clone()],
            email: HOSTILE.to_owned(),
            name: HOSTILE.to_owned(),
            role: "admin".to_owned(),
            errors: errors(),
            stale: Some(stale()),
        },
    );
    check(
        "user act",
        &UserActPage {
            shell: shell(MenuEntry::Users),
            user,
            verb: "remove",
            question: "Remove?".to_owned(),
            consequence: "They go.".to_owned(),
            submit: "Remove user",
        },
    );
    check(
        "invited",
        &InvitedPage {
            shell: shell(MenuEntry::Users),
            email: "bob@example.com".to_owned(),
            link: "http://127.0.0.1/setup?token=1".to_owned(),
        },
    );
    check(
        "account",
        &AccountPage {
            shell: shell(MenuEntry::Account),
            user_id: "user_1".to_owned(),
            errors: errors(),
        },
    );
    check(
        "login",
        &LoginPage {
            shell: SignedOutLayout::default(),
            csrf: "mark".to_owned(),
            email: HOSTILE.to_owned(),
            tenants: vec!["acme".to_owned()],
            next: "/keys".to_owned(),
            notice: Some("Your session has ended."),
            errors: errors(),
        },
    );
    check(
        "setup",
        &SetupPage {
            shell: SignedOutLayout::default(),
            csrf: "mark".to_owned(),
            token: HOSTILE.to_owned(),
            known: None,
            email: HOSTILE.to_owned(),
            errors: errors(),
        },
    );
    check(
        "page_error",
        &ErrorPage {
            shell: SignedOutLayout::default(),
            title: HOSTILE.to_owned(),
            detail: HOSTILE.to_owned(),
            code: "NOT_FOUND",
            request_id: "req_1".to_owned(),
            back: Some("/keys".to_owned()),
        },
    );
}
