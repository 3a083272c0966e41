use super::*;
use crate::policy::Reveal;
use crate::text::Slug;

fn found(claims: Option<&str>) -> NewEntry<'_> {
    NewEntry {
        digest: Digest::of(b"x"),
        key_id: KeyId::from_bytes([1; 16]),
        gate: Arc::new(Gate::new(
            Slug::parse("default").unwrap(),
            crate::user::Status::Active,
            Reveal::OwnerSafe,
        )),
        secret: SecretStanding::Live,
        key: KeyStanding::Disabled {
            finalize_at: Some(Timestamp::from_millis(7)),
        },
        expires_at: Some(Timestamp::from_millis(9)),
        subject: "user_1",
        name: "naïve",
        scopes: "read write",
        limits: "net:192.0.2.0/24",
        claims,
        is_presented: false,
    }
}

#[test]
fn an_entry_gives_back_what_was_packed() {
    let entry = Entry::new(&found(Some(r#"{"a":1}"#))).unwrap();
    assert_eq!(
        (entry.subject(), entry.name(), entry.scopes()),
        ("user_1", "naïve", "read write")
    );
    assert_eq!(entry.claims(), Some(r#"{"a":1}"#));
    assert_eq!(Entry::new(&found(None)).unwrap().claims(), None);
    assert_eq!(
        (entry.limits(), entry.facts().limits),
        ("net:192.0.2.0/24", "net:192.0.2.0/24")
    );
    let limits = "";
    let boundless = Entry::new(&NewEntry {
        limits,
        ..found(Some("{}"))
    })
    .unwrap();
    assert_eq!((boundless.limits(), boundless.claims()), ("", Some("{}")));
    assert_eq!(entry.expires_at(), Some(Timestamp::from_millis(9)));
    assert_eq!(
        entry.facts().key,
        KeyStanding::Disabled {
            finalize_at: Some(Timestamp::from_millis(7))
        }
    );
}

#[test]
fn a_change_of_the_tenant_reaches_entries_already_remembered() {
    let found = found(None);
    let entry = Entry::new(&found).unwrap();
    assert!(!entry.facts().owner_blocked);
    found.gate.set(crate::user::Status::Suspended, Reveal::None);
    assert!(entry.facts().owner_blocked);
    assert_eq!(entry.gate().reveal(), Reveal::None);
}

#[test]
fn times_that_are_there_are_told_from_those_that_are_not() {
    let time = |ms| Some(Timestamp::from_millis(ms));
    for (expires_at, retires_at, finalize_at) in [
        (None, None, None),
        (time(1), None, None),
        (None, time(2), None),
        (None, None, time(3)),
        (time(1), None, time(3)),
        (time(-1), time(2), time(i64::MAX)),
    ] {
        let entry = Entry::new(&NewEntry {
            expires_at,
            secret: retires_at.map_or(SecretStanding::Retired, SecretStanding::Retiring),
            key: KeyStanding::Disabled { finalize_at },
            ..found(Some("{}"))
        })
        .unwrap();
        let facts = entry.facts();
        assert_eq!(
            (entry.expires_at(), facts.key),
            (expires_at, KeyStanding::Disabled { finalize_at })
        );
        assert_eq!(
            facts.secret,
            retires_at.map_or(SecretStanding::Retired, SecretStanding::Retiring)
        );
        assert_eq!(
            (entry.subject(), entry.name(), entry.scopes(), entry.claims()),
            ("user_1", "naïve", "read write", Some("{}"))
        );
    }
}

#[test]
fn an_entry_is_queued_once_until_its_uses_are_taken() {
    let entry = Entry::new(&found(None)).unwrap();
    let at = |ms: i64| Timestamp::from_millis(1_000_000 + ms);
    assert_eq!(entry.note_use(at(0), 60_000), Noted::QueueFirst);
    assert_eq!([entry.count_use(), entry.count_use()], [Noted::Nothing; 2]);
    assert_eq!(entry.take_uses(), (2, Some(at(0))));
    assert_eq!(entry.limits(), "net:192.0.2.0/24", "they are no mark of use");
    let within = entry.note_use(at(59_999), 60_000);
    assert_eq!(within, Noted::Nothing, "within the grain nothing is noted");
    assert_eq!(entry.count_use(), Noted::Queue);
    assert_eq!(entry.take_uses(), (1, None), "the last use was taken before");
    assert_eq!(entry.note_use(at(60_000), 60_000), Noted::Queue);
    assert_eq!(entry.last_use(), Some(at(60_000)));
}

#[test]
fn only_the_first_use_ever_goes_ahead_of_others() {
    let entry = Entry::new(&NewEntry {
        is_presented: true,
        ..found(None)
    })
    .unwrap();
    assert_eq!(entry.note_use(Timestamp::from_millis(90_000), 60_000), Noted::Queue);
}

#[test]
fn a_use_that_found_no_room_is_counted_with_the_next_one() {
    let entry = Entry::new(&found(None)).unwrap();
    assert_eq!(entry.count_use(), Noted::Queue);
    entry.not_queued();
    assert_eq!(entry.count_use(), Noted::Queue);
    assert_eq!(entry.take_uses().0, 2);
}

#[test]
fn taking_uses_leaves_the_mark_of_the_clock_alone() {
    let entry = Entry::new(&found(None)).unwrap();
    entry.touch();
    assert_eq!(entry.count_use(), Noted::Queue);
    entry.take_uses();
    assert!(entry.forget_touch() && !entry.forget_touch());
}

#[test]
fn an_entry_stays_small() {
    assert!(size_of::<EntryHead>() <= 72, "{} bytes", size_of::<EntryHead>());
}
