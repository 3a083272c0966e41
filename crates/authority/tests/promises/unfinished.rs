//! A call that reports that nothing was changed has changed nothing, wherever the store stops answering.

use crate::world::{NOW, World, revocation, slug, wish};
use keyreeve_authority::Failure;
use keyreeve_authority::keys::{PurgeCommand, RevokeCommand, Selection};
use keyreeve_authority::leaks::{LeakReport, LeakSource};
use keyreeve_authority::sign_in::AnonymousCaller;
use keyreeve_core::lifecycle::{ReasonCode, Refusal};
use keyreeve_core::policy::{Policy, Preset, ReasonRule};
use keyreeve_core::text::Note;
use keyreeve_core::user::{Email, PasswordDigest};
use keyreeve_core::{KeyId, Timestamp};
use keyreeve_store::Store as _;
use std::sync::atomic::Ordering;

/// Calls of the store in the longest of these operations, and some more.
const CALLS_MAX: u64 = 200;
/// More keys than are revoked in one transaction.
const MANY: usize = 501;

/// Runs a call on new worlds whose store stops answering after 0, 1, 2, ... calls, until the call succeeds. Returns how
/// often the outcome was unknown.
async fn whatever_fails<P>(
    prepare: impl AsyncFn(&World) -> P,
    act: impl AsyncFn(&World, &P) -> Result<(), Failure>,
) -> usize {
    let mut unknown = 0;
    for answered in 0..CALLS_MAX {
        let world = World::under(Preset::Standard).await;
        let prepared = prepare(&world).await;
        let before = world.stage.inner.head().await.unwrap().revision;
        world.stage.calls_left.store(answered, Ordering::Relaxed);
        let done = act(&world, &prepared).await;
        let is_changed = world.stage.inner.head().await.unwrap().revision != before;
        match done {
            Ok(()) => return unknown,
            Err(Failure::OutcomeUnknown(_)) => unknown += 1,
            Err(other) => assert!(!is_changed, "after {answered} calls something was changed: {other}"),
        }
    }
    panic!("it never succeeded");
}

async fn issue_many(world: &World) {
    for _ in 0..MANY {
        world.issue(&world.new_name()).await;
    }
}

async fn issue_and_revoke(world: &World) -> KeyId {
    let id = world.issue(&world.new_name()).await.record.key.id;
    let command = revocation(ReasonCode::Unspecified);
    world.authority.keys().revoke(&world.call(), id, command).await.unwrap();
    id
}

#[tokio::test]
async fn a_revocation_of_many_keys_that_fails_half_way_does_not_report_that_nothing_was_changed() {
    let unknown = whatever_fails(issue_many, async |world, ()| {
        let command = revocation(ReasonCode::Unspecified);
        let call = world.call();
        let many = world
            .authority
            .keys()
            .revoke_many(&call, Selection::default(), command, false);
        many.await.map(drop)
    });
    assert!(unknown.await > 0);
}

#[tokio::test]
async fn a_purge_that_fails_half_way_does_not_report_that_nothing_was_changed() {
    let prepare = async |world: &World| {
        for _ in 0..3 {
            issue_and_revoke(world).await;
        }
        world.pass(10);
    };
    let unknown = whatever_fails(prepare, async |world, ()| {
        let command = PurgeCommand {
            revoked_before: Some(Timestamp::from_millis(NOW + 5_000)),
            expired_before: None,
        };
        world.authority.keys().purge(&world.call(), command).await.map(drop)
    });
    assert!(unknown.await > 0);
}

#[tokio::test]
async fn a_policy_that_was_replaced_is_not_reported_as_unchanged() {
    let prepare = async |world: &World| drop(world.issue("one").await);
    let unknown = whatever_fails(prepare, async |world, ()| {
        let policy = requiring_a_reason();
        world.authority.policy().set(&world.call(), policy).await.map(drop)
    });
    assert!(unknown.await > 0);
}

#[tokio::test]
async fn a_leak_report_that_fails_after_one_tenant_does_not_report_that_nothing_was_changed() {
    let prepare = async |world: &World| {
        let first = world.issue("one").await;
        world.make_tenant("other", Preset::Standard).await;
        let mut call = world.call();
        call.tenant = slug("other");
        let second = world
            .authority
            .keys()
            .issue(&call, vec![wish("two")])
            .await
            .unwrap()
            .keys
            .remove(0);
        [first, second].map(|key| key.secret.expose().to_owned())
    };
    let unknown = whatever_fails(prepare, async |world, secrets| {
        let reports = secrets.each_ref().map(|secret| LeakReport {
            secret,
            found: "a test".into(),
        });
        let from = AnonymousCaller {
            address: None,
            request_id: "req_1".into(),
        };
        let reported = world.authority.leaks().report(&from, LeakSource::Api, &reports);
        reported.await.map(drop)
    });
    assert!(unknown.await > 0);
}

fn requiring_a_reason() -> Policy {
    let mut policy = Preset::Standard.policy();
    policy.revoke.reason = ReasonRule::Required;
    policy
}

#[tokio::test]
async fn many_keys_are_not_revoked_without_the_reason_that_the_policy_requires() {
    let world = World::under(Preset::Standard).await;
    world.issue("one").await;
    let call = world.call();
    world.authority.policy().set(&call, requiring_a_reason()).await.unwrap();
    let revoke = async |note: Option<&'static str>, is_dry| {
        let command = RevokeCommand {
            code: ReasonCode::Unspecified,
            note: note.map(|note| Note::parse(note).unwrap()),
        };
        let many = world
            .authority
            .keys()
            .revoke_many(&call, Selection::default(), command, is_dry);
        many.await
    };
    for (note, is_dry) in [(None, true), (None, false), (Some("  "), false)] {
        let refused = revoke(note, is_dry).await;
        let is_for_reason = matches!(
            refused,
            Err(Failure::Refused {
                refusal: Refusal::ReasonRequired,
                ..
            })
        );
        assert!(is_for_reason, "{note:?}, dry: {is_dry}: {refused:?}");
    }
    assert_eq!(revoke(Some("a leak"), true).await.unwrap().matched, 1);
    assert_eq!(revoke(Some("a leak"), false).await.unwrap().revoked, 1);
}

/// A link works once: a use that reports that nothing was changed has not used it up.
#[tokio::test]
async fn a_link_whose_use_changed_nothing_can_be_used_again() {
    let email = || Email::parse("ada@example.com").ok();
    for answered in 0..CALLS_MAX {
        let world = World::under(Preset::Standard).await;
        let sign_in = || world.authority.sign_in();
        let link = sign_in().first_admin_link(&world.tenant).await.unwrap().unwrap();
        let from = AnonymousCaller {
            address: None,
            request_id: "req_1".into(),
        };
        let used = async || {
            let password = PasswordDigest::new("digest");
            sign_in().use_link(&from, link.expose(), email(), password).await
        };
        // Away for one call after some, and back then.
        world.stage.calls_left.store(answered, Ordering::Relaxed);
        let first = used().await;
        world.stage.calls_left.store(u64::MAX, Ordering::Relaxed);
        match first {
            Ok(_) => return,
            Err(Failure::OutcomeUnknown(_)) => {}
            Err(_) => drop(used().await.unwrap()),
        }
    }
    panic!("it never succeeded");
}
