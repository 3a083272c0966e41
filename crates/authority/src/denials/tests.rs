use super::fold::{End, Owed, fold};
use super::*;
use keyreeve_core::text::Slug;

fn acme() -> Slug {
    Slug::parse("acme").unwrap()
}

fn key_entry(action: &str, before: &str, after: &str) -> AuditRecord {
    AuditRecord {
        revision: 7,
        at: Timestamp::from_millis(1_000),
        tenant: "acme".to_owned(),
        actor_type: "operator".to_owned(),
        actor_id: "operator".to_owned(),
        action: action.to_owned(),
        target_type: "key".to_owned(),
        target_id: KeyId::from_bytes([1; 16]).to_string(),
        subject: None,
        reason: None,
        address: None,
        request_id: "r".to_owned(),
        before: (!before.is_empty()).then(|| before.to_owned()),
        after: (!after.is_empty()).then(|| after.to_owned()),
        chain: [9; 32],
    }
}

fn change(action: &str, before: &str, after: &str) -> Option<DenialChange> {
    let found = RecordedDenial::of(&key_entry(action, before, after));
    assert!(found.len() <= 1);
    found.first().map(|one| one.change)
}

#[test]
fn an_entry_that_denies_a_key_is_recorded_and_others_are_not() {
    for (action, after, expected) in [
        ("key.revoked", r#"{"state":"revoked"}"#, Some(DenialChange::Ended)),
        ("key.revoked", r#"{"state":"disabled"}"#, Some(DenialChange::Withdrawn)),
        ("key.erased", "", Some(DenialChange::Ended)),
        ("key.disabled", r#"{"state":"disabled"}"#, Some(DenialChange::Held)),
        (
            "key.reactivated",
            r#"{"state":"active"}"#,
            Some(DenialChange::GivenBack),
        ),
        ("key.rotated", "{}", Some(DenialChange::Rotated)),
        ("key.rotation_finished", "{}", Some(DenialChange::Finished)),
        ("key.created", "{}", None),
        ("key.leaked", "{}", None),
    ] {
        assert_eq!(change(action, "{}", after), expected, "{action} {after}");
    }
}

#[test]
fn an_edit_that_takes_something_away_is_recorded() {
    let key = r#"{"claims":"sha256:1","expires_at":100,"limits":null,"scopes":["a","b"]}"#;
    for (after, is_narrowed) in [
        (key, false),
        (
            r#"{"claims":"sha256:1","expires_at":99,"limits":null,"scopes":["a","b"]}"#,
            true,
        ),
        (
            r#"{"claims":"sha256:1","expires_at":null,"limits":null,"scopes":["a","b"]}"#,
            false,
        ),
        (
            r#"{"claims":"sha256:1","expires_at":100,"limits":null,"scopes":["a"]}"#,
            true,
        ),
        (
            r#"{"claims":"sha256:1","expires_at":100,"limits":null,"scopes":["a","b","c"]}"#,
            false,
        ),
        (
            r#"{"claims":"sha256:1","expires_at":100,"limits":"10/s","scopes":["a","b"]}"#,
            true,
        ),
        (
            r#"{"claims":"sha256:2","expires_at":100,"limits":null,"scopes":["a","b"]}"#,
            true,
        ),
        (
            r#"{"claims":null,"expires_at":100,"limits":null,"scopes":["a","b"]}"#,
            true,
        ),
    ] {
        let expected = is_narrowed.then_some(DenialChange::Narrowed);
        assert_eq!(change("key.updated", key, after), expected, "{after}");
    }
    let without = r#"{"claims":null,"expires_at":null,"limits":null,"scopes":[]}"#;
    assert_eq!(
        change("key.updated", without, key),
        Some(DenialChange::Narrowed),
        "it expires now"
    );
}

#[test]
fn a_user_who_is_suspended_removed_or_demoted_is_recorded() {
    let entry = |action: &str, before: &str, after: &str| {
        let mut entry = key_entry(action, before, after);
        entry.target_type = "user".to_owned();
        entry.target_id = UserId::from_bytes([2; 16]).to_string();
        let found = RecordedDenial::of(&entry);
        found.into_iter().map(|one| one.change).collect::<Vec<_>>()
    };
    let admin = r#"{"role":"admin","status":"active"}"#;
    assert_eq!(entry("user.created", "", admin), []);
    assert_eq!(entry("user.updated", admin, admin), []);
    let suspended = r#"{"role":"admin","status":"suspended"}"#;
    assert_eq!(entry("user.updated", admin, suspended), [DenialChange::Suspended]);
    assert_eq!(entry("user.updated", suspended, admin), [DenialChange::Opened]);
    let member = r#"{"role":"member","status":"active"}"#;
    assert_eq!(
        entry("user.updated", admin, member),
        [DenialChange::Demoted(Role::Member)]
    );
    assert_eq!(entry("user.updated", member, admin), []);
    assert_eq!(entry("user.removed", admin, ""), [DenialChange::Removed]);
}

#[test]
fn a_root_key_that_was_revoked_or_rotated_is_recorded() {
    for (action, is_recorded) in [
        ("root_key.revoked", true),
        ("root_key.rotated", true),
        ("root_key.rotation_finished", true),
        ("root_key.created", false),
    ] {
        let mut entry = key_entry(action, "{}", "{}");
        entry.target_type = "root_key".to_owned();
        entry.target_id = RootKeyId::from_bytes([3; 16]).to_string();
        let expected = is_recorded.then_some(DenialChange::Ended);
        let found = RecordedDenial::of(&entry);
        assert_eq!(found.first().map(|one| one.change), expected, "{action}");
    }
}

fn denial(revision: u64, change: DenialChange) -> RecordedDenial {
    RecordedDenial {
        entry: Milestone {
            revision,
            chain: [3; 32],
        },
        at: Timestamp::from_millis(1_000),
        target: DeniedRecord::Key(acme(), KeyId::from_bytes([1; 16])),
        change,
    }
}

#[test]
fn every_line_is_read_as_it_was_written() {
    let end = Milestone {
        revision: 5,
        chain: [4; 32],
    };
    let at = Timestamp::from_millis(77);
    let mut lines = vec![
        LedgerLine::Origin([1; 32]),
        LedgerLine::Begins(end, at),
        LedgerLine::Seen(end, at),
    ];
    let targets = [
        DeniedRecord::Key(acme(), KeyId::from_bytes([1; 16])),
        DeniedRecord::User(acme(), UserId::from_bytes([2; 16])),
        DeniedRecord::Tenant(acme()),
        DeniedRecord::RootKey(RootKeyId::from_bytes([3; 16])),
    ];
    for target in targets {
        for change in EVERY {
            let denial = RecordedDenial {
                target: target.clone(),
                ..denial(9, change)
            };
            lines.push(LedgerLine::Denial(denial));
        }
    }
    for line in lines {
        assert_eq!(LedgerLine::parse(&line.write()), Some(line));
    }
    for wrong in ["", "seen", "seen 1 77 5", "origin 00", "key 1", "of a newer version"] {
        assert_eq!(LedgerLine::parse(wrong), None, "{wrong}");
    }
}

const EVERY: [DenialChange; 11] = [
    DenialChange::Ended,
    DenialChange::Withdrawn,
    DenialChange::Held,
    DenialChange::GivenBack,
    DenialChange::Rotated,
    DenialChange::Finished,
    DenialChange::Narrowed,
    DenialChange::Suspended,
    DenialChange::Removed,
    DenialChange::Opened,
    DenialChange::Demoted(Role::Member),
];

fn owed(changes: &[DenialChange]) -> Owed {
    let denials: Vec<_> = (1..)
        .zip(changes)
        .map(|(revision, one)| denial(revision, *one))
        .collect();
    fold(&denials).into_values().next().unwrap_or_default()
}

#[test]
fn a_hold_that_was_lifted_is_not_owed_and_a_final_end_always_is() {
    use DenialChange::{Ended, GivenBack, Held, Rotated, Withdrawn};
    assert_eq!(owed(&[Held, GivenBack]), Owed::default());
    assert_eq!(owed(&[Held, GivenBack, Held]).end, Some(End::Held));
    assert_eq!(owed(&[Held, Withdrawn]).end, Some(End::Withdrawn));
    assert_eq!(owed(&[Withdrawn, GivenBack]).end, None);
    assert_eq!(owed(&[Withdrawn, Ended]).end, Some(End::Final));
    let rotated = owed(&[Rotated, Held, GivenBack]);
    assert!(rotated.is_rotated && rotated.end.is_none(), "the secret stays replaced");
}

/// For a copy made at any point, the compacted denials after it owe the same as all of them.
#[test]
fn compaction_changes_nothing_for_any_copy() {
    let mut state = 1_u64;
    for _ in 0..500 {
        let changes: Vec<_> = (1..=8)
            .map(|revision| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let choice = usize::try_from(state >> 33).unwrap() % EVERY.len();
                denial(revision, EVERY[choice])
            })
            .collect();
        // After a final end nothing else happens to a key.
        let end = changes.iter().position(|one| one.change == DenialChange::Ended);
        let changes = &changes[..end.map_or(changes.len(), |end| end + 1)];
        let short = compact(changes.to_vec());
        for copy in 0..=8 {
            let after = |all: &[RecordedDenial]| -> Vec<_> {
                all.iter().filter(|one| one.entry.revision > copy).cloned().collect()
            };
            assert_eq!(fold(&after(&short)), fold(&after(changes)), "{changes:?} at {copy}");
        }
    }
}
